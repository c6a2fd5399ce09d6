"""What every normalization owes every architecture, on either side: a new one of either is a new
case."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.families import architectures, normalizations
from sweeper.config import DiscriminatorSide, GeneratorSide, Misfit, Trial, astray
from sweeper.game import Batch, Known, Output, Paced, Player
from sweeper.registry import tags
from sweeper.trial.networks import build
from sweeper.verify.contracts import tiny
from tests.formulas.games import progress

N, LATENT, CLASSES = 6, 5, 3
ALIKE = 3
"""The example that is of the class and the domain of the first."""
KNOWN = Known(classes=CLASSES, source=3, reference=3, mask=1, paired=1)
POINTLESS = {"mlp_gan"}
"""Architectures without feature maps."""
UNNORMALISED = ("dcgan", Player.D, 8)
"""It has one hidden layer, the first, which never is."""
SMALL = {"mlp_gan": {"hidden": 8}}
"""Knobs of narrow networks, where the width is not called channels."""
GROWN = [0.0, 0.25, 0.5, 0.75, 1.0]
"""Of the horizon: where every part of a network that changes has been in use."""


def unpaired() -> list[str]:
    """Architectures of one pair of networks, of which G makes images of nothing but latents."""
    found = list[str]()
    for name, knobs in ((name, SMALL.get(name, {"channels": 4})) for name in architectures):
        with suppress(Misfit), torch.device("meta"):
            if len(build(Trial.read(tiny(architecture={name: knobs})), (3, 32, 32)).networks) == 1:
                found.append(name)
    return found


@dataclass(frozen=True)
class Case:
    """A normalization in an architecture, on one side, at a size."""

    architecture: str
    normalization: str
    player: Player
    size: int

    def __str__(self) -> str:
        return f"{self.architecture}-{self.normalization}-{self.player}-{self.size}"

    def tree(self, constraint: str | None = None) -> dict[str, Any]:
        side = {"optimizer": "adam", "normalization": "none"}
        mine = {**side, "normalization": self.normalization, "constraint": constraint}
        knobs = SMALL.get(self.architecture, {"channels": 4})
        return tiny(
            architecture={self.architecture: knobs},
            prior={"gaussian_latent": {"size": LATENT}},
            **{str(p): mine if p is self.player else side for p in Player},
        )

    def network(self, seed: int = 0, constraint: str | None = None) -> nn.Module:
        trial = Trial.read(self.tree(constraint))
        torch.manual_seed(seed)
        shape = (3, self.size, self.size)
        return build(trial, shape, KNOWN).networks["main"].of(self.player)

    def says(self, tag: str) -> bool:
        entry = normalizations[self.normalization]
        return any(law.tag == tag and law.holds(entry.knobs()) for law in entry.provides)


def cases(size: int) -> list[Case]:
    return [
        Case(architecture, name, player, size)
        for architecture in unpaired()
        for name, entry in normalizations.items()
        for player in Player
        if not astray((str(player), "normalization"), entry)
        and not (architecture in POINTLESS and "feature_maps" in tags(entry.needs))
        and (architecture, player, size) != UNNORMALISED
    ]


every_case = pytest.mark.parametrize(
    "case",
    [
        *cases(8),
        *(pytest.param(case, marks=pytest.mark.slow) for case in cases(32)),
    ],
    ids=str,
)


def told(size: int) -> Batch:
    """Examples of which everything is known."""
    random = torch.Generator().manual_seed(0)

    def images(channels: int = 3) -> Tensor:
        return torch.rand(N, channels, size, size, generator=random) * 2 - 1

    return Batch(
        image=images(),
        label=torch.arange(N) % CLASSES,
        source=images(),
        mask=(images(1) > 0).float(),
        style=images(),
        domain=torch.tensor([0, 1, 0, 0, 1, 1]),
    )


def latents() -> Tensor:
    return torch.randn(N, LATENT, generator=torch.Generator().manual_seed(1))


def answers(network: nn.Module, player: Player, batch: Batch, z: Tensor) -> Tensor:
    """What a network makes of examples, the same every time: (N, ...)."""
    torch.manual_seed(2)
    if player is Player.G:
        return network(z, batch.context)
    output: Output = network(batch)
    return output.scores


def given(player: Player, batch: Batch, z: Tensor) -> tuple[Batch, Tensor, Tensor]:
    """The input of a network, to be differentiated by, and within a batch and latents."""
    if player is Player.G:
        z = z.clone().requires_grad_()
        return batch, z, z
    image = batch.image.clone().requires_grad_()
    return batch.showing(image), z, image


def paced(network: nn.Module, fraction: float) -> None:
    for part in network.modules():
        if isinstance(part, Paced):
            part.pace(progress(1000, round(1000 * fraction)))


def weighed(y: Tensor) -> Tensor:
    """A number that depends on every part of an answer, differently."""
    return (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(3))).sum()


def learns(network: nn.Module, player: Player, size: int) -> None:
    """Answers of the right shape; finite gradients for every parameter; and for a penalty on
    slopes, gradients of gradients."""
    batch, z, x = given(player, told(size), latents())
    changing = any(isinstance(part, Paced) for part in network.modules())
    for fraction in GROWN if changing else [1.0]:
        paced(network, fraction)
        y = answers(network, player, batch, z)
        assert y.shape == (batch.image.shape if player is Player.G else (N, *y.shape[1:2]))
        assert y.isfinite().all()
        weighed(y).backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, f"{name} has no gradient"
        assert p.grad.isfinite().all(), f"the gradient of {name} is not finite"
        p.grad = None
    (slope,) = torch.autograd.grad(
        weighed(answers(network, player, batch, z)), x, create_graph=True
    )
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0
    slope.square().sum().backward()
    seconds = [p.grad for p in network.parameters() if p.grad is not None]
    assert seconds
    assert all(g.isfinite().all() for g in seconds)
    network.zero_grad()


@every_case
def test_it_learns(case: Case) -> None:
    learns(case.network(), case.player, case.size)


@every_case
def test_it_learns_under_spectral_norm(case: Case) -> None:
    learns(case.network(constraint="spectral_norm"), case.player, case.size)


@every_case
def test_only_batch_statistics_tie_examples_together_and_only_in_training(case: Case) -> None:
    network, batch, z = case.network(), told(case.size), latents()
    other_z, image = z.clone(), batch.image.clone()
    other_z[ALIKE], image[ALIKE] = other_z[ALIKE] + 1, -image[ALIKE]
    other = batch.showing(image)
    for training in (True, False):
        network.train(training)
        with torch.no_grad():
            first = answers(network, case.player, batch, z)[0]
            beside = answers(network, case.player, other, other_z)[0]
        tied = not torch.allclose(first, beside, rtol=1e-4, atol=1e-6)
        assert tied == (training and case.says("batch_coupled")), training


@every_case
def test_evaluation_differs_by_its_statistics_alone(case: Case) -> None:
    network, batch, z = case.network(), told(case.size), latents()
    before = deepcopy(network.state_dict())
    network.eval()
    with torch.no_grad():
        judged = answers(network, case.player, batch, z)
        again = answers(network, case.player, batch, z)
    assert torch.equal(judged, again)
    after = network.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items()), "looking changes nothing"
    network.train()
    with torch.no_grad():
        trained = answers(network, case.player, batch, z)
    differs = not torch.allclose(judged, trained, rtol=1e-4, atol=1e-6)
    assert differs == case.says("batch_statistics")


@every_case
def test_its_state_is_all_there_is(case: Case) -> None:
    network, batch, z = case.network(), told(case.size), latents()
    for a, b in zip(network.parameters(), case.network().parameters(), strict=True):
        assert torch.equal(a, b), "the same seed draws the same weights"
    with torch.no_grad():
        answers(network, case.player, batch, z)  # moves the statistics, where there are some
        loaded = case.network(seed=1)
        loaded.load_state_dict(network.state_dict())
        average = deepcopy(network).requires_grad_(False)
        for p, other in zip(average.parameters(), case.network(seed=1).parameters(), strict=True):
            p.lerp_(other, 0.5)
        assert answers(average.eval(), case.player, batch, z).isfinite().all()
        for p, own in zip(average.parameters(), network.parameters(), strict=True):
            p.lerp_(own, 1.0)
        for training in (False, True):
            expected = answers(network.train(training), case.player, batch, z)
            assert torch.equal(answers(loaded.train(training), case.player, batch, z), expected)
            if not training:
                assert torch.equal(answers(average, case.player, batch, z), expected)


PLACES = ("normalization", "activation", "convolution", "initialization", "blocks")
RESIZED = {Player.G: "upsampling", Player.D: "downsampling"}
WIDE = 64
PARTS = 8
"""In which the rows of a covering array are tried."""


def features(player: Player) -> list[dict[str, str]]:
    """What stands together in one network of 64 px: rows in which every two techniques of two
    places occur, of architectures and of one side's layers."""
    side = GeneratorSide if player is Player.G else DiscriminatorSide
    slots = {name: side.model_fields[name].metadata[0].registry for name in PLACES}
    slots[RESIZED[player]] = side.model_fields[RESIZED[player]].metadata[0].registry
    options = {
        name: [n for n, e in registry.items() if not astray((str(player), name), e)]
        for name, registry in slots.items()
    }
    options["architecture"] = [name for name in unpaired() if name not in POINTLESS]
    return list(covering(options))


