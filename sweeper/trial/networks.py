"""The networks of a trial, from its layers, and what does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from sweeper.catalog.architectures.multi_scale import MultiScale, sizes
from sweeper.catalog.conditioning.conditioning import (
    Conditioning,
    TellingDiscriminator,
    TellingGenerator,
)
from sweeper.catalog.conditioning.one_hot_concat import OneHotConcat
from sweeper.catalog.regularizers.perception import BARE, Sight
from sweeper.config import DiscriminatorSide, Misfit, Pick, Problem, Side, Trial
from sweeper.game import (
    Architecture,
    Batch,
    Known,
    Layers,
    Pair,
    Part,
    Player,
    Progress,
    Silent,
    Streams,
    Trick,
    Tricks,
)
from sweeper.registry import laws
from sweeper.trial.layers import Chosen, Placed
from sweeper.trial.referring import Reference, ReferringDiscriminator, ReferringGenerator
from sweeper.trial.samples import evaluating
from sweeper.trial.start import start

STAGE_OF_TERMS = 5
"""Where regularizers that are tricks, too, stand among the tricks."""


class Built(NamedTuple):
    """The networks of a trial, untrained, and the architecture that says how they play."""

    architecture: Architecture
    networks: dict[str, Pair]

    @property
    def generator(self) -> nn.Module:
        """The generator that is judged."""
        pairs = self.networks.items()
        return self.architecture.whole({name: pair.generator for name, pair in pairs})


def build(
    trial: Trial,
    shape: Sequence[int],
    known: Known | None = None,
    tricks: Tricks | None = None,
) -> Built:
    """The networks of a trial for examples of a shape, of which so much is known, untrained. Raises
    Misfit when they do not fit it."""
    known, tricks = known or Known(), tricks or composed(trial)
    if problems := list(untold(trial, known)):
        raise Misfit(problems)
    architecture: Architecture = trial.architecture.make()
    placed = {player: Placed() for player in Player}
    try:
        architecture.fits(tuple(shape), trial.horizon_kimg)
        networks = {
            name: pair_of(trial, part, tricks, placed)
            for name, part in architecture.parts(shape, known).items()
        }
    except Misfit:
        raise
    except ValueError as error:
        raise Misfit(
            [Problem(("architecture", trial.architecture.entry.name), str(error))]
        ) from None
    if problems := list(homeless(trial, placed)):
        raise Misfit(problems)
    for player, side in sides(trial).items():
        freeze([pair.of(player) for pair in networks.values()], side.freeze, player)
    return Built(architecture, networks)


TOLD = {
    "label": ("classes", 2, "labels of two classes or more"),
    "source": ("source", 1, "images to start from"),
    "reference": ("reference", 1, "images of a style"),
    "mask": ("mask", 1, "masks"),
    "pair": ("paired", 1, "pairs of an image and what it is to be made from"),
}
"""What a technique may have to be told: which of what is known says so, the least it takes, and
what the data would need to have."""


def untold(trial: Trial, known: Known) -> Iterator[Problem]:
    """Techniques that are to be told what the data does not have."""
    for path, pick in trial.picks():
        for need in TOLD.keys() & needs_of(pick):
            what, least, words = TOLD[need]
            if getattr(known, what) < least:
                yield Problem(path, f"{pick.entry.name} needs {words}, and the data has none")
    if trial.feed.sampler == "balanced" and known.classes < 2:
        law = "balanced draws every class equally often, but the data has no labels of two classes"
        yield Problem(("feed", "sampler"), law)


NO_PLACE = {
    "convolution": "no convolution that keeps the size of its input",
    "upsampling": "no layer that doubles the size of its input",
    "downsampling": "no layer that halves the size of its input",
    "output_conv": "no last convolution",
}
"""What networks lack in which a technique has no place."""


def homeless(trial: Trial, placed: Mapping[Player, Placed]) -> Iterator[Problem]:
    """Techniques that were chosen for a player's networks, and stand nowhere in them."""
    for player, side in sides(trial).items():
        found = placed[player]
        for key, lack in NO_PLACE.items():
            chosen = getattr(side, key, None)
            if chosen is not None and key not in found.techniques:
                name = chosen.entry.name if isinstance(chosen, Pick) else key
                law = f"{name} has no place: the {player} has {lack}"
                yield Problem((str(player), key), law)
        for pick in side.blocks:
            name = pick.entry.name
            if f"blocks.{name}" not in found.techniques:
                sizes = ", ".join(map(str, sorted(found.sizes)))
                law = f"{name} has no place: the hidden layers of the {player} are {sizes} px wide"
                yield Problem((str(player), "blocks", name), law)


