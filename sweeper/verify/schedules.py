"""Who moves when, on whose weights, at what cost, and what a look ahead leaves behind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from sweeper.catalog.families import schedules
from sweeper.config import Trial
from sweeper.game import Batch, Context, Player, Progress, Streams
from sweeper.trial.assemble import assemble
from sweeper.trial.round import Round
from sweeper.trial.step import play, play_round
from sweeper.verify.claims import Claim, check
from sweeper.verify.smallest import Game, small

D, G = frozenset({Player.D}), frozenset({Player.G})
ETA, THETA, PSI = 0.1, 0.7, -0.3
FIRST = {"first": "generator"}


def bilinear(**changes: Any) -> Game:
    """L_D = ψθ and L_G = -ψθ, with bounds of ψ that it never meets."""
    unbounded = {"constraint": {"weight_clipping": {"clip": 1e9}}}
    start = {"theta": THETA, "psi": PSI}
    return Game(small(start, ETA, loss="wasserstein", discriminator=unbounded, **changes))


@contextmanager
def doubles() -> Iterator[None]:
    """Numbers are double precision unless something else is said."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Deep:
    """A trial of fully connected networks on random points of the plane around (4, 4)."""

    def __init__(self, **changes: Any) -> None:
        side = {"normalization": "none", "optimizer": {"sgd": {"lr": ETA}}}
        tree = {
            "data": "digits",
            "architecture": {"mlp_gan": {"hidden": 8}},
            "prior": {"gaussian_latent": {"size": 2}},
            "loss": "non_saturating",
            "schedule": "alternating_update",
            "batch": {"size": 8},
            "horizon_kimg": 1.0,
            **changes,
            "generator": side | changes.get("generator", {}),
            "discriminator": side | changes.get("discriminator", {}),
        }
        self.progress, self.drawn = Progress(Streams(0), 1000), 0
        self.seen: dict[str, Tensor] = {}
        with doubles():
            self.gan = assemble(Trial.read(tree), self.draw(8), self.progress)
        self.drawn = 0

    def draw(self, n: int) -> Batch:
        """Real examples."""
        self.drawn += n
        return Batch(4 + torch.randn(n, 2, generator=self.progress.random["real"]))

    def network(self, player: Player) -> nn.Module:
        return self.gan.of(player)[0]

    def play(self, rounds: int) -> Deep:
        with doubles():
            for _ in range(rounds):
                self.seen = play_round(self.gan, self.draw, self.progress, self.seen)
        return self

    def round(self) -> Round:
        """A round that is about to be played."""
        moves = self.gan.moves(self.progress, self.seen)
        return Round(self.gan, self.draw, self.progress, moves)

    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.everything()])

    def everything(self) -> list[nn.Parameter]:
        return [p for player in Player for p in self.gan.parameters(player)]

    def gradient(self, player: Player) -> Tensor:
        """The gradient that a player last descended."""
        return flat(p.grad for p in self.gan.parameters(player) if p.grad is not None)

    def state(self, player: Player) -> list[Tensor]:
        """All there is to a player: weights, buffers, gradients, and what its optimizer knows."""
        held = self.gan.optimizers[player].state_dict()["state"].values()
        tensors = [
            *self.network(player).state_dict().values(),
            *(p.grad for p in self.gan.parameters(player) if p.grad is not None),
            *(v for known in held for v in known.values() if isinstance(v, Tensor)),
        ]
        return [t.clone() for t in tensors]


