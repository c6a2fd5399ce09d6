"""The training step, as the textbook has it: two losses, and one move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import reduce

import torch
from torch import Tensor, nn

from sweeper.game import Batch, Lookahead, Move, Player, Progress, Scores, Silent, Turn
from sweeper.trial.gan import Gan, untouched
from sweeper.trial.round import Round, full
from sweeper.trial.watch import gradient_norm, mean_of, seen_of

Terms = dict[str, Tensor]


def discriminator_loss(gan: Gan, turn: Turn) -> Terms:
    """D is paid for scoring real examples above fakes."""
    return adversarial(turn, gan.loss.discriminator) | penalties(gan, turn)


def generator_loss(gan: Gan, turn: Turn) -> Terms:
    """G is paid for having its fakes scored as real."""
    return adversarial(turn, gan.loss.generator) | penalties(gan, turn)


def adversarial(turn: Turn, loss: Callable[[Scores], Tensor]) -> Terms:
    """What the scores cost; nothing where D has no say."""
    silent = isinstance(turn.networks.discriminator, Silent)
    return {} if silent else {"adversarial": loss(turn.scores)}


LOSSES = {Player.D: discriminator_loss, Player.G: generator_loss}


def penalties(gan: Gan, turn: Turn) -> Terms:
    """The regularizers that are due, in full precision: gradients of gradients need it."""
    due = [term for term in gan.terms if term.due(turn)]
    with gan.autocast(False):
        return {term.name: full(term(turn)) for term in due}


def play_round(
    gan: Gan, draw: Callable[[int], Batch], progress: Progress, losses: Mapping[str, Tensor]
) -> Terms:
    """The players move as the schedule calls them. Returns the terms of their losses, as they were
    last, and what else was seen."""
    gan.begin(progress)
    this = Round(gan, draw, progress, gan.moves(progress, losses))
    seen = {name: value for move in this.moves for name, value in play(gan, move, this).items()}
    return dict(zip(seen, progress.ranks.means(list(seen.values())), strict=True))


def play(gan: Gan, move: Move, this: Round) -> Terms:
    """Some players take one step each, down gradients that were all taken before any of them
    stepped."""
    seen = Terms()
    with ahead(gan, move, this) as there:
        for player in sorted(move):
            seen |= differentiate(gan, player, there)
    for player in sorted(move):
        this.ends(player)
        gan.step(player, this.progress)
    return seen


def differentiate(gan: Gan, player: Player, this: Round, *, watched: bool = True) -> Terms:
    """The gradients of one player's loss, over all its opponents and all parts of the batch.
    Returns what was seen on the way."""
    gan.forget_gradients(player)
    seen = list[Terms]()
    for part in range(gan.accumulate):
        with untouched(*gan.of(Player.D)) if player is Player.G else nullcontext():
            turns = [this.turn(player, pair, part) for pair in this.playing[player]]
            if not turns:
                continue
            with gan.autocast(True):
                terms = [gan.tricks.total(player, LOSSES[player](gan, turn)) for turn in turns]
            if paid := [term for each in terms for term in each.values()]:
                gan.backward(player, this.share(player), sum_of(paid))
        if watched:
            for turn in turns:
                gan.tricks.observe(turn)
            seen.append(seen_of(gan, turns, terms))
    gan.agree(player, this.progress.ranks)
    slopes = gradient_norm(gan, player, this.progress) if watched else {}
    gan.tricks.gradients(player, gan.networks, this.progress)
    return mean_of(seen) | slopes


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)


@contextmanager
def ahead(gan: Gan, move: Move, this: Round) -> Iterator[Round]:
    """Where a move takes its gradients: here, or where a trick looks ahead to. What that took is
    undone after; only the statistics of the move itself stay."""
    plan = gan.tricks.lookahead(move, this.progress)
    if plan is None:
        yield this
    elif plan.differentiable:
        yield unrolled(gan, plan, this)
    else:
        k = this.made[min(move)]
        moved = sorted(frozenset({Player.D}).union(*plan.moves))
        images = dict(this.images) if Player.G in moved else this.images
        with gan.undone(move):
            with untouched(*(net for player in moved for net in gan.of(player)), gan.tricks):
                for each in plan.moves:
                    here = this.again(k, images)
                    for player in sorted(each):
                        differentiate(gan, player, here, watched=False)
                    for player in sorted(each):
                        gan.descend(player, this.progress)
                    images = {} if Player.G in each else images
            there = this.again(k, images)
            there.planned = 0 if Player.G in moved else this.planned
            yield there


def unrolled(gan: Gan, plan: Lookahead, this: Round) -> Round:
    """The round against the D that some gradient steps would lead to, as a function of G."""
    here = this.again(this.made[Player.G], this.images, latents_of=Player.G)
    rates = gan.rates(Player.D, this.progress)
    with untouched(*gan.of(Player.D), gan.tricks):
        for _ in plan.moves:
            for pair in this.playing[Player.D]:
                own = trainable(gan.networks[pair].discriminator)
                weights = here.weights.get(pair, own)
                turn = here.turn(Player.D, pair, attached=True)
                loss = sum_of(gan.tricks.total(Player.D, discriminator_loss(gan, turn)).values())
                slopes = torch.autograd.grad(
                    loss, list(weights.values()), create_graph=True, materialize_grads=True
                )
                here.weights[pair] = {
                    name: weights[name] - (plan.rate or rates[own[name]]) * slope
                    for name, slope in zip(own, this.progress.ranks.means(slopes), strict=True)
                }
    return here


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}
