"""The vocabulary of the two-player game, shared by the catalog and the trainer."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cached_property, reduce
from typing import Any, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Player(StrEnum):
    """The two sides of the game."""

    D = "discriminator"
    G = "generator"

    # An Enum's own hash runs in Python, and the step looks up players all the time.
    __hash__ = str.__hash__


Move = frozenset[Player]
"""Players whose gradients are all taken before any of them steps."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a network and its layers are told of N examples beside their input.

    Each example's class (N,); a vector of its style (N, K); its mask (N, M, H, W), 1 inside and 0
    outside; which of several distributions it is from (N,), for D 0 if real and 1 if fake; the
    image it is to be made from, and one whose style is to be taken, (N, C, H, W) each. ``trail`` is
    what the layers of one pass leave for those after them.
    """

    label: Tensor | None = None
    style: Tensor | None = None
    mask: Tensor | None = None
    domain: Tensor | None = None
    source: Tensor | None = None
    reference: Tensor | None = None
    trail: dict[str, Any] = field(default_factory=dict)

    def styled(self, style: Tensor | None) -> Context:
        """The same with another style vector, for a pass that begins."""
        return replace(self, style=style, trail={})

    def rows(self, which: slice) -> Context:
        """What is known of some of the examples."""
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "trail"}
        cut: Any = {name: None if x is None else x[which] for name, x in held.items()}
        return Context(**cut)


class Known(NamedTuple):
    """What the networks of a trial can be told: how many classes there are, the channels of sources
    and of references, the planes of masks, and the length of style vectors; 0 for none. ``paired``
    is 1 if each example is what should be made of its own source, mask or reference."""

    classes: int = 0
    source: int = 0
    reference: int = 0
    mask: int = 0
    style: int = 0
    paired: int = 0


UNTOLD = Known()


@dataclass(frozen=True, slots=True)
class Batch:
    """Some examples, and what is known of each: images (N, C, H, W) or points (N, K), and whatever
    a data set adds. ``domain`` is 0 for real ones and 1 for fakes, where a layer of D asks."""

    image: Tensor
    label: Tensor | None = None
    source: Tensor | None = None
    mask: Tensor | None = None
    style: Tensor | None = None
    domain: Tensor | None = None

    def __len__(self) -> int:
        return self.image.shape[0]

    def showing(self, image: Tensor) -> Batch:
        """The same examples with other images."""
        return Batch(image, self.label, self.source, self.mask, self.style, self.domain)

    def parts(self, n: int) -> list[Batch]:
        """The examples in ``n`` equal parts, in order."""
        if n == 1:
            return [self]
        cut = {k: v.chunk(n) for k, v in self._held()}
        return [Batch(**{k: v[i] for k, v in cut.items()}) for i in range(n)]

    def beside(self, other: Batch) -> Batch:
        """These examples, then others; of both, whatever both have."""
        theirs = dict(other._held())
        return Batch(**{k: torch.cat([v, theirs[k]]) for k, v in self._held() if k in theirs})

    def _held(self) -> list[tuple[str, Tensor]]:
        names = ("image", "label", "source", "mask", "style", "domain")
        return [(name, v) for name in names if (v := getattr(self, name)) is not None]

    @property
    def context(self) -> Context:
        """What a network is told of these examples."""
        return Context(self.label, None, self.mask, self.domain, self.source, self.style)


class Output(NamedTuple):
    """What a discriminator says of a batch: a score per example (N,), or one per patch of each or
    per scale (N, P); the activations of its hidden layers, first to last; and, if it has them, a
    logit per class (N, K)."""

    scores: Tensor
    features: tuple[Tensor, ...] = ()
    classes: Tensor | None = None

    def cut(self, at: int) -> tuple[Output, Output]:
        """What was said of the first ``at`` examples, and of the others."""

        def part(which: slice) -> Output:
            classes = None if self.classes is None else self.classes[which]
            return Output(self.scores[which], tuple(f[which] for f in self.features), classes)

        return part(slice(at)), part(slice(at, None))


class Ranks:
    """The processes that train a trial together, each on its own rows of every batch: here, this
    one alone.

    Of n rows, those of a rank are every ``size``-th, from its own number on, so that the halves of
    a joined batch, and equal parts of one, are shared out as each of them would be.
    """

    rank: int = 0
    size: int = 1

    def __deepcopy__(self, memo: object) -> Ranks:
        return self

    def own(self, rows: Tensor) -> Tensor:
        """Of rows for all ranks, those of this one."""
        return rows

    def drawn(self, n: int, draw: Callable[[int], Tensor]) -> Tensor:
        """``n`` rows of random numbers for the rows of this rank. ``draw`` makes those of all
        ranks, which draw the same."""
        return draw(n)

    def sum(self, x: Tensor) -> Tensor:
        """The sum over ranks of a tensor that each has, as a function of them all."""
        return x

    def mean(self, x: Tensor) -> Tensor:
        """The mean over ranks of a tensor that each has, as a function of them all."""
        return x

    def means(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The mean over ranks of each of some tensors, of one type, as functions of them all."""
        return tensors

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, as a function of them all."""
        return rows

    def told(self, find: Callable[[], T]) -> T:
        """What the first rank finds; the others wait for it."""
        return find()


ALONE = Ranks()


class Coupled(nn.Module):
    """A part of a trial in which examples bear on each other, or are drawn for: while it is
    trained, it has to do with those of other ranks, too."""

    ranks: Ranks = ALONE

    @property
    def company(self) -> Ranks:
        return self.ranks if self.training else ALONE


class Paced(nn.Module):
    """A part of a network that changes as training goes on, by its buffers."""

    def pace(self, progress: Progress) -> None:
        """Take on what is due, before each round."""
        raise NotImplementedError


class Streams:
    """Named random generators, so that what one purpose draws never shifts what another does."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.device = torch.device(device)
        self._generators: dict[str, torch.Generator] = {}

    def __getitem__(self, purpose: str) -> torch.Generator:
        if purpose not in self._generators:
            self._generators[purpose] = torch.Generator(self.device).manual_seed(
                derive(self.seed, purpose)
            )
        return self._generators[purpose]

    def state_dict(self) -> dict[str, Tensor]:
        return {purpose: generator.get_state() for purpose, generator in self._generators.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for purpose, value in state.items():
            generator, kept = self[purpose], value.cpu()
            if kept.shape == generator.get_state().shape:
                generator.set_state(kept)
            else:  # another kind of device wrote it: what follows is new, but determined
                generator.manual_seed(derive(self.seed, purpose, kept.numpy().tobytes().hex()))


def derive(seed: int, *purpose: object) -> int:
    """A seed of its own for every purpose, the same in every process."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


@dataclass
class Progress:
    """Where training stands: real images shown to D, moves of each player, and the fixed horizon of
    the trial; and who trains it."""

    random: Streams
    horizon: int
    images: int = 0
    moves: dict[Player, int] = field(default_factory=lambda: dict.fromkeys(Player, 0))
    ranks: Ranks = ALONE

    @property
    def fraction(self) -> float:
        """The share of the horizon that lies behind, from 0 to 1."""
        return min(self.images / self.horizon, 1.0)


class Pair(NamedTuple):
    """One discriminator and one generator that play against each other."""

    discriminator: nn.Module
    generator: nn.Module

    def of(self, player: Player) -> nn.Module:
        return self.discriminator if player is Player.D else self.generator


Networks = Mapping[str, Pair]
"""The pairs of a trial by name; one pair unless the architecture says otherwise."""

Score = Callable[[Batch], Output]
"""The discriminator as seen through the tricks that change what it is shown."""

Side = Literal["real", "fake"]


@dataclass(frozen=True)
class Scores:
    """What D says of a real and a fake batch, each computed when it is first read."""

    score: Score
    real_batch: Batch
    fake_batch: Batch
    targets: Callable[[Tensor, Side], Tensor] = lambda labels, side: labels
    select: Callable[[Tensor], Tensor] = lambda scores: scores
    mixed: bool = False

    @cached_property
    def real_output(self) -> Output:
        return self._both[0] if self.mixed else self.score(self.real_batch)

    @cached_property
    def fake_output(self) -> Output:
        return self._both[1] if self.mixed else self.score(self.fake_batch)

    @cached_property
    def _both(self) -> tuple[Output, Output]:
        real, fake = len(self.real_batch), len(self.fake_batch)
        seen = self.score(self.real_batch.beside(self.fake_batch))
        return seen.cut(len(seen.scores) * real // (real + fake))

    @property
    def real(self) -> Tensor:
        """Scores of the real examples, (N,), or of their patches, (N, P)."""
        return self.real_output.scores

    @cached_property
    def fake(self) -> Tensor:
        """Scores of the fakes that this player learns from, (N,), or of their patches, (N, P)."""
        return self.select(self.fake_output.scores)

    def learnt_from(self, select: Callable[[Tensor], Tensor]) -> Scores:
        """The very same scores, for G to learn from those that are selected."""
        other = replace(self, select=select)
        for name in ("real_output", "fake_output", "_both"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @property
    def real_targets(self) -> Tensor:
        """The label D should have given each real example: 1, after any label tricks."""
        return self.targets(torch.ones_like(self.real), "real")

    @property
    def fake_targets(self) -> Tensor:
        """The label D should have given each fake: 0, after any label tricks."""
        return self.targets(torch.zeros_like(self.fake), "fake")


@dataclass(frozen=True)
class Turn:
    """All that one player sees while making one move. ``scores`` are of the examples as they were
    paired up for the loss; ``real`` and ``fake`` are what they are called. ``pair`` is the name of
    the two networks, and ``others`` are all pairs, itself included."""

    player: Player
    real: Batch
    fake: Batch
    latents: Tensor
    scores: Scores
    score: Score
    networks: Pair
    progress: Progress
    pair: str = "main"
    others: Networks = field(default_factory=dict)


class Loss:
    """What each player pays, given the scores.

    ``equilibrium`` is what D pays when it cannot tell real from fake, if that is one number;
    ``critic`` says that a difference of scores is a distance between distributions. Scores are
    those of one rank; ``ranks`` are all that train together.
    """

    equilibrium: float | None = None
    critic: bool = False
    ranks: Ranks = ALONE

    def discriminator(self, scores: Scores) -> Tensor:
        raise NotImplementedError

    def generator(self, scores: Scores) -> Tensor:
        raise NotImplementedError

    def beliefs(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor] | None:
        """How probable it is to D that each real example and each fake is real, if this loss reads
        scores as logits."""
        return None


class Architecture:
    """Builds networks for examples of a shape, from layers that the trial chose: one pair of them,
    or several that train side by side."""

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        """A network from latents (N, latent_size) and a Context to images (N, *shape)."""
        raise NotImplementedError

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        """A network from a batch of images (N, *shape) to an Output."""
        raise NotImplementedError

    def parts(self, shape: Sequence[int], known: Known) -> Mapping[str, Part]:
        """The pairs by name, in the order in which their fakes are made."""
        return {"main": Part(self, tuple(shape), known)}

    def fits(self, shape: Sequence[int], horizon_kimg: float) -> None:
        """See whether so many thousands of real images are enough to train on; raises ValueError if
        they are not."""

    def playing(self, progress: Progress) -> Collection[str] | None:
        """The pairs that train now; None for all."""
        return None

    def view(
        self, pair: str, real: Batch, made: Callable[[str], Tensor], progress: Progress
    ) -> Batch:
        """What a pair is shown of real examples, and given to make fakes of. ``made`` are the fakes
        of a pair before it, through which its gradient flows back unless they are detached."""
        return real

    def whole(self, generators: Mapping[str, nn.Module]) -> nn.Module:
        """The generator that is judged, made of those of all pairs."""
        return generators["main"]


class Part(NamedTuple):
    """One pair of an architecture: what builds it, the shape of the images it makes, and what it
    can be told. One that is not ``judged`` has no adversarial loss, and a Silent discriminator."""

    architecture: Architecture
    shape: tuple[int, ...]
    known: Known
    judged: bool = True


class Silent(nn.Module):
    """A discriminator that says nothing: every score (N,), and its one hidden activation, is 0."""

    def forward(self, batch: Batch) -> Output:
        said = batch.image.new_zeros(len(batch))
        return Output(said, (said[:, None],))


class Summary(nn.Module):
    """Hidden activations (N, C, ...) to (N, channels, ...), of which the first C are the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, h: Tensor) -> Tensor:
        return h