def covering(options: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Rows of one option a place in which every two of two places occur, greedily few."""
    chance = random.Random(0)
    pairs = {
        frozenset([(a, x), (b, y)])
        for a, b in itertools.combinations(options, 2)
        for x, y in itertools.product(options[a], options[b])
    }
    while pairs:
        row = dict(min(pairs, key=sorted))
        for place in sorted(options.keys() - row.keys(), key=lambda _: chance.random()):
            held = list(row.items())
            row[place] = max(
                options[place],
                key=lambda o: sum(frozenset([(place, o), h]) in pairs for h in held),
            )
        pairs -= {frozenset(p) for p in itertools.combinations(row.items(), 2)}
        yield row


def wide(row: dict[str, str], player: Player) -> nn.Module:
    """A network of 64 px of a row; what has no place beside the rest of it is left out."""
    side = {name: chosen for name, chosen in row.items() if name != "architecture"}
    plain = {"optimizer": "adam", "normalization": "none"}
    tree = tiny(
        architecture={row["architecture"]: {"channels": 4}},
        prior={"gaussian_latent": {"size": LATENT}},
        **{str(p): plain | (side if p is player else {}) for p in Player},
    )
    torch.manual_seed(0)
    try:
        return build(Trial.read(tree), (3, WIDE, WIDE), KNOWN).networks["main"].of(player)
    except Misfit as misfit:
        odd = {str(problem.path[1]) for problem in misfit.problems} & side.keys()
        if not odd:
            raise
        return wide({name: chosen for name, chosen in row.items() if name not in odd}, player)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("player", Player)
def test_any_two_techniques_of_a_network_go_together_at_64_px(player: Player, part: int) -> None:
    for row in features(player)[part::PARTS]:
        learns(wide(row, player), player, WIDE)
