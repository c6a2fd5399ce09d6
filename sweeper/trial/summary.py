"""What networks are made of, layer by layer, as one pass through them shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sweeper.catalog.normalizations.none import NoNorm
from sweeper.config import Trial
from sweeper.game import Batch, Known, Player, Progress, Streams, Summary
from sweeper.trial.networks import Built, build, composed, own_name, refer, references
from sweeper.trial.round import of_domain

FEW = 4
"""Rows that are enough to see shapes by."""
FLOAT = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Layer:
    """A layer as it was called: its name in the network, its kind, the shape of its output without
    the batch, None if it was not called, how many parameters are its own, and the bytes of its
    outputs per example."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    bytes: float


@dataclass(frozen=True)
class NetworkSummary:
    """One network: its pair and player, its layers in the order in which they were called, how many
    parameters it has, how many of them are trained, and the bytes of all outputs per example."""

    pair: str
    player: Player
    layers: tuple[Layer, ...]
    parameters: int
    trained: int

    @property
    def bytes(self) -> float:
        return sum(layer.bytes for layer in self.layers)


def summaries(trial: Trial, shape: Sequence[int], known: Known) -> Iterator[NetworkSummary]:
    """The networks of a trial for examples of a shape, G of each pair before D, after a pass of a
    few random examples. Nothing is trained. Raises Misfit when the networks do not fit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tricks = composed(trial)
        built = build(trial, shape, known, tricks)
        progress = Progress(Streams(trial.seed), horizon=round(trial.horizon_kimg * 1000))
        example = anything(shape, known, max(FEW, tricks.batch_size(FEW), references(trial)))
        if references(trial):
            refer(trial, built, example, progress)
        yield from walked(trial, built, tricks.images, example, progress)


def walked(
    trial: Trial,
    built: Built,
    images: Callable[[Batch, Progress], Batch],
    example: Batch,
    progress: Progress,
) -> Iterator[NetworkSummary]:
    """The networks of all pairs, each after one pass."""
    fakes, noted = dict[str, Tensor](), dict[str, Mapping[str, Layer]]()
    z = trial.prior.make()(len(example), progress.random["latents"])

    def view(name: str) -> Batch:
        return built.architecture.view(name, example, made, progress)

    def made(name: str) -> Tensor:
        if name not in fakes:  # of a pair that another one is shown, say
            generator, given = built.networks[name].generator, view(name)
            with watched(generator, len(given)) as noted[name]:
                fakes[name] = generator(z, given.context)
        return fakes[name]

    for name, pair in built.networks.items():
        fake = view(name).showing(made(name))
        yield summary(name, Player.G, pair.generator, noted[name])
        shown = images(of_domain(fake, 1), progress)
        with watched(pair.discriminator, len(shown)) as layers:
            pair.discriminator(shown)
        yield summary(name, Player.D, pair.discriminator, layers)


def anything(shape: Sequence[int], known: Known, n: int) -> Batch:
    """Random examples of a shape, with all that is known of real ones."""
    side = tuple(shape[1:])

    def image(channels: int) -> Tensor | None:
        return torch.rand(n, channels, *side) if channels else None

    return Batch(
        torch.rand(n, *shape),
        torch.arange(n) % known.classes if known.classes else None,
        image(known.source),
        image(known.mask),
        image(known.reference),
    )


def summary(
    pair: str, player: Player, network: nn.Module, layers: Mapping[str, Layer]
) -> NetworkSummary:
    parameters = list(network.parameters())
    return NetworkSummary(
        pair,
        player,
        tuple(layers.values()),
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
    )


@contextmanager
def watched(network: nn.Module, n: int) -> Iterator[dict[str, Layer]]:
    """Note the layers of a network as n examples pass through them, without a gradient; at last,
    those with weights that were not called. What listens to them is taken away afterwards."""
    seen = dict[str, Layer]()
    layers = {n: module for n, module in network.named_modules() if is_layer(n, module)}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                own = own_name(name)
                before = seen[own].bytes if own in seen else 0.0
                size = before + output.numel() * output.element_size() / n
                seen[own] = Layer(own, kind(module), tuple(output.shape[1:]), count(module), size)

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in layers.items()]
    try:
        with torch.no_grad():
            yield seen
    finally:
        for handle in handles:
            handle.remove()
    for own, module in ((own_name(name), module) for name, module in layers.items()):
        if own not in seen and count(module):
            seen[own] = Layer(own, kind(module), None, count(module), 0.0)


def is_layer(name: str, module: nn.Module) -> bool:
    """Whether a module is a layer: one that has weights of its own, or is made of no others, and
    does something."""
    nothing = isinstance(module, nn.Identity | NoNorm) or type(module) is Summary
    if nothing or "parametrizations" in name.split("."):
        return False
    leaf = not any(True for _ in module.children()) or is_parametrized(module)
    return leaf or any(True for _ in module.parameters(recurse=False))


def kind(module: nn.Module) -> str:
    """What a layer is called, and how its weights are constrained."""
    name = str(module._get_name()).removeprefix("Parametrized")  # type: ignore[no-untyped-call]
    if not is_parametrized(module):
        return name
    constraints = [
        type(p).__name__.lstrip("_")
        for held in module.parametrizations.values()  # type: ignore[operator]
        for p in held
    ]
    return f"{name} + {', '.join(constraints)}"


def count(module: nn.Module) -> int:
    """How many parameters are a layer's own."""
    own = module.parameters(recurse=is_parametrized(module))
    return sum(p.numel() for p in own)