def flat(tensors: Any) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference between numbers."""
    return float((one - other).abs().max())


def changed(before: list[Tensor], after: list[Tensor]) -> float:
    """How many tensors are no longer what they were, bit by bit."""
    pairs = zip(before, after, strict=True)
    return float(sum(not torch.equal(b, a) for b, a in pairs) + abs(len(before) - len(after)))


def apart(one: Deep, other: Deep, rounds: int = 5) -> float:
    """How far two trials are from each other after some rounds."""
    return gap(one.play(rounds).weights(), other.play(rounds).weights())


@check("alternating_update")
def the_second_sees_the_first_ones_new_weights() -> Iterator[Claim]:
    game, theta, psi = bilinear().play(20), THETA, PSI
    for _ in range(20):
        psi -= ETA * theta
        theta += ETA * psi
    yield Claim("θ after 20 rounds of the bilinear game, D first", game.theta, theta, 1e-12)
    yield Claim("ψ after 20 rounds of the bilinear game, D first", game.psi, psi, 1e-12)


@check("alternating_update")
def a_move_leaves_the_other_player_alone() -> Iterator[Claim]:
    deep = Deep(schedule={"alternating_update": {"fresh_latents": True}}).play(1)
    this = deep.round()
    for move, other in ((D, Player.G), (G, Player.D)):
        before = deep.state(other)
        with doubles():
            play(deep.gan, move, this)
        what = f"tensors of the {other} that a move of the other player changes"
        yield Claim(what, changed(before, deep.state(other)), 0.0)


@check("alternating_update", "n_critic")
def moves_images_and_steps_add_up() -> Iterator[Claim]:
    rounds, d_steps, g_steps, size = 4, 3, 2, 8
    adam = {"optimizer": "adam"}
    knobs = {"d_steps": d_steps, "g_steps": g_steps}
    deep = Deep(generator=adam, discriminator=adam, schedule={"alternating_update": knobs})
    deep.play(rounds)
    for player, steps in ((Player.D, d_steps), (Player.G, g_steps)):
        counted = deep.gan.optimizers[player].state_dict()["state"][0]["step"]
        yield Claim(f"moves of the {player}", deep.progress.moves[player], rounds * steps)
        yield Claim(f"steps of the {player}'s optimizer", float(counted), rounds * steps)
    yield Claim("real images shown to D", deep.progress.images, rounds * d_steps * size)
    yield Claim("real images drawn, new ones for each move of D", deep.drawn, deep.progress.images)


@check("alternating_update", "n_critic")
def the_warm_up_is_that_of_the_authors() -> Iterator[Claim]:
    schedule = schedules["alternating_update"].make(d_steps=5, warmup=True)
    for made, expected in ((0, 100), (24, 100), (25, 5), (499, 5), (500, 100), (501, 5)):
        progress = Progress(Streams(0), 1, moves={Player.D: 0, Player.G: made})
        of_d = sum(move == D for move in schedule.moves(progress, {}))
        yield Claim(f"moves of D before G's move {made + 1}", of_d, expected)


@check("update_order")
def who_is_first_is_seen_by_the_second() -> Iterator[Claim]:
    ahead, theta = PSI - ETA * THETA, THETA + ETA * PSI
    named = {
        "D first": ({}, THETA + ETA * ahead, ahead),
        "G first, on its fakes of before": (FIRST, theta, PSI - ETA * THETA),
        "G first, on new fakes": (FIRST | {"fresh_latents": True}, theta, PSI - ETA * theta),
    }
    for name, (knobs, theta, psi) in named.items():
        game = bilinear(schedule={"alternating_update": knobs}).play()
        yield Claim(f"θ after a round, {name}", game.theta, theta, 1e-12)
        yield Claim(f"ψ after a round, {name}", game.psi, psi, 1e-12)


@check("update_order", "shared_forward")
def passes_are_saved() -> Iterator[Claim]:
    shared = {"simultaneous_update": {"shared_forward": True}}
    named: dict[str, tuple[Any, int, int]] = {
        "D first": ({"alternating_update": {}}, 3, 1),
        "D first, fresh latents": ({"alternating_update": {"fresh_latents": True}}, 3, 2),
        "G first": ({"alternating_update": FIRST}, 3, 1),
        "both at once": ({"simultaneous_update": {}}, 3, 1),
        "both at once, one pass through D": (shared, 2, 1),
    }
    for name, (schedule, of_d, of_g) in named.items():
        deep, calls = Deep(schedule=schedule), dict.fromkeys(Player, 0)
        for player in Player:
            deep.network(player).register_forward_hook(counter(calls, player))
        deep.play(1)
        yield Claim(f"passes through D in a round, {name}", calls[Player.D], of_d)
        yield Claim(f"passes through G in a round, {name}", calls[Player.G], of_g)


def counter(calls: dict[Player, int], player: Player) -> Any:
    def count(*_: object) -> None:
        calls[player] += 1

    return count


def fakes(deep: Deep, this: Round) -> tuple[Batch, Batch]:
    """The examples of the coming move, and the fakes, which G's gradient flows through."""
    real, z = this.real(0)[0], this.latents(Player.G, 0)[0]
    return real, Batch(deep.network(Player.G)(z, Context()))


