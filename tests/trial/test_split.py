"""What is held out is never trained on, and generators are given what belongs to what they are
measured against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.datasets.store import Store, pack
from sweeper.config import Evaluation, Feeding, Misfit, Trial
from sweeper.game import Context
from sweeper.ledger.ledger import Record
from sweeper.sweep.generate import generate, made
from sweeper.sweep.trained import Trained
from sweeper.trial.feed import Drawing
from sweeper.trial.loop import Training, train
from sweeper.trial.samples import CHUNK, Given, triptychs
from sweeper.trial.split import shares
from sweeper.verify.contracts import tiny

Tree = dict[str, Any]
N, SIDE = 120, 8


def level(index: int, kind: int) -> int:
    """What the images of an example are full of: of every kind something else."""
    return (index + 40 * kind) % 256


@dataclass(frozen=True)
class Levels(Synthetic):
    """Images that say which example they are of, and as what."""

    unpaired: bool = False  # type: ignore[misc]
    name = "levels"
    classes = ("even", "odd")

    def fingerprint(self) -> str:
        return f"levels {self.unpaired}"

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Example:
        image, source, style = (
            np.full((1, SIDE, SIDE), level(index, kind), np.uint8) for kind in range(3)
        )
        mask = np.zeros((1, SIDE, SIDE), np.uint8)
        mask[:, : index % SIDE + 1] = 255
        return Example(image, index % 2, source, mask, style)


@pytest.fixture(scope="module")
def store(cache: Path) -> Store:
    return pack(Levels(), cache / "data")


@pytest.fixture(scope="module")
def unpaired(cache: Path) -> Store:
    return pack(Levels(unpaired=True), cache / "data")


def held_out(share: float | None = 0.25, **changes: Any) -> Evaluation:
    return Evaluation.model_validate({"held_out": share, **changes})


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_three_shares_have_every_example_once(share: float) -> None:
    rung, heldout, trained = shares(N, held_out(share))
    assert trained is not None
    assert sorted(torch.cat([rung, heldout, trained]).tolist()) == list(range(N))
    assert len(rung) + len(heldout) == round(share * N)
    assert 0 <= len(rung) - len(heldout) <= 1
    assert all(map(torch.equal, shares(N, held_out(share)), (rung, heldout, trained)))
    assert not torch.equal(shares(N, held_out(share, seed=1)).rung, rung)


def test_without_a_share_two_halves_are_trained_on_all_the_same() -> None:
    rung, heldout, trained = shares(N, held_out(None))
    assert sorted(torch.cat([rung, heldout]).tolist()) == list(range(N))
    assert trained is None


FEEDS = [
    Feeding(),
    Feeding(subset=0.3),
    Feeding(sampler="balanced"),
    Feeding(sampler="balanced", subset=0.5, mirror=True),
]


@pytest.mark.parametrize("feed", FEEDS, ids=str)
@pytest.mark.parametrize("kind", ["store", "unpaired"])
def test_what_is_held_out_is_never_drawn(
    feed: Feeding, kind: str, request: pytest.FixtureRequest
) -> None:
    data: Store = request.getfixturevalue(kind)
    rung, heldout, trained = shares(len(data), held_out())
    assert trained is not None
    rows = Drawing(data, feed, 7, trained)(0, 3000)
    drawn = set(rows.image.tolist())
    kept = {*rung.tolist(), *heldout.tolist()}
    assert not drawn & kept
    assert len(drawn) == round(feed.subset * len(trained))
    assert (rows.source is None) == (kind == "store")
    if rows.source is not None:
        assert set(rows.source.tolist()) == set(trained.tolist())
    assert set(Drawing(data, feed, 7)(0, 3000).image.tolist()) & kept


def trial(store: Store, **changes: Any) -> Trial:
    evaluation = tiny()["evaluation"] | {"held_out": 0.25, "metrics": ["target_distance"]}
    data = {"packed": {"path": str(store.path)}}
    return Trial.read(tiny(data=data, evaluation=evaluation, **changes))


def which(images: Tensor, kind: int = 0) -> list[int]:
    """The examples that images in [-1, 1] are of."""
    levels = ((images.flatten(1).mean(1) + 1) * 127.5).round().long()
    return ((levels - 40 * kind) % 256).tolist()


@pytest.mark.parametrize("kind", ["store", "unpaired"])
def test_a_trial_trains_on_no_example_that_it_is_measured_against(
    kind: str, cache: Path, request: pytest.FixtureRequest
) -> None:
    data: Store = request.getfixturevalue(kind)
    training = Training(trial(data), cache)
    kept = set(torch.cat(shares(len(data), training.trial.evaluation)[:2]).tolist())
    seen = set[int]()
    for _ in range(40):
        batch = training.draw(8)
        assert batch.source is not None
        seen |= {*which(batch.image), *which(batch.source, 1)}
    assert seen == set(range(N)) - kept


def test_the_share_is_part_of_the_protocol(store: Store, cache: Path) -> None:
    def protocols(share: float | None) -> tuple[str, str]:
        chosen = trial(store)
        evaluation = chosen.evaluation.model_copy(update={"held_out": share})
        found = Training(chosen.model_copy(update={"evaluation": evaluation}), cache).evaluator
        assert found.protocol.real == len(found.shares.rung)
        return found.protocol.hash, found.full_protocol.hash

    hashes = [protocols(share) for share in (None, 0.25, 0.5)]
    assert len({one for pair in hashes for one in pair}) == 6


def test_a_share_is_more_than_none_and_less_than_all(store: Store) -> None:
    for share in (0, 1):
        with pytest.raises(Misfit, match="held_out must be"):
            Trial.read(tiny(evaluation={"held_out": share}))


class Copies(nn.Module):
    """A generator that makes its source, a little off, and notes what it is told."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self.off, self.told = off, list[Context]()

    def forward(self, z: Tensor, context: Context) -> Tensor:
        self.told.append(context)
        assert context.source is not None
        return context.source + self.off


