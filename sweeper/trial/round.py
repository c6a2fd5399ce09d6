"""What the moves of one round share: examples, latents, fakes, and how D sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sweeper.game import Batch, Move, Output, Player, Progress, Scores, Side, Turn
from sweeper.trial.gan import Gan, untouched

Fakes = tuple[str, int, object]
"""Whose fakes: the pair, the part of the batch, and the latents they are made of."""


class Round:
    """The k-th move of D and the k-th of G see the same real examples, and the same latents and
    fakes too unless the schedule asks for fresh ones."""

    def __init__(
        self, gan: Gan, draw: Callable[[int], Batch], progress: Progress, moves: Sequence[Move]
    ) -> None:
        self.gan, self.draw, self.progress, self.moves = gan, draw, progress, moves
        # Who plays is settled here: what counts as progress grows with D's move.
        self.playing = {player: gan.playing(progress, player) for player in Player}
        self.made = dict.fromkeys(Player, 0)
        self.planned = sum(Player.G in move for move in moves)
        self.reals: dict[int, list[Batch]] = {}
        self.zs: dict[object, Sequence[Tensor]] = {}
        self.images: dict[Fakes, Tensor] = {}
        self.seen: dict[object, Scores] = {}
        self.weights: dict[str, Mapping[str, Tensor]] = {}
        self.latents_of: Player | None = None

    def again(
        self, k: int, images: dict[Fakes, Tensor], *, latents_of: Player | None = None
    ) -> Round:
        """The k-th examples and latents for either player, before the networks as they are now, and
        such fakes as this G has made of them. Both are given the ``latents_of`` one player, or else
        each its own."""
        here = Round(self.gan, self.draw, self.progress, self.moves)
        here.playing = self.playing
        here.made = dict.fromkeys(Player, k)
        here.reals, here.zs, here.latents_of = self.reals, self.zs, latents_of
        here.images = images
        return here

    def turn(self, player: Player, pair: str, part: int = 0, *, attached: bool = False) -> Turn:
        """What a player sees in its coming move. D's fakes are ``attached`` to G where G looks
        through D's steps."""
        gan, k = self.gan, self.made[player]
        attached = attached or gan.schedule.shared_forward
        real = self.view(player, pair, part, attached=attached)
        fake = self.fake(player, pair, part, attached=attached)
        if player is Player.D:
            fake = gan.tricks.fakes(fake, self.progress, pair)
        if gan.tells_domain:
            real, fake = of_domain(real, 0), of_domain(fake, 1)
        score = self.score(pair)
        return Turn(
            player,
            real,
            fake,
            self.latents(player, k)[part],
            self.scores(player, pair, part, score, real, fake),
            score,
            gan.networks[pair],
            self.progress,
            pair,
            gan.networks,
        )

    def score(self, pair: str) -> Callable[[Batch], Output]:
        """D as it is, or with the weights that a lookahead gave it, behind what changes its
        view."""
        discriminator, weights = self.gan.networks[pair].discriminator, self.weights.get(pair)

        def score(batch: Batch) -> Output:
            seen = self.gan.tricks.images(batch, self.progress)
            output: Output = (
                discriminator(seen)
                if weights is None
                else functional_call(discriminator, dict(weights), (seen,))
            )
            exact = output.scores.dtype is not torch.bfloat16
            return output if exact else output._replace(scores=output.scores.float())

        return score

    def scores(
        self,
        player: Player,
        pair: str,
        part: int,
        score: Callable[[Batch], Output],
        real: Batch,
        fake: Batch,
    ) -> Scores:
        tricks, progress = self.gan.tricks, self.progress

        def targets(labels: Tensor, side: Side) -> Tensor:
            return tricks.targets(labels, side, progress)

        def select(scores: Tensor) -> Tensor:
            return tricks.fake_scores(scores, progress)

        if player is Player.D:
            shown = tricks.pair(real, fake, progress)
            scores = Scores(score, *shown, targets=targets, mixed=self.gan.mixed)
            if self.gan.schedule.shared_forward:
                self.seen[pair, self.made[player], part] = scores
            return scores
        if self.gan.schedule.shared_forward:
            return self.seen[pair, self.made[player], part].learnt_from(select)
        return Scores(score, real, fake, select=select)

    def real(self, k: int) -> list[Batch]:
        if k not in self.reals:
            drawn = self.draw(self.gan.tricks.batch_size(self.gan.batch_size))
            self.reals[k] = drawn.parts(self.gan.accumulate)
        return self.reals[k]

    def latents(self, player: Player, k: int) -> Sequence[Tensor]:
        key = self.key(player, k)
        if key not in self.zs:
            ranks, n = self.progress.ranks, sum(map(len, self.real(k)))
            z = self.gan.prior(n * ranks.size, self.progress.random["latents"])
            z, parts = ranks.own(self.gan.tricks.latents(z, self.progress)), self.gan.accumulate
            self.zs[key] = (z,) if parts == 1 else z.chunk(parts)
        return self.zs[key]

    def fake(self, player: Player, pair: str, part: int, *, attached: bool) -> Batch:
        """The fakes of a move. One forward pass of G serves both players while G has not moved in
        between. No gradient flows to a G that does not play now."""
        k, plays = self.made[player], pair in self.playing[Player.G]
        key, generator = (pair, part, self.key(player, k)), self.gan.networks[pair].generator
        attached = plays and (attached or player is Player.G)
        image = self.images.get(key)
        if image is None or (attached and not image.requires_grad):
            own = attached or (plays and self.serves_next(k))
            given = self.view(player, pair, part, attached=own)
            with nullcontext() if own else borrowed(generator), self.gan.autocast(True):
                z = self.latents(player, k)[part]
                image = self.images[key] = full(generator(z, given.context))
        real = self.view(player, pair, part, attached=attached)
        return real.showing(image if attached else image.detach())

    def view(self, player: Player, pair: str, part: int, *, attached: bool) -> Batch:
        """The real examples of a move, as its pair is shown them. Of the fakes of other pairs, in
        them, G's gradient flows back through those that are ``attached``."""

        def made(other: str) -> Tensor:
            return self.fake(player, other, part, attached=attached).image

        real = self.real(self.made[player])[part]
        return self.gan.architecture.view(pair, real, made, self.progress)

    def serves_next(self, k: int) -> bool:
        """Whether G's next move in this round will be made on the fakes of D's k-th."""
        return not self.gan.schedule.fresh_latents and k == self.made[Player.G] < self.planned

    def share(self, player: Player) -> float:
        """How much one part of a player's loss counts."""
        scale = self.gan.schedule.generator_scale if player is Player.G else 1.0
        return scale / self.gan.accumulate

    def ends(self, player: Player) -> None:
        """Note that a player has moved; G's fakes are from now on those of an older G."""
        if player is Player.D:
            k = self.made[Player.D]
            self.progress.images += self.progress.ranks.size * sum(map(len, self.real(k)))
            if k >= self.planned:
                self.forget(k)
        else:
            self.images = {key: image.detach() for key, image in self.images.items()}
        self.made[player] += 1

    def forget(self, k: int) -> None:
        """Make room, where D moves a hundred times in a round: no move of G will need these."""
        del self.reals[k]
        key = self.key(Player.D, k)
        self.zs.pop(key, None)
        for made in [made for made in self.images if made[-1] == key]:
            del self.images[made]

    def key(self, player: Player, k: int) -> object:
        return (self.latents_of or player, k) if self.gan.schedule.fresh_latents else k


def of_domain(batch: Batch, which: int) -> Batch:
    """The same examples, each said to be real, 0, or fake, 1."""
    return replace(batch, domain=batch.image.new_full((len(batch),), which, dtype=torch.long))


def full(value: Tensor) -> Tensor:
    """In full precision, if it is in less."""
    return value.float() if value.dtype is torch.bfloat16 else value


@contextmanager
def borrowed(generator: nn.Module) -> Iterator[None]:
    """Use G in D's move: no gradient, and no trace in its buffers."""
    with torch.no_grad(), untouched(generator):
        yield