def by_hand(deep: Deep, this: Round, weight: float = 1.0) -> tuple[float, float, list[Tensor]]:
    """The joint loss of the coming move as it is written, L_D, and the joint loss's gradient."""
    d = deep.network(Player.D)
    real, fake = fakes(deep, this)
    loss = softplus(-d(real).scores).mean() + softplus(d(Batch(fake.image.detach())).scores).mean()
    bracket = (softplus(-d(x).scores).mean() for x in (fake, Batch(fake.image.detach())))
    joint = loss + weight * (next(bracket) - next(bracket))
    slopes = torch.autograd.grad(joint, deep.everything())
    of_d = len(deep.gan.parameters(Player.D))
    return joint.item(), loss.item(), [flat(slopes[:of_d]), flat(slopes[of_d:])]


@check("simultaneous_update", "shared_forward")
def both_gradients_are_taken_before_either_steps() -> Iterator[Claim]:
    for shared in (False, True):
        name = "one pass through D" if shared else "two passes through D"
        schedule = {"simultaneous_update": {"shared_forward": shared}}
        game = bilinear(schedule=schedule).play(50)
        expected = math.hypot(THETA, PSI) * math.sqrt(1 + ETA**2) ** 50
        what = f"distance from the equilibrium of the bilinear game, 50 rounds, {name}"
        yield Claim(what, game.radius, expected, 1e-12)
        deep = Deep(schedule=schedule)
        this = deep.round()
        with doubles():
            _, _, slopes = by_hand(deep, this)
            play(deep.gan, this.moves[0], this)
        for player, slope in zip(Player, slopes, strict=True):
            away = gap(deep.gradient(player), slope)
            yield Claim(f"the {player}'s gradient against its own loss's, {name}", away, 0.0, 1e-12)
    separate, shared_ = (
        Deep(schedule={"simultaneous_update": {"shared_forward": on}}) for on in (False, True)
    )
    yield Claim("weights after one pass against two, 5 rounds", apart(separate, shared_), 0, 1e-12)


@check("one_step_joint_loss")
def the_joint_loss_is_what_is_descended() -> Iterator[Claim]:
    weight = 2.5
    deep = Deep(schedule={"one_step_joint_loss": {"weight": weight}})
    this = deep.round()
    with doubles():
        joint, loss, slopes = by_hand(deep, this, weight)
        seen = play(deep.gan, this.moves[0], this)
    yield Claim("the joint loss, whose bracket is zero", joint, loss, 1e-12)
    yield Claim("what is seen of D's loss", float(seen["discriminator.adversarial"]), loss, 1e-12)
    for player, slope in zip(Player, slopes, strict=True):
        away = gap(deep.gradient(player), slope)
        yield Claim(f"the {player}'s gradient against the joint loss's", away, 0.0, 1e-12)
    faster = {"optimizer": {"sgd": {"lr": weight * ETA}}}
    other = Deep(schedule="simultaneous_update", generator=faster)
    again = Deep(schedule={"one_step_joint_loss": {"weight": weight}})
    what = "weights against simultaneous steps with G's rate that much larger, 5 rounds"
    yield Claim(what, apart(again, other), 0.0, 1e-12)