def pair_of(trial: Trial, part: Part, tricks: Tricks, placed: Mapping[Player, Placed]) -> Pair:
    """One pair of networks, each behind what tells it more."""
    named = any("class_head" in pick.entry.facts for pick in trial.regularizers)
    d, g = (
        Chosen(
            player,
            side,
            tricks,
            part.known,
            part.known.classes if named else 0,
            trial.feed.pixel_range,
            placed=placed[player],
        )
        for player, side in sides(trial).items()
    )
    return Pair(
        discriminator_of(trial, part, d) if part.judged else Silent(), generator_of(trial, part, g)
    )


def discriminator_of(trial: Trial, part: Part, layers: Chosen) -> nn.Module:
    """The discriminator of a pair, behind what tells it more."""
    seen = layers.tricks.shown(part.shape)
    offered = {"known": part.known, "shape": seen, "layers": layers}
    told = conditioned(layers, offered)
    wide = (seen[0] + sum(c.channels for c in told), *seen[1:])
    network = scaled(trial.discriminator, part.architecture, wide, layers)
    told += conditioned(layers, offered | {"width": getattr(network, "width", 0)})
    network = TellingDiscriminator(network, told) if told else network
    n = reference_of(layers.side)
    kept = n and Reference(n, seen, part.known, seen[1:])
    return ReferringDiscriminator(network, kept) if kept else network


def generator_of(trial: Trial, part: Part, layers: Chosen) -> nn.Module:
    """The generator of a pair, behind what tells it more."""
    offered = {"known": part.known, "shape": part.shape, "layers": layers}
    told = conditioned(layers, offered)
    if heeded(trial) and not told_class(trial):
        told.append(OneHotConcat(part.known))
    size = trial.prior["size"] + sum(c.latents for c in told)
    styled = layers.telling(part.known._replace(style=size))
    network = part.architecture.generator(part.shape, size, styled)
    network = TellingGenerator(network, told) if told else network
    n = reference_of(layers.side)
    kept = n and Reference(n, [trial.prior["size"]], part.known, part.shape[1:])
    return ReferringGenerator(network, kept) if kept else network


def reference_of(side: Side) -> int:
    """How many examples a player's networks refer to in every pass; 0 for none."""
    pick = side.normalization
    return int(pick["examples"]) if "refers" in pick.entry.facts else 0


def references(trial: Trial) -> int:
    """How many real examples it takes to draw what a trial's networks refer to."""
    return max(map(reference_of, sides(trial).values()))


def refer(trial: Trial, built: Built, example: Batch, progress: Progress) -> None:
    """Draw what networks are to refer to, once and for all: the first real examples, for D as they
    are, and for G with latents in place of images."""
    generators = {name: pair.generator for name, pair in built.networks.items()}
    views = dict[str, Batch]()

    @torch.no_grad()
    def made(pair: str) -> Tensor:
        with evaluating(generators[pair]):
            return cast(Tensor, generators[pair](z, views[pair].context))

    z = trial.prior.make()(len(example), Streams(trial.seed)["reference"]).to(example.image.device)
    for name, pair in built.networks.items():
        views[name] = built.architecture.view(name, example, made, progress)
        for network, image in ((pair.discriminator, views[name].image), (pair.generator, z)):
            if isinstance(network, ReferringDiscriminator | ReferringGenerator):
                network.reference.keep(views[name].showing(image))