@pytest.mark.parametrize("pixel_range", ["tanh", "unit", "standardize"])
def test_a_generator_is_given_what_belongs_to_what_it_is_measured_against(
    pixel_range: str, store: Store, cache: Path
) -> None:
    training = Training(trial(store, feed={"pixel_range": pixel_range}), cache)
    seen, g, evaluator = training.feed.range, Copies(), training.evaluator
    for split, measure in (("rung", evaluator.judge), ("heldout", evaluator.full)):
        g.told.clear()
        measure(seen.showing(g), training.gan.prior)
        indices = getattr(evaluator.shares, split)[torch.arange(16) % 15]
        context = g.told[-1] if split == "rung" else next(c for c in g.told if len_of(c) == 16)
        for field, told in (("source", context.source), ("style", context.reference)):
            wanted = seen.seen(store.read(indices, field), field)
            torch.testing.assert_close(told, wanted, atol=1e-5, rtol=0)
        assert context.mask is not None
        assert torch.equal(context.mask, store.read(indices, "mask").float() / 255)
        assert context.label is not None
        assert context.label.tolist() == [i % 2 for i in indices.tolist()]


def len_of(context: Context) -> int:
    return 0 if context.source is None else len(context.source)


@pytest.mark.parametrize("pixel_range", ["tanh", "standardize"])
def test_targets_are_measured_in_order(pixel_range: str, store: Store, cache: Path) -> None:
    training = Training(trial(store, feed={"pixel_range": pixel_range}), cache)
    seen = training.feed.range
    full = training.evaluator.full(seen.showing(Copies()), training.gan.prior)
    heldout = training.evaluator.shares.heldout
    indices = heldout[torch.arange(16) % len(heldout)]
    images, sources = (store.read(indices, f).float() / 127.5 - 1 for f in ("image", "source"))
    made = sources if pixel_range == "tanh" else images  # each standardized by its own moments
    apart = (made - images).abs()
    mask = store.read(indices, "mask").float() / 255
    assert full.metrics["target_l1"] == pytest.approx(float(apart.mean()), abs=1e-4)
    inside = float((apart * mask).sum() / mask.sum())
    assert full.metrics["target_l1_inside"] == pytest.approx(inside, abs=1e-4)
    copied = float((sources - images).abs().mean())
    assert full.metrics["copied_l1"] == pytest.approx(copied, abs=1e-4)
    trained = training.evaluator.shares.trained
    assert trained is not None
    mean = store.read(trained).float().mean(0) / 127.5 - 1
    assert full.metrics["mean_l1"] == pytest.approx(float((mean - images).abs().mean()), abs=1e-4)


def test_more_fakes_than_sources_begin_anew_in_the_same_order(store: Store, cache: Path) -> None:
    training = Training(trial(store), cache)
    given = training.evaluator.given("heldout", CHUNK + 20)
    heldout = training.evaluator.shares.heldout
    assert given.indices is not None
    assert torch.equal(given.indices, heldout[torch.arange(CHUNK + 20) % len(heldout)])
    second = given.context(slice(CHUNK, CHUNK + 20), torch.device("cpu"))
    assert second.source is not None
    assert which(second.source, 1) == given.indices[CHUNK:].tolist()