@check("d_pretraining")
def d_learns_alone_at_first() -> Iterator[Claim]:
    moves = 100
    deep = Deep(schedule={"alternating_update": {"pretraining": moves}})
    before, right = deep.state(Player.G), [told(deep)]
    deep.play(moves)
    right.append(told(deep))
    yield Claim("tensors of G that D's own moves change", changed(before, deep.state(Player.G)), 0)
    yield Claim("moves of D", deep.progress.moves[Player.D], moves)
    yield Claim("whether D tells more examples than before", right[1] > right[0], 1.0)
    yield Claim("share of the examples that D tells", right[1], 1.0, 0.05)
    deep.play(1)
    yield Claim("moves of G in the round after", deep.progress.moves[Player.G], 1)


@torch.no_grad()
def told(deep: Deep) -> float:
    """The share of real examples and fakes that D takes for what they are."""
    with doubles():
        d, g = (deep.network(player) for player in Player)
        real, z = deep.draw(64), deep.gan.prior(64, torch.Generator().manual_seed(0))
        right = torch.cat([d(real).scores > 0, d(Batch(g(z, Context()))).scores < 0])
    return float(right.double().mean())


def unrolled(**knobs: Any) -> dict[str, Any]:
    return {"tricks": {"unrolled_gan": knobs}}


@check("unrolled_gan")
def g_is_led_by_the_d_to_come() -> Iterator[Claim]:
    # L_G = -ψθ against ψ - Kηθ: its slope is -ψ + 2Kηθ through D's steps, -ψ + Kηθ without.
    for mode, through in (("second_order", 2), ("first_order", 1)):
        for steps in (0, 1, 5):
            used = unrolled(steps=steps, mode=mode)
            game = bilinear(schedule={"alternating_update": FIRST}, **used)
            slope = (THETA - game.play().theta) / ETA
            expected = -PSI + through * steps * ETA * THETA
            what = f"G's gradient in the bilinear game, {steps} steps, {mode}"
            yield Claim(what, slope, expected, 1e-12)
    used = unrolled(steps=3, rate=0.02)
    slope = (THETA - bilinear(schedule={"alternating_update": FIRST}, **used).play().theta) / ETA
    what = "G's gradient in the bilinear game, 3 steps at a rate of their own"
    yield Claim(what, slope, -PSI + 6 * 0.02 * THETA, 1e-12)


@check("unrolled_gan")
def the_gradient_flows_through_the_steps() -> Iterator[Claim]:
    # The slope of L_G(θ_G, θᴷ(θ_G)) along its gradient, by differences, D's steps taken by hand.
    steps, by = 3, 1e-5
    deep = Deep(schedule={"alternating_update": FIRST}, **unrolled(steps=steps))
    this = deep.round()
    before = deepcopy(deep.network(Player.G))
    with doubles():
        real, _ = fakes(deep, this)
        z = this.latents(Player.G, 0)[0]
        play(deep.gan, G, this)
        slope = [p.grad for p in deep.gan.parameters(Player.G) if p.grad is not None]
        found = [
            paid(deepcopy(deep.network(Player.D)), moved(before, slope, sign * by), real, z, steps)
            for sign in (1, -1)
        ]
    expected = float(flat(slope).square().sum())
    what = "slope of G's loss against the unrolled D, by differences, over its squared gradient"
    yield Claim(what, (found[0] - found[1]) / (2 * by) / expected, 1.0, 1e-6)


def moved(network: nn.Module, along: list[Tensor], by: float) -> nn.Module:
    other = deepcopy(network).requires_grad_(False)
    for p, slope in zip(other.parameters(), along, strict=True):
        p.add_(by * slope)
    return other


def paid(d: nn.Module, g: nn.Module, real: Batch, z: Tensor, steps: int) -> float:
    """What G pays after some gradient steps of D."""
    fake = Batch(g(z, Context()))
    for _ in range(steps):
        loss = softplus(-d(real).scores).mean() + softplus(d(fake).scores).mean()
        slopes = torch.autograd.grad(loss, list(d.parameters()))
        with torch.no_grad():
            for p, slope in zip(d.parameters(), slopes, strict=True):
                p.sub_(ETA * slope)
    return softplus(-d(fake).scores).mean().item()


