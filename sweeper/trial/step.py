"""The training step, as the textbook has it: two losses, and one move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import reduce

import torch
from torch import Tensor, nn

from sweeper.game import Batch, Lookahead, Move, Player, Progress, Turn
from sweeper.trial.gan import Gan, untouched
from sweeper.trial.round import Round, full
from sweeper.trial.watch import signals

Terms = dict[str, Tensor]


def discriminator_loss(gan: Gan, turn: Turn) -> Terms:
    """D is paid for scoring real examples above fakes."""
    return {"adversarial": gan.loss.discriminator(turn.scores)} | penalties(gan, turn)


def generator_loss(gan: Gan, turn: Turn) -> Terms:
    """G is paid for having its fakes scored as real."""
    return {"adversarial": gan.loss.generator(turn.scores)} | penalties(gan, turn)


LOSSES = {Player.D: discriminator_loss, Player.G: generator_loss}


def penalties(gan: Gan, turn: Turn) -> Terms:
    """The regularizers that are due, in full precision: gradients of gradients need it."""
    with gan.autocast(False):
        return {term.name: full(term(turn)) for term in gan.terms if term.due(turn)}


def play_round(
    gan: Gan, draw: Callable[[int], Batch], progress: Progress, losses: Mapping[str, Tensor]
) -> Terms:
    """The players move as the schedule calls them. Returns the terms of their losses, as they were
    last, and what else was seen."""
    gan.tricks.begin(gan.networks, progress)
    this = Round(gan, draw, progress, gan.moves(progress, losses))
    return {name: value for move in this.moves for name, value in play(gan, move, this).items()}


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


def differentiate(gan: Gan, player: Player, this: Round, *, observed: bool = True) -> Terms:
    """The gradients of one player's loss, over all its opponents and all parts of the batch."""
    seen = Terms()
    gan.optimizers[player].zero_grad()
    for part in range(gan.accumulate):
        with untouched(*gan.of(Player.D)) if player is Player.G else nullcontext():
            turns = [this.turn(player, pair, part) for pair in gan.networks]
            with gan.autocast(True):
                terms = [gan.tricks.total(player, LOSSES[player](gan, turn)) for turn in turns]
            loss = sum_of(t for each in terms for t in each.values())
            share = this.share(player)
            gan.backward(player, loss if share == 1 else share * loss)
        if observed:
            for turn in turns:
                gan.tricks.observe(turn)
            for name in terms[0]:
                add(seen, f"{player}.{name}", sum_of(t[name] for t in terms).detach(), gan)
            for name, value in signals(gan, turns[0]).items():
                add(seen, name, value, gan)
    if observed:
        norms = torch._foreach_norm([p.grad for p in gan.parameters(player) if p.grad is not None])
        seen[f"{player} gradient"] = torch.stack(norms).norm()
    gan.tricks.gradients(player, gan.networks, this.progress)
    return seen


def add(seen: Terms, name: str, value: Tensor, gan: Gan) -> None:
    part = value if gan.accumulate == 1 else value / gan.accumulate
    seen[name] = seen[name] + part if name in seen else part


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
        k, fakes = this.made[min(move)], True
        moved = sorted(frozenset({Player.D}).union(*plan.moves))
        used = [network for player in moved for network in gan.of(player)]
        with gan.undone(move):
            with untouched(*used, gan.tricks):
                for each in plan.moves:
                    here = this.again(k, fakes=fakes and Player.G not in each)
                    for player in sorted(each):
                        differentiate(gan, player, here, observed=False)
                    for player in each:
                        gan.descend(player, this.progress)
                    fakes = fakes and Player.G not in each
            yield this.again(k, fakes=fakes)


def unrolled(gan: Gan, plan: Lookahead, this: Round) -> Round:
    """The round against the D that some gradient steps would lead to, as a function of G."""
    here = this.again(this.made[Player.G], fakes=True, latents_of=Player.G)
    rates = gan.rates(Player.D, this.progress)
    with untouched(*gan.of(Player.D), gan.tricks):
        for _ in plan.moves:
            for pair, networks in gan.networks.items():
                own = trainable(networks.discriminator)
                weights = here.weights.get(pair, own)
                turn = here.turn(Player.D, pair, attached=True)
                loss = sum_of(gan.tricks.total(Player.D, discriminator_loss(gan, turn)).values())
                slopes = torch.autograd.grad(
                    loss, list(weights.values()), create_graph=True, materialize_grads=True
                )
                here.weights[pair] = {
                    name: weights[name] - (plan.rate or rates[own[name]]) * slope
                    for name, slope in zip(own, slopes, strict=True)
                }
    return here


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}
