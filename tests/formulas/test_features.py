"""Features that need no file: pixels, random convolutions, a classifier; and what distances in them
say of real examples, of lost modes and of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeper.catalog.datasets.digits import Digits
from sweeper.catalog.datasets.ring import Ring
from sweeper.catalog.datasets.stacked_digits import StackedDigits
from sweeper.catalog.datasets.store import Store, normalise, pack
from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, Side
from sweeper.catalog.metrics.extractors import Colours, Extractor, Raw, Small
from sweeper.catalog.metrics.features import extractor
from sweeper.catalog.metrics.frechet import frechet_distance, statistics
from sweeper.config import Evaluation

KINDS = ("classifier", "raw", "random_conv")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def digits(cache: Path) -> Store:
    return pack(Digits(), cache / "data")


@pytest.fixture(scope="module")
def extractors(digits: Store, cache: Path) -> dict[str, Extractor]:
    return {
        kind: extractor(Evaluation.model_validate({"features": kind}), digits, cache / "features")
        for kind in KINDS
    }


def images(store: Store, among: Tensor) -> Tensor:
    return normalise(store[among])


def distance(network: Extractor, a: Tensor, b: Tensor) -> float:
    return frechet_distance(statistics(network(a)), statistics(network(b)))


def shuffled(n: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))


@every_kind
def test_halves_of_real_examples_are_nearer_than_fewer_modes_and_those_than_fewer(
    kind: str, digits: Store, extractors: dict[str, Extractor]
) -> None:
    network, order = extractors[kind], shuffled(len(digits))
    reference, rest = order[:900], order[900:]
    assert digits.labels is not None
    labels = digits.labels[rest]
    real = images(digits, reference)
    seen = [
        distance(network, real, images(digits, rest[labels >= dropped]))
        for dropped in (0, 1, 3, 5, 9)
    ]
    assert seen == sorted(seen)
    assert seen[1] > 1.5 * seen[0]


@every_kind
def test_more_noise_is_farther(kind: str, digits: Store, extractors: dict[str, Extractor]) -> None:
    network, order = extractors[kind], shuffled(len(digits))
    real, rest = images(digits, order[:900]), images(digits, order[900:])
    noise = torch.randn(rest.shape, generator=torch.Generator().manual_seed(0))
    seen = [
        distance(network, real, (rest + sigma * noise).clamp(-1, 1)) for sigma in (0, 0.2, 0.4, 0.8)
    ]
    assert seen == sorted(seen)
    assert seen[-1] > 5 * seen[0]


@every_kind
@pytest.mark.parametrize(
    "name", ["kid", "wasserstein_estimate", "precision_recall", "density_coverage"]
)
def test_other_metrics_see_lost_modes_and_noise(
    kind: str, name: str, digits: Store, extractors: dict[str, Extractor]
) -> None:
    network, order = extractors[kind], shuffled(len(digits))
    assert digits.labels is not None
    rest = order[900:]
    real, fresh = images(digits, order[:900]), images(digits, rest)
    few = images(digits, rest[digits.labels[rest] < 3])
    noise = torch.randn(fresh.shape, generator=torch.Generator().manual_seed(0))

    def found(fake: Tensor) -> dict[str, float]:
        sides = (Side(x, network(x)) for x in (real, fake))
        compared = Compared(*sides, random=torch.Generator().manual_seed(0))
        knobs: dict[str, Any] = {"kid": {"subsets": 5, "size": 250}}.get(name, {})
        return dict(metrics[name].make(**knobs)(compared))

    good, collapsed, noisy = found(fresh), found(few), found((fresh + noise).clamp(-1, 1))
    match name:
        case "precision_recall":
            assert collapsed["recall"] < 0.6 * good["recall"]
            assert collapsed["precision"] > 0.85 * good["precision"]
            assert noisy["precision"] < 0.6 * good["precision"]
        case "density_coverage":
            assert collapsed["coverage"] < 0.6 * good["coverage"]
            assert noisy["density"] < 0.5 * good["density"]
        case _:
            assert good[name] < collapsed[name]
            assert good[name] < noisy[name]


def test_pixels_are_themselves_and_large_images_are_shrunk() -> None:
    small, large = torch.randn(3, 2, 8, 8), torch.randn(3, 2, 64, 48)
    assert torch.equal(Raw((2, 8, 8))(small), small.flatten(1))
    assert Raw((2, 64, 48))(large).shape == (3, 2 * 32 * 32)
    grey = Raw((2, 64, 48))(torch.full((1, 2, 64, 48), 0.25))
    torch.testing.assert_close(grey, torch.full_like(grey, 0.25))
    points = torch.randn(5, 2)
    assert torch.equal(Raw((2,))(points), points)
    assert (Raw((2, 8, 8)).resize, Raw((2,)).resize) == ("none", "none")
    assert Raw((2, 64, 48)).resize == "bilinear 32, antialiased"
    assert Raw((2,)).fingerprint() == "none"
    assert Raw((2,)).logits(points) is None


@every_kind
def test_features_are_the_same_each_time_and_touch_no_random_state(
    kind: str, digits: Store, cache: Path
) -> None:
    state = torch.random.get_rng_state()
    asked = Evaluation.model_validate({"features": kind})
    made = [extractor(asked, digits, cache / "features") for _ in range(2)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert made[0].fingerprint() == made[1].fingerprint()
    x = images(digits, torch.arange(20))
    assert torch.equal(made[0](x), made[1](x))
    assert made[0](x).ndim == 2
    assert not any(p.requires_grad for p in made[0].parameters())


def test_a_classifier_has_logits_of_its_classes_and_tells_them_apart(
    digits: Store, extractors: dict[str, Extractor]
) -> None:
    assert digits.labels is not None
    network = extractors["classifier"]
    logits = network.logits(network(images(digits, torch.arange(500))))
    assert logits is not None
    assert logits.shape == (500, 10)
    assert (logits.argmax(1) == digits.labels[:500]).double().mean() > 0.98
    assert extractors["random_conv"].logits(torch.zeros(1, 64)) is None


def test_points_have_features_of_every_kind(cache: Path) -> None:
    store = pack(Ring(length=200), cache / "data")
    for kind, d in (("raw", 2), ("random_conv", 64)):
        asked = Evaluation.model_validate({"features": kind})
        assert extractor(asked, store, cache)(store.all()).shape == (200, d)
    with pytest.raises(ValueError, match="Inception looks at images"):
        extractor(Evaluation(features="inception"), store, cache)


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 40, 40)])
def test_an_example_that_is_not_finite_has_features_that_are_not(shape: tuple[int, ...]) -> None:
    for network in (Raw(shape), Small(shape, 0)):
        x = torch.zeros(4, *shape)
        x[2] = float("nan")
        assert network(x).isfinite().all(1).tolist() == [True, True, False, True]


def test_a_classifier_of_colours_is_one_of_each() -> None:
    torch.manual_seed(0)
    network, x = Colours((3, 8, 8), 1000), torch.randn(5, 3, 8, 8)
    each = [network.one.logits(network.one(x[:, i : i + 1])).softmax(1) for i in range(3)]
    whole = network.logits(network(x)).exp()
    assert whole.shape == (5, 1000)
    torch.testing.assert_close(whole.sum(1), torch.ones(5))
    torch.testing.assert_close(whole[:, 472], each[0][:, 4] * each[1][:, 7] * each[2][:, 2])
    labels = torch.tensor([0, 472, 999, 10, 7])
    torch.testing.assert_close(
        network.loss(x, labels), -whole[range(5), labels].log().mean() / network.colours
    )


def test_stacked_digits_are_told_apart(cache: Path) -> None:
    """Nearly all of a thousand classes, of which some have a dozen examples."""
    store = pack(StackedDigits(length=2000), cache / "data")
    network = extractor(Evaluation(features="classifier"), store, cache / "features")
    examples, labels = store[torch.arange(len(store))], store.labels
    assert labels is not None
    found = network.logits(network(normalise(examples)))
    assert found is not None
    assert (found.argmax(1) == labels).float().mean() > 0.95