@check("unrolled_gan")
def looking_ahead_leaves_no_trace() -> Iterator[Claim]:
    d = {"normalization": "batch_norm", "constraint": "spectral_norm", "optimizer": "adam"}
    g = {"normalization": "batch_norm", "optimizer": "adam"}
    for mode in ("second_order", "first_order"):
        for order in ("discriminator", "generator"):
            schedule = {"alternating_update": {"first": order}}
            parts = {"discriminator": d, "generator": g, "schedule": schedule}
            plain, deep = Deep(**parts).play(1), Deep(**parts, **unrolled(mode=mode)).play(1)
            statistics = [flat(each.network(Player.G).buffers()) for each in (plain, deep)]
            this = deep.play(1).round()
            with doubles():
                for move in this.moves:
                    before = deep.state(Player.D)
                    play(deep.gan, move, this)
                    if move == G:
                        away = changed(before, deep.state(Player.D))
            name = f"{mode}, {order} first"
            yield Claim(f"tensors of D and its optimizer that are not as before, {name}", away, 0.0)
            yield Claim(f"G's statistics against those without it, {name}", gap(*statistics), 0.0)
    away = apart(Deep(), Deep(**unrolled(steps=0)))
    yield Claim("weights with 0 steps against those without it, 5 rounds", away, 0.0, 0.0)


@check("loss_statistics_balancing")
def balancing_reduces_to_one_to_one() -> Iterator[Claim]:
    def balanced(d_limit: float, g_limit: float) -> Deep:
        knobs = {"d_limit": d_limit, "g_limit": g_limit, "cap": 4}
        return Deep(schedule={"loss_statistics_balancing": knobs})

    away = apart(Deep(), balanced(1e9, 1e9))
    yield Claim("weights against one to one, limits out of reach, 5 rounds", away, 0.0, 0.0)
    limits = {"D": (1e-9, 1e9, 4, 1), "G": (1e9, 1e-9, 1, 4), "both": (1e-9, 1e-9, 4, 4)}
    for name, (d_limit, g_limit, of_d, of_g) in limits.items():
        deep = balanced(d_limit, g_limit).play(6)
        made = deep.progress.moves
        # The first round knows no losses yet.
        yield Claim(f"moves of D in 6 rounds, {name} above", made[Player.D], 1 + 5 * of_d)
        yield Claim(f"moves of G in 6 rounds, {name} above", made[Player.G], 1 + 5 * of_g)
    schedule: Any = schedules["loss_statistics_balancing"].make()
    progress = Progress(Streams(0), 1)
    for value in (1.0, 2.0):
        schedule.moves(progress, losses_of(value))
    yield Claim("the running mean after losses of 1 and 2", float(schedule.average[0]), 1.1)


def losses_of(value: float) -> Mapping[str, Tensor]:
    return {f"{player}.adversarial": torch.tensor(value) for player in Player}


@check("gradient_accumulation")
def parts_of_a_batch_add_up() -> Iterator[Claim]:
    adam = {"optimizer": "adam"}
    for accumulate in (2, 4):
        parts = {"size": 8, "accumulate": accumulate}
        whole, cut = Deep(), Deep(batch=parts)
        away = apart(whole, cut)
        yield Claim(f"weights against the whole batch, {accumulate} parts, 5 rounds", away, 0, 1e-7)
        for player in Player:
            away = gap(whole.gradient(player), cut.gradient(player))
            what = f"the {player}'s gradient against that of the whole batch, {accumulate} parts"
            yield Claim(what, away, 0.0, 1e-7)
        counted = Deep(batch=parts, generator=adam, discriminator=adam).play(3)
        for player in Player:
            steps = counted.gan.optimizers[player].state_dict()["state"][0]["step"]
            yield Claim(f"steps of the {player} in 3 moves, {accumulate} parts", float(steps), 3.0)
        yield Claim("real images shown to D in them", counted.progress.images, 24.0)
    coupled = {"discriminator": {"normalization": "batch_norm"}}
    away = apart(Deep(**coupled), Deep(**coupled, batch={"size": 8, "accumulate": 4}))
    yield Claim("whether weights differ where batch_norm couples examples", away > 1e-4, 1.0)