Initial = Callable[[nn.Module], object]
"""Draws the weights of a layer."""


def as_made(layer: nn.Module) -> None:
    """The weights that torch draws."""


class Layers:
    """The layers that a player's networks are made of: plain ones, until overridden.

    ``known`` is what they can be told, and ``classes`` how many classes D names beside its score, 0
    for none. Every layer with weights is to pass through ``weighted``, and every layer that is told
    things is called with its input and a Context.
    """

    known: Known = UNTOLD
    classes: int = 0
    initial: Initial = staticmethod(as_made)

    def starting(self, initial: Initial) -> Layers:
        """The same, with weights that are drawn so unless the trial says otherwise."""
        other = copy(self)
        other.initial = initial
        return other

    def telling(self, known: Known) -> Layers:
        """The same, of networks that are told something else."""
        other = copy(self)
        other.known = known
        return other

    def plain(self) -> Layers:
        """The same, with ordinary convolutions whatever the trial says."""
        return self

    def weighted(self, layer: nn.Module, adapt: Initial = as_made) -> nn.Module:
        """A layer with weights, initialised and constrained as the trial says; in between, its
        weights may be adapted."""
        with torch.no_grad():
            self.initial(layer)
            adapt(layer)
        return layer

    def norm(self, channels: int) -> nn.Module:
        """A normalization of (N, channels, ...), called with the activations and a Context."""
        raise NotImplementedError

    def activation(self, channels: int, own: Callable[[], nn.Module]) -> nn.Module:
        """A nonlinearity of (N, channels, ...): the architecture's own, unless the trial says
        otherwise."""
        return own()

    def conv(self, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True) -> nn.Module:
        """A convolution that keeps the size of (N, inputs, H, W), called with it and a Context."""
        raise NotImplementedError

    def up(self, inputs: int, outputs: int, own: Resampling, *, bias: bool = False) -> nn.Module:
        """A layer that doubles the size of (N, inputs, H, W), called with it and a Context: the
        architecture's own, unless the trial says otherwise."""
        return own(inputs, outputs, self, bias)

    def down(self, inputs: int, outputs: int, own: Resampling, *, bias: bool = False) -> nn.Module:
        """A layer that halves the size of (N, inputs, H, W), called with it and a Context: the
        architecture's own, unless the trial says otherwise."""
        return own(inputs, outputs, self, bias)

    def output(self, shape: Sequence[int]) -> nn.Module:
        """What turns G's last numbers into examples (N, *shape) in the range of real ones."""
        return nn.Tanh() if len(shape) == 3 else nn.Identity()

    def output_kernel(self, own: int) -> int:
        """The side of the kernel of G's last convolution, which keeps the size of its input."""
        return own

    def hidden(self, channels: int, depth: int, size: int = 1) -> nn.Module:
        """What follows the activation of the ``depth``-th hidden layer, from 0: (N, channels, size,
        size), or (N, channels) where the size is 1, to the same."""
        return nn.Identity()

    def summary(self, shape: Sequence[int]) -> Summary:
        """What D looks at before its head, given its last hidden activations (N, *shape)."""
        return Summary(shape[0])


