"""Schedules: who moves when, within one round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from sweeper.catalog.families import schedules
from sweeper.game import Move, Player, Progress, Schedule
from sweeper.registry import Integers, Law, LogUniform, Options

D, G, BOTH = frozenset({Player.D}), frozenset({Player.G}), frozenset(Player)

Steps = Annotated[int, Ge(1), Integers(1, 5)]
WARM, WARM_MOVES, WARM_EVERY = 100, 25, 500
"""The warm-up of Arjovsky et al. 2017: moves of D, in rounds with the first moves of G, and with
every so-manieth after."""
MEMORY = 0.9
"""How much of a running loss stays from round to round."""

OWN_FAKES = "both players learn from the fakes of this very move, not from older ones"


@schedules.register(paper="goodfellow2014")
class AlternatingUpdate(Schedule):
    """One side makes its steps, then the other, which sees the first one's new weights.

    ``fresh_latents`` draws latents anew for every move; otherwise the k-th move of D and the k-th
    move of G in a round share theirs, and the fakes too while G has not moved, which saves a
    forward pass of G. ``warmup`` lets D make 100 moves or more in each round in which G makes one
    of its first 25 moves, or every 500th after, as the code of Wasserstein GANs does.
    """

    def __init__(
        self,
        *,
        d_steps: Steps = 1,
        g_steps: Annotated[int, Ge(1), Integers(1, 3)] = 1,
        first: Annotated[
            Literal["discriminator", "generator"], Options(("discriminator", "generator"))
        ] = "discriminator",
        fresh_latents: Annotated[bool, Options((False, True))] = False,
        warmup: Annotated[bool, Options((False, True))] = False,
    ) -> None:
        super().__init__()
        self.d_steps, self.g_steps, self.first = d_steps, g_steps, first
        self.fresh_latents, self.warmup = fresh_latents, warmup
        self.even = not warmup

    def moves(self, progress: Progress, losses: Mapping[str, Tensor]) -> Sequence[Move]:
        warm = self.warmup and self.warm(progress.moves[Player.G])
        d = [D] * (max(self.d_steps, WARM) if warm else self.d_steps)
        g = [G] * self.g_steps
        return [*d, *g] if self.first == "discriminator" else [*g, *d]

    def warm(self, made: int) -> bool:
        """Whether G's coming moves, after those it made, call for a D near its optimum."""
        return made < WARM_MOVES or -made % WARM_EVERY < self.g_steps


@schedules.register(
    paper="mescheder2017",
    provides=("joint", Law("shared_forward", when="shared_forward")),
    conflicts=(
        Law("pool", OWN_FAKES, when="shared_forward"),
        Law("flips", "G would learn from the scores of real examples", when="shared_forward"),
    ),
)
class SimultaneousUpdate(Schedule):
    """Both players step at once, down gradients taken at the same weights and on the same fakes.

    θ_D ← θ_D - η ∇_D L_D(θ_D, θ_G), θ_G ← θ_G - η ∇_G L_G(θ_D, θ_G): each player's gradient is of
    its own loss alone. ``shared_forward`` takes both from one pass of the fakes through D, so that
    G learns through the very noise, dropout and augmentation that D did; otherwise G's scores are
    of a pass of their own.
    """

    def __init__(self, *, shared_forward: Annotated[bool, Options((False, True))] = False) -> None:
        super().__init__()
        self.shared_forward = shared_forward

    def moves(self, progress: Progress, losses: Mapping[str, Tensor]) -> Sequence[Move]:
        return [BOTH]


@schedules.register(
    paper="su2019",
    provides={"joint", "shared_forward"},
    conflicts=(
        Law("pool", OWN_FAKES),
        Law("lookahead", "both gradients are taken where the players stand"),
        Law("flips", "the two terms of the bracket would no longer cancel for D"),
    ),
    warns=(
        Law(
            "generator.scale_invariant",
            "G's optimizer divides its weight out again; search its learning rate instead",
            when="weight != 1",
        ),
    ),
)
class OneStepJointLoss(Schedule):
    """Both players step at once, down one loss, in which G's part bears on G alone.

    L = L_D(D(x), D(ĝ)) + λ (L_G(D(g)) - L_G(D(ĝ))) with g = G(z) and ĝ the same fakes, seen as
    constants. The bracket is always zero, but its gradient is (0, λ ∇_G L_G): for D the two terms
    cancel, given that both see the same draws. So D descends ∇_D L_D and G descends λ ∇_G L_G,
    and these are the gradients that are taken, from one pass through D: the same draws by
    construction. Under plain gradient descent λ, the ``weight``, is the ratio of G's rate to D's;
    the post has none, which is λ = 1.
    """

    shared_forward = True

    def __init__(self, *, weight: Annotated[float, Gt(0), LogUniform(0.1, 10)] = 1.0) -> None:
        super().__init__()
        self.generator_scale = weight

    def moves(self, progress: Progress, losses: Mapping[str, Tensor]) -> Sequence[Move]:
        return [BOTH]


@schedules.register(
    paper="chintala2016",
    conflicts=(Law("critic", "the losses of a critic have no scale that a limit could be set on"),),
)
class LossStatisticsBalancing(Schedule):
    """A player makes more moves in a round when its loss is high; the known bad idea, as a control.

    While the running mean of L_D is above ``d_limit``, D makes ``cap`` moves a round, else one; and
    so G, of L_G and ``g_limit``, after D. With limits that no loss exceeds the players move in
    turn, one to one. The means are exponential, over rounds, and keep 0.9 of themselves; of a loss
    they see the adversarial term of the last round's last move. The source says of balancing by
    such statistics: don't. Its rule looks at the loss after every move; this one between
    rounds. The limits are ours: D above what chance costs it (2 log 2), G until it fools D well.
    """

    average: Tensor
    even = False

    def __init__(
        self,
        *,
        d_limit: Annotated[float, Gt(0), LogUniform(0.1, 2)] = 1.5,
        g_limit: Annotated[float, Gt(0), LogUniform(0.1, 5)] = 0.5,
        cap: Annotated[int, Ge(1), Integers(1, 10)] = 5,
    ) -> None:
        super().__init__()
        self.cap = cap
        self.limits = torch.tensor([d_limit, g_limit])
        self.register_buffer("average", torch.full((2,), torch.nan))

    def moves(self, progress: Progress, losses: Mapping[str, Tensor]) -> Sequence[Move]:
        if all(f"{player}.adversarial" in losses for player in Player):
            last = torch.stack([losses[f"{player}.adversarial"] for player in Player]).cpu()
            known = self.average.isfinite()
            self.average.copy_(torch.where(known, torch.lerp(last, self.average, MEMORY), last))
        d_high, g_high = (self.average > self.limits).tolist()
        return [D] * (self.cap if d_high else 1) + [G] * (self.cap if g_high else 1)