def test_there_is_no_distance_without_targets(unpaired: Store, store: Store, cache: Path) -> None:
    for data in (unpaired, store):
        training = Training(trial(data), cache)
        evaluator, g = training.evaluator, Copies()
        found = evaluator.full(g, training.gan.prior).metrics
        assert (found["target_l1"] is None) == (data is unpaired)
        fakes = evaluator.draw(g, training.gan.prior, 16, "heldout")
        foreign = evaluator.compared((chunk, None) for chunk in fakes)
        assert set(foreign.metrics.values()) == {None}


# Sheets


def cells(picture: Image.Image, columns: int) -> np.ndarray:
    """The levels of a sheet's images, (rows, columns), as it is enlarged by 4."""
    page = np.asarray(picture)[::4, ::4]
    return page[1 :: SIDE + 1, 1 :: SIDE + 1][:, :columns]


def test_a_sheet_shows_input_style_output_and_target(store: Store) -> None:
    indices = torch.tensor([3, 50, 7])
    samples = torch.full((3, 1, SIDE, SIDE), 1.0)
    picture = triptychs(samples, Given(store=store, indices=indices))
    wanted = [[level(i, 1), level(i, 2), 255, level(i, 0)] for i in indices.tolist()]
    assert cells(picture, 12).reshape(-1, 4).tolist() == wanted
    coloured = triptychs(samples.expand(-1, 3, -1, -1), Given(store=store, indices=indices))
    assert np.array_equal(
        np.asarray(coloured)[..., 0][1::36, 1::36], np.asarray(picture)[1::36, 1::36]
    )
    plain = triptychs(samples, Given(torch.tensor([0, 1, 0])))
    assert cells(plain, 3).tolist() == [[255, 255, 255]]


def test_generating_from_images_shows_them_beside(
    store: Store, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = trial(store)
    training = Training(chosen, cache)
    training.advance()
    record = Record(0, None, {}, chosen.plain(), 0.0)
    found = Trained(record, chosen, training.state_dict(), cache)
    given = made(found, 5, 0)[1]
    assert given.indices is not None
    assert set(given.indices.tolist()) <= set(shares(N, chosen.evaluation).heldout.tolist())
    again: Callable[..., list[Trained]] = lambda *_: [found]  # noqa: E731
    monkeypatch.setattr("sweeper.sweep.generate.trained", again)
    record.score = 1.0
    assert list(generate(tmp_path, 5, tmp_path / "sheet.png", None, 0))
    with Image.open(tmp_path / "sheet.png") as sheet:
        page = cells(sheet, 16).reshape(-1, 4)
    assert page[:, 0].tolist()[:5] == [level(i, 1) for i in given.indices.tolist()]
    assert page[:, 3].tolist()[:5] == [level(i, 0) for i in given.indices.tolist()]
    list(generate(tmp_path, 8, tmp_path / "walk.png", None, 0, "lerp", 4))


def test_training_shows_what_its_samples_were_made_from(
    store: Store, cache: Path, tmp_path: Path
) -> None:
    list(train(trial(store), cache, tmp_path))
    sheets = sorted((tmp_path / "samples").glob("*.png"))
    assert len(sheets) == 3
    heldout = shares(N, held_out()).heldout
    order = heldout[torch.arange(64) % len(heldout)].tolist()
    for path in sheets:
        with Image.open(path) as sheet:
            page = cells(sheet, 16).reshape(-1, 4)
        assert page[:, 0].tolist() == [level(i, 1) for i in order]
        assert page[:, 3].tolist() == [level(i, 0) for i in order]


class Masks(Levels):
    """Images and their masks alone."""

    name = "masks_alone"

    def fingerprint(self) -> str:
        return "masks alone"

    def __getitem__(self, index: int) -> Example:
        example = super().__getitem__(index)
        return Example(example.image, example.label, mask=example.mask)


def test_what_is_made_from_a_mask_stands_beside_it(cache: Path) -> None:
    store, indices = pack(Masks(), cache / "data"), torch.tensor([0, SIDE - 1])
    picture = triptychs(torch.full((2, 1, SIDE, SIDE), -1.0), Given(store=store, indices=indices))
    page = np.asarray(picture)[::4, ::4]
    # The last row of each image, where one mask is and the other is not.
    rows = page[SIDE][1 :: SIDE + 1][:6].reshape(2, 3)
    assert rows.tolist() == [[0, 0, level(0, 0)], [255, 0, level(SIDE - 1, 0)]]