Resampling = Callable[[int, int, Layers, bool], nn.Module]
"""Builds a layer that doubles or halves the size: from the channels of its input and its output,
the layers that it is to be made of, and whether it is to have a bias."""


class Schedule(nn.Module):
    """Decides who moves when.

    ``fresh_latents``: every move draws its own latents, where otherwise the k-th moves of D and G
    in a round share theirs. ``shared_forward``: players that move together learn from one pass of
    the fakes through D. ``generator_scale``: how much G's loss counts, where D's counts one.
    ``even``: all rounds have the same moves.
    """

    even: bool = True
    fresh_latents: bool = False
    shared_forward: bool = False
    generator_scale: float = 1.0

    def moves(self, progress: Progress, losses: Mapping[str, Tensor]) -> Sequence[Move]:
        """The moves of the coming round, in order, given the terms of the last round's losses."""
        raise NotImplementedError


class Prior:
    """Draws latents of shape (n, size)."""

    size: int

    def __call__(self, n: int, random: torch.Generator) -> Tensor:
        """Latents to train on."""
        raise NotImplementedError

    def shown(self, n: int, random: torch.Generator) -> Tensor:
        """Latents to be judged by."""
        return self(n, random)


class Lookahead(NamedTuple):
    """Moves that are played before a move, from where it takes its gradients, and then undone.

    A ``differentiable`` one is of D alone, by plain gradient steps of a ``rate`` (D's own if None),
    and G's gradient flows back through them.
    """

    moves: tuple[Move, ...]
    differentiable: bool = False
    rate: float | None = None


