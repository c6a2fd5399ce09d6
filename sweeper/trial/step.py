"""The training step, as the textbook has it: two losses, and one move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from sweeper.game import Batch, Move, Output, Pair, Player, Progress, Scores, Side, Turn
from sweeper.trial.gan import Gan, untouched

Terms = dict[str, Tensor]


def discriminator_loss(gan: Gan, turn: Turn) -> Terms:
    """D is paid for scoring real examples above fakes."""
    return {"adversarial": gan.loss.discriminator(turn.scores)} | penalties(gan, turn)


def generator_loss(gan: Gan, turn: Turn) -> Terms:
    """G is paid for having its fakes scored as real."""
    return {"adversarial": gan.loss.generator(turn.scores)} | penalties(gan, turn)


LOSSES = {Player.D: discriminator_loss, Player.G: generator_loss}


def penalties(gan: Gan, turn: Turn) -> Terms:
    return {term.name: term(turn) for term in gan.terms if term.due(turn)}


def play_round(
    gan: Gan, draw: Callable[[int], Batch], progress: Progress, losses: Mapping[str, Tensor]
) -> Terms:
    """The players move as the schedule calls them. Returns the terms of their losses, as they were
    last."""
    gan.tricks.begin(gan.networks, progress)
    this = Round(gan, draw, progress, gan.schedule.moves(progress, losses))
    return {name: term for move in this.moves for name, term in play(gan, move, this).items()}


def play(gan: Gan, move: Move, this: Round) -> Terms:
    """Some players take one step each, down gradients that were all taken before any of them
    stepped."""
    paid = Terms()
    for player in sorted(move):
        with untouched(*gan.of(Player.D)) if player is Player.G else nullcontext():
            turns = [this.turn(player, pair) for pair in gan.networks]
            terms = [gan.tricks.total(player, LOSSES[player](gan, turn)) for turn in turns]
            gan.differentiate(
                player, sum_of(t for each in terms for t in each.values()), this.progress
            )
        for turn in turns:
            gan.tricks.observe(turn)
        paid |= {f"{player}.{name}": sum_of(t[name] for t in terms).detach() for name in terms[0]}
    for player in sorted(move):
        this.ends(player)
        gan.step(player, this.progress)
    return paid


def sum_of(terms: Iterator[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()


class Round:
    """What the moves of one round share: the k-th move of D and the k-th of G see the same real
    examples, and the same latents and fakes too unless the schedule asks for fresh ones."""

    def __init__(
        self, gan: Gan, draw: Callable[[int], Batch], progress: Progress, moves: Sequence[Move]
    ) -> None:
        self.gan, self.draw, self.progress, self.moves = gan, draw, progress, moves
        self.made = dict.fromkeys(Player, 0)
        self.planned = sum(Player.G in move for move in moves)
        self.reals: dict[int, Batch] = {}
        self.zs: dict[object, Tensor] = {}
        self.images: dict[object, Tensor] = {}

    def turn(self, player: Player, pair: str) -> Turn:
        gan, k = self.gan, self.made[player]
        real, z = self.real(k), self.latents(player, k)
        fake = self.fake(player, pair, k)
        networks = gan.networks[pair]
        if player is Player.D:
            real, fake = gan.tricks.pair(real, gan.tricks.fakes(fake, self.progress), self.progress)
        score = self.score(networks)
        return Turn(
            player,
            real,
            fake,
            z,
            self.scores(player, score, real, fake),
            score,
            networks,
            self.progress,
        )

    def score(self, networks: Pair) -> Callable[[Batch], Output]:
        def score(batch: Batch) -> Output:
            seen: Output = networks.discriminator(self.gan.tricks.images(batch, self.progress))
            return seen

        return score

    def scores(
        self, player: Player, score: Callable[[Batch], Output], real: Batch, fake: Batch
    ) -> Scores:
        if player is Player.G:
            return Scores(
                score, real, fake, select=lambda s: self.gan.tricks.fake_scores(s, self.progress)
            )

        def targets(labels: Tensor, side: Side) -> Tensor:
            return self.gan.tricks.targets(labels, side, self.progress)

        return Scores(score, real, fake, targets)

    def real(self, k: int) -> Batch:
        if k not in self.reals:
            self.reals[k] = self.draw(self.gan.tricks.batch_size(self.gan.batch_size))
        return self.reals[k]

    def latents(self, player: Player, k: int) -> Tensor:
        key = self.key(player, k)
        if key not in self.zs:
            z = self.gan.prior(len(self.real(k)), self.progress.random["latents"])
            self.zs[key] = self.gan.tricks.latents(z, self.progress)
        return self.zs[key]

    def fake(self, player: Player, pair: str, k: int) -> Batch:
        """The fakes of a move. One forward pass of G serves both players while G has not moved in
        between."""
        key, generator = (pair, self.key(player, k)), self.gan.networks[pair].generator
        image = self.images.get(key)
        if image is None or (player is Player.G and not image.requires_grad):
            with (
                nullcontext() if player is Player.G or self.serves_next(k) else borrowed(generator)
            ):
                image = self.images[key] = generator(self.latents(player, k), self.real(k).context)
        return self.real(k).showing(image if player is Player.G else image.detach())

    def serves_next(self, k: int) -> bool:
        """Whether G's next move in this round will be made on the fakes of D's k-th."""
        return not self.gan.schedule.fresh_latents and k == self.made[Player.G] < self.planned

    def ends(self, player: Player) -> None:
        """Note that a player has moved; G's fakes are from now on those of an older G."""
        if player is Player.D:
            self.progress.images += len(self.real(self.made[player]))
        else:
            self.images = {key: image.detach() for key, image in self.images.items()}
        self.made[player] += 1

    def key(self, player: Player, k: int) -> object:
        return (player, k) if self.gan.schedule.fresh_latents else k


@contextmanager
def borrowed(generator: nn.Module) -> Iterator[None]:
    """Use G in D's move: no gradient, and no trace in its buffers."""
    with torch.no_grad(), untouched(generator):
        yield