def scaled(
    side: DiscriminatorSide, architecture: Architecture, shape: Sequence[int], layers: Layers
) -> nn.Module:
    """The discriminator of a pair: one network, or one for each of several scales."""
    if side.scales == 1:
        return architecture.discriminator(shape, layers)
    try:
        shapes = sizes(shape, side.scales)
    except ValueError as error:
        raise Misfit([Problem((str(Player.D), "scales"), str(error))]) from None
    return MultiScale([architecture.discriminator(s, layers) for s in shapes], side.pyramid)


def conditioned(chosen: Chosen, offered: Mapping[str, object]) -> list[Conditioning]:
    """What tells a player's networks more: of its conditioning, what asks for the width of D's last
    layer where that is offered, and what does not where it is not."""
    offered = {"player": chosen.player, **offered}
    picks = [
        p for p in chosen.side.conditioning if ("width" in p.entry.asks) == ("width" in offered)
    ]
    return [cast(Conditioning, pick.made_of(offered)) for pick in picks]


def heeded(trial: Trial) -> bool:
    """Whether D heeds classes: a G that knew nothing of them would fool no such D."""
    if any("class_head" in pick.entry.facts for pick in trial.regularizers):
        return True
    side = trial.discriminator
    told = (law for p in (side.normalization, *side.conditioning) for law in needs_of(p))
    return "label" in told


def needs_of(pick: Pick) -> list[str]:
    """What a technique has to be told, as its knobs are set."""
    told = laws(pick.entry.facts.get("told", ()))
    return [law.tag for law in told if law.holds(pick.knobs)]


def told_class(trial: Trial) -> bool:
    """Whether a technique of G's side tells it the class."""
    side = trial.generator
    return any(
        law.tag == "told_class" and law.holds(pick.knobs)
        for pick in (side.normalization, *side.conditioning)
        for law in pick.entry.provides
    )


def freeze(networks: Sequence[nn.Module], patterns: str, player: Player) -> None:
    """Never train the parameters that match, nor follow statistics there. Raises Misfit when a
    pattern matches nothing."""
    owned = [(own_name(name), p) for net in networks for name, p in net.named_parameters()]
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        parameters = [p for name, p in owned if fnmatchcase(name, pattern)]
        if not parameters:
            known = ", ".join(dict.fromkeys(name.split(".")[0] for name, _ in owned))
            law = f"freeze names parameters, but none matches {pattern!r}; they begin with {known}"
            raise Misfit([Problem((str(player), "freeze"), law)])
        for parameter in parameters:
            parameter.requires_grad_(False)
        for name, module in (named for net in networks for named in net.named_modules()):
            buffers = [f"{name}.{buffer}" for buffer, _ in module.named_buffers(recurse=False)]
            if any(fnmatchcase(own_name(buffer), pattern) for buffer in buffers):
                module.eval()


def own_name(name: str) -> str:
    """What a parameter is called in the architecture, whatever stands before its network."""
    return re.sub(r"^(network\.)+", "", name)


def probe(trial: Trial, shape: Sequence[int], known: Known | None = None) -> None:
    """See whether a trial's networks can be built for examples of a shape, and started from what
    they are to start from, at no cost. Raises Misfit."""
    with torch.device("meta"):
        built = build(trial, shape, known)
    start(built.networks, trial.init_from)


def composed(trial: Trial, sight: Sight = BARE) -> Tricks:
    """All tricks of a trial as one, and regularizers that remember among them. Raises Misfit for
    one that cannot be made."""
    tricks = [(pick.entry.facts["stage"], pick) for pick in trial.tricks]
    terms = [(STAGE_OF_TERMS, p) for p in trial.regularizers if isinstance(p.entry.target, type)]
    ordered = sorted([*terms, *tricks], key=lambda staged: staged[0])
    made = dict[str, Trick]()
    for _, pick in ordered:
        try:
            made[pick.entry.name] = cast(Trick, pick.made_of({"sight": sight}))
        except ValueError as error:
            family = pick.entry.family
            raise Misfit([Problem((family, pick.entry.name), str(error))]) from None
    return Tricks(made)


def sides(trial: Trial) -> dict[Player, Side]:
    return {Player.D: trial.discriminator, Player.G: trial.generator}