class Trick(nn.Module):
    """One technique, told through the nouns of the training step that it changes.

    Every method is the identity until overridden. What a trick remembers lives in buffers and
    submodules, and is therefore saved and restored together with the networks.
    """

    def shown(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what D is shown as one example, where examples have a shape."""
        return shape

    def hidden(self, player: Player, channels: int, depth: int) -> nn.Module | None:
        """A layer that follows the activation of a player's ``depth``-th hidden layer."""
        return None

    def summary(self, shape: tuple[int, ...]) -> Summary | None:
        """What joins D's last hidden activations (N, *shape) before its head."""
        return None

    def setup(self, networks: Networks, batch: Batch) -> None:
        """See the networks and a batch once, before the first round."""

    def begin(self, networks: Networks, progress: Progress) -> None:
        """Set the stage for the coming round."""

    def batch_size(self, n: int) -> int:
        """How many examples to draw where ``n`` would be."""
        return n

    def latents(self, z: Tensor, progress: Progress) -> Tensor:
        """What the generator is given."""
        return z

    def fakes(self, batch: Batch, progress: Progress, pair: str = "main") -> Batch:
        """Which fakes the discriminator of a pair is trained on."""
        return batch

    def pair(self, real: Batch, fake: Batch, progress: Progress) -> tuple[Batch, Batch]:
        """What the discriminator is shown as real and as fake."""
        return real, fake

    def images(self, batch: Batch, progress: Progress) -> Batch:
        """How the discriminator sees any batch, real or fake."""
        return batch

    def targets(self, labels: Tensor, side: Side, progress: Progress) -> Tensor:
        """What the discriminator should have said."""
        return labels

    def fake_scores(self, scores: Tensor, progress: Progress) -> Tensor:
        """Which scores the generator learns from."""
        return scores

    def total(self, player: Player, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of a player's loss, which is their sum."""
        return terms

    def observe(self, turn: Turn) -> None:
        """Look at a finished turn, before its step."""

    def lookahead(self, move: Move, progress: Progress) -> Lookahead | None:
        """Moves to be played before a move takes its gradients, and undone after."""
        return None

    def gradients(self, player: Player, networks: Networks, progress: Progress) -> None:
        """Correct the gradients, after backward and before the step."""

    def weights(self, player: Player, networks: Networks, progress: Progress) -> None:
        """Note, or correct, the freshly stepped weights."""

    def eval_generator(self, generator: nn.Module, pair: str) -> nn.Module:
        """Which generator the metrics are shown."""
        return generator


class Regularizer(Trick):
    """A number added to a player's loss by something that remembers: a trick with a formula."""

    def forward(self, turn: Turn) -> Tensor:
        """The number, of shape ()."""
        raise NotImplementedError


class Tricks(Trick):
    """Any number of tricks, sorted by stage, being one trick themselves."""

    def __init__(self, tricks: Mapping[str, Trick]) -> None:
        super().__init__()
        self.all = nn.ModuleDict(cast(dict[str, nn.Module], dict(tricks)))
        # The step asks for every noun many times a round, and most tricks leave most as they are.
        self._changing = {
            noun: [t for t in tricks.values() if getattr(type(t), noun) is not own]
            for noun, own in vars(Trick).items()
            if inspect.isfunction(own)
        }

    def shown(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return reduce(lambda shape, trick: trick.shown(shape), self._changing["shown"], shape)

    def hidden(self, player: Player, channels: int, depth: int) -> nn.Module | None:
        layers = [trick.hidden(player, channels, depth) for trick in self._changing["hidden"]]
        return nn.Sequential(*filter(None, layers)) if any(layers) else None

    def summary(self, shape: tuple[int, ...]) -> Summary | None:
        summaries = list[Summary]()
        for trick in self._changing["summary"]:
            if summary := trick.summary(shape):
                summaries.append(summary)
                shape = (summary.channels, *shape[1:])
        return Chain(summaries) if summaries else None

    def setup(self, networks: Networks, batch: Batch) -> None:
        for trick in self._changing["setup"]:
            trick.setup(networks, batch)

    def begin(self, networks: Networks, progress: Progress) -> None:
        for trick in self._changing["begin"]:
            trick.begin(networks, progress)

    def batch_size(self, n: int) -> int:
        return reduce(lambda n, trick: trick.batch_size(n), self._changing["batch_size"], n)

    def latents(self, z: Tensor, progress: Progress) -> Tensor:
        return reduce(lambda z, trick: trick.latents(z, progress), self._changing["latents"], z)

    def fakes(self, batch: Batch, progress: Progress, pair: str = "main") -> Batch:
        return reduce(
            lambda batch, trick: trick.fakes(batch, progress, pair), self._changing["fakes"], batch
        )

    def pair(self, real: Batch, fake: Batch, progress: Progress) -> tuple[Batch, Batch]:
        return reduce(
            lambda both, trick: trick.pair(*both, progress), self._changing["pair"], (real, fake)
        )

    def images(self, batch: Batch, progress: Progress) -> Batch:
        return reduce(
            lambda batch, trick: trick.images(batch, progress), self._changing["images"], batch
        )

    def targets(self, labels: Tensor, side: Side, progress: Progress) -> Tensor:
        return reduce(
            lambda labels, trick: trick.targets(labels, side, progress),
            self._changing["targets"],
            labels,
        )

    def fake_scores(self, scores: Tensor, progress: Progress) -> Tensor:
        return reduce(
            lambda scores, trick: trick.fake_scores(scores, progress),
            self._changing["fake_scores"],
            scores,
        )

    def total(self, player: Player, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        return reduce(
            lambda terms, trick: trick.total(player, terms), self._changing["total"], terms
        )

    def observe(self, turn: Turn) -> None:
        for trick in self._changing["observe"]:
            trick.observe(turn)

    def lookahead(self, move: Move, progress: Progress) -> Lookahead | None:
        planned = [t.lookahead(move, progress) for t in self._changing["lookahead"]]
        return next((plan for plan in planned if plan is not None), None)

    def gradients(self, player: Player, networks: Networks, progress: Progress) -> None:
        for trick in self._changing["gradients"]:
            trick.gradients(player, networks, progress)

    def weights(self, player: Player, networks: Networks, progress: Progress) -> None:
        for trick in self._changing["weights"]:
            trick.weights(player, networks, progress)

    def eval_generator(self, generator: nn.Module, pair: str) -> nn.Module:
        return reduce(
            lambda shown, trick: trick.eval_generator(shown, pair),
            self._changing["eval_generator"],
            generator,
        )


class Chain(Summary):
    """Summaries, each upon the one before."""

    def __init__(self, summaries: Sequence[Summary]) -> None:
        super().__init__(summaries[-1].channels)
        self.all = nn.ModuleList(summaries)

    def forward(self, h: Tensor) -> Tensor:
        for summary in self.all:
            h = summary(h)
        return h
