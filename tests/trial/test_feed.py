"""Feeding: what is drawn at every position, in which range it is seen, and where it is read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.datasets.store import Store, normalise, pack
from sweeper.catalog.families import architectures
from sweeper.config import Feeding, Misfit, Trial
from sweeper.game import Batch, Context, Known
from sweeper.trial import feed as module
from sweeper.trial.feed import Balanced, Coins, Drawing, Feed, Range, range_of
from sweeper.trial.loop import Training
from sweeper.trial.networks import build, probe
from sweeper.trial.parallel import Group

CPU = torch.device("cpu")


class Numbered(Synthetic):
    """Images that say which they are: the number in one corner, and a left that is no right. Class
    2 of three has no examples, class 0 nine of ten."""

    name, classes = "numbered", ("many", "few", "none")

    def __init__(self, n: int = 200, unpaired: bool = False) -> None:
        self.n, self.unpaired = n, unpaired

    def fingerprint(self) -> str:
        return f"numbered {self.n} {self.unpaired}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Example:
        image = np.zeros((3, 4, 4), np.uint8)
        image[0, 0, 0], image[1], image[2, :, 0] = index % 256, 40, 200
        return Example(image, int(index % 10 == 0), image.copy(), image[:1].copy())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return pack(Numbered(), tmp_path_factory.mktemp("data"))


def numbers(images: Tensor) -> list[int]:
    levels = ((images + 1) * 127.5).round().long()[:, 0, 0]
    return levels.amax(1).tolist()  # in one corner, or mirrored in the other


positions = st.lists(st.integers(1, 900), min_size=1, max_size=6)


@pytest.mark.parametrize(
    "settings",
    [
        Feeding(),
        Feeding(sampler="balanced", mirror=True),
        Feeding(subset=0.1, mirror=True),
        Feeding(subset=0.3, sampler="balanced"),
    ],
)
@given(seed=st.integers(0, 2**32), cuts=positions)
def test_what_is_drawn_depends_on_seed_and_position_alone(
    store: Store, settings: Feeding, seed: int, cuts: list[int]
) -> None:
    whole = Drawing(store, settings, seed)(0, sum(cuts))
    drawing, starts = Drawing(store, settings, seed), [sum(cuts[:i]) for i in range(len(cuts))]
    parts = list(zip(starts, cuts, strict=True))
    for start, n in [*parts, *reversed(parts)]:
        for rows, all in zip(drawing(start, n), whole, strict=True):
            assert (rows is None) == (all is None)
            assert rows is None or torch.equal(rows, all[start : start + n])


def test_without_knobs_it_is_a_permutation_an_epoch(store: Store) -> None:
    drawn = Drawing(store, Feeding(), 3)(0, 400).image
    assert sorted(drawn[:200].tolist()) == sorted(drawn[200:].tolist()) == list(range(200))
    assert drawn[:200].tolist() != drawn[200:].tolist()


def test_balanced_draws_every_class_that_there_is_equally_often(store: Store) -> None:
    n = 40_000
    drawn = Drawing(store, Feeding(sampler="balanced"), 0)(0, n).image
    few = (drawn % 10 == 0).sum().item()
    assert abs(few - n / 2) < 4 * (n / 4) ** 0.5
    each = torch.bincount(drawn, minlength=200)
    assert int(each.min()) > 0
    # 20 of the few share one half of the draws, and 180 of the many the other.
    assert abs(each[10].item() - n / 40) < 5 * (n / 40) ** 0.5
    assert abs(each[11].item() - n / 360) < 5 * (n / 360) ** 0.5


def test_a_subset_is_the_same_in_every_trial_and_within_larger_ones(store: Store) -> None:
    seen = [
        set(Drawing(store, Feeding(subset=share), seed)(0, 500).image.tolist())
        for share, seed in ((0.1, 0), (0.1, 1), (0.25, 2))
    ]
    assert [len(some) for some in seen] == [20, 20, 50]
    assert seen[0] == seen[1] < seen[2]


def test_half_of_all_is_mirrored_with_all_that_belongs_to_it(store: Store) -> None:
    coins = Coins(0)(0, 40_000)
    assert abs(coins.sum().item() - 20_000) < 400
    feed = Feed(store, Feeding(mirror=True), 0, CPU)
    rows, batch = feed.rows(0, 64), feed.draw(64)
    assert rows.mirrored is not None
    assert 10 < int(rows.mirrored.sum()) < 54
    left = batch.image[:, 2, :, 0].mean(1) > 0  # where it is 200 unless mirrored
    assert torch.equal(left, ~rows.mirrored)
    assert batch.source is not None
    assert batch.mask is not None
    assert torch.equal(batch.source, batch.image)
    straight = Feed(store, Feeding(), 0, CPU).draw(64)
    assert straight.mask is not None
    flipped = torch.where(rows.mirrored[:, None, None, None], straight.mask.flip(3), straight.mask)
    assert torch.equal(batch.mask, flipped)
    assert numbers(batch.image) == numbers(straight.image)


def test_sources_of_unpaired_data_come_in_an_order_of_their_own(tmp_path: Path) -> None:
    feed = Feed(pack(Numbered(unpaired=True), tmp_path), Feeding(), 0, CPU)
    batches = [feed.draw(50) for _ in range(4)]
    images = [n for batch in batches for n in numbers(batch.image)]
    sources = [n for batch in batches for n in numbers(batch.source)]
    assert sorted(images) == sorted(sources) == list(range(200))
    assert sum(a == b for a, b in zip(images, sources, strict=True)) < 10


levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


@pytest.mark.parametrize(("name", "low", "high"), [("tanh", -1, 1), ("unit", 0, 1)])
def test_a_range_and_its_inverse(name: str, low: int, high: int) -> None:
    seen = Range(name, {}).seen(levels)
    assert (float(seen.min()), float(seen.max())) == (low, high)
    back = ((Range(name, {}).shown(seen) + 1) * 127.5).round()
    assert torch.equal(back, levels.float())
    assert torch.equal(Range(name, {}).seen(levels, "mask"), levels.float() / 255)
    points = torch.randn(3, 2)
    assert torch.equal(Range(name, {}).seen(points), points)


def test_standardised_images_have_mean_0_and_variance_1_in_every_channel(tmp_path: Path) -> None:
    store = pack(Numbered(), tmp_path)
    found = range_of(Feeding(pixel_range="standardize"), store)
    seen = found.seen(store.all())
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    # The middle channel never changes, and is only moved.
    torch.testing.assert_close(seen.var((0, 2, 3)), torch.tensor([1.0, 0, 1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.shown(seen), normalise(store.all()), atol=1e-5, rtol=1e-5)


def trial(**changes: Any) -> Trial:
    side = {"normalization": "none", "optimizer": "adam"}
    tree: dict[str, Any] = {
        "data": "digits",
        "architecture": "mlp_gan",
        "prior": {"gaussian_latent": {"size": 4}},
        "generator": side,
        "discriminator": side,
        "loss": "non_saturating",
        "schedule": "alternating_update",
        "horizon_kimg": 1,
        "evaluation": {"features": "random_conv", "samples": 16},
        "diagnostics": False,
    }
    return Trial.read(tree | changes)


@pytest.mark.parametrize("architecture", ["dcgan", "mlp_gan"])
@pytest.mark.parametrize(
    ("pixel_range", "ends", "low", "high"),
    [
        ("tanh", nn.Tanh, -1.0, 1.0),
        ("unit", nn.Sigmoid, 0.0, 1.0),
        ("standardize", nn.Identity, -torch.inf, torch.inf),
    ],
)
def test_a_generator_makes_images_in_the_range_of_real_ones(
    architecture: str, pixel_range: str, ends: type[nn.Module], low: float, high: float
) -> None:
    made = trial(architecture=architecture, feed={"pixel_range": pixel_range})
    generator = build(made, (1, 8, 8), Known(10)).generator
    assert isinstance(generator.output, ends)
    fakes = generator(1e4 * torch.randn(64, 4), Context()).detach()
    assert float(fakes.min()) < (low + 0.01 if pixel_range != "standardize" else -1)
    assert float(fakes.min()) >= low
    assert float(fakes.max()) <= high


@pytest.fixture
def own() -> Iterator[None]:
    @architectures.register("ends_in_tanh", needs={"images", "tanh_range"})
    class EndsInTanh:
        """Networks that end in tanh, whatever they are told."""

    yield
    architectures.remove("ends_in_tanh")


@pytest.mark.usefixtures("own")
def test_an_architecture_that_ends_in_tanh_is_refused_other_ranges() -> None:
    trial(architecture="ends_in_tanh")
    with pytest.raises(Misfit, match="ends_in_tanh needs tanh range"):
        trial(architecture="ends_in_tanh", feed={"pixel_range": "unit"})


@pytest.mark.parametrize(
    ("feed", "law"),
    [
        ({"pixel_range": "unit"}, "points have no levels"),
        ({"pixel_range": "standardize"}, "points have no levels"),
        ({"mirror": True}, "points have no left and right"),
    ],
)
def test_points_have_no_pixels(feed: dict[str, Any], law: str) -> None:
    with pytest.raises(Misfit, match=law):
        trial(data="ring", feed=feed)


def test_balanced_needs_classes() -> None:
    with pytest.raises(Misfit, match="the data has no labels of two classes"):
        probe(trial(feed={"sampler": "balanced"}), (1, 8, 8), 0)


@pytest.mark.parametrize("pixel_range", ["unit", "standardize"])
def test_what_is_measured_is_in_the_range_of_people(pixel_range: str, cache: Path) -> None:
    made = trial(feed={"pixel_range": pixel_range})
    training = Training(made, cache)
    generator = training.gan.eval_generator()
    raw = training.evaluator.sample(generator, training.gan.prior, 32, "sheet")
    shown = training.feed.range.showing(generator)
    seen = training.evaluator.sample(shown, training.gan.prior, 32, "sheet")
    assert torch.equal(seen, training.feed.range.shown(raw))
    if pixel_range == "unit":
        torch.testing.assert_close(seen, 2 * raw - 1)
    measured = training.advance()
    assert measured.score > 0


def test_each_rank_is_fed_its_rows_of_what_one_would_be(store: Store) -> None:
    settings = Feeding(sampler="balanced", mirror=True)
    alone = Feed(store, settings, 1, CPU)
    ranks = [Feed(store, settings, 1, CPU, Group(rank, 2)) for rank in range(2)]
    for _ in range(3):
        whole, parts = alone.draw(8), [feed.draw(8) for feed in ranks]
        for rank, part in enumerate(parts):
            assert torch.equal(part.image, whole.image[rank::2])
            assert part.label is not None
            assert whole.label is not None
            assert torch.equal(part.label, whole.label[rank::2])
    assert torch.equal(ranks[0].peek(8).image, ranks[1].peek(8).image)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARE", 0.0)


def same(a: Batch, b: Batch) -> bool:
    pairs = [(a.image, b.image), (a.label, b.label), (a.source, b.source), (a.mask, b.mask)]
    return all(x is not None and y is not None and torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_does_not_fit_is_read_ahead_and_is_the_same(
    workers: int, store: Store, request: pytest.FixtureRequest
) -> None:
    resident = Feed(store, Feeding(mirror=True), 0, CPU)
    request.getfixturevalue("streamed")
    feed = Feed(store, Feeding(mirror=True, workers=workers), 0, CPU)
    assert resident.resident
    assert not feed.resident
    state = torch.get_rng_state()
    assert same(feed.peek(8), resident.peek(8))
    for n in (8, 8, 8, 5):  # another size: what was read ahead is of no use
        assert same(feed.draw(n), resident.draw(n))
    feed.position = resident.position = 1000  # a checkpoint was loaded
    assert same(feed.draw(8), resident.draw(8))
    assert feed.position == 1008
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("streamed")
def test_a_damaged_record_that_is_read_ahead_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = pack(Numbered(), tmp_path)

    def broken(indices: list[int], field: str) -> Tensor:
        raise ValueError("every record of a store is what was packed, but image/7 is not")

    monkeypatch.setattr(store, "fetch", broken)
    with pytest.raises(ValueError, match=r"^every record of a store .* image/7 is not$"):
        Feed(store, Feeding(workers=0), 0, CPU).draw(8)


class Reads(module.Reading):
    """Batches that hold what numpy draws while they are read."""

    def __getitem__(self, rows: Any) -> Any:
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return rows, {"image": torch.tensor(drawn).expand(len(rows.image), 3)}


@pytest.mark.usefixtures("streamed")
def test_no_two_processes_that_read_draw_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Reading", Reads)

    def drawn(seed: int) -> Tensor:
        feed = Feed(store, Feeding(workers=2), seed, CPU)
        return torch.stack([feed.draw(4).image[0] for _ in range(6)])

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert torch.equal(first, again)
    for column in torch.cat([first, other]).T:
        assert len(set(column.tolist())) == 12


def test_a_balanced_draw_of_one_class_is_of_that_class() -> None:
    assert set(Balanced(torch.tensor([4, 4, 4]), 0)(0, 100).tolist()) == {0, 1, 2}


def test_a_trial_goes_on_where_it_stopped_in_the_data(cache: Path) -> None:
    made = trial(feed={"sampler": "balanced", "mirror": True, "subset": 0.5})
    one = Training(made, cache)
    one.round()
    saved = deepcopy(one.state_dict())
    two = Training(made, cache, saved=saved)
    for training in (one, two):
        training.round()
    a, b = (t.gan.networks["main"].generator.state_dict() for t in (one, two))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert one.feed.position == two.feed.position == 128
