"""Unrolled generative adversarial networks."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt

from sweeper.catalog.families import tricks
from sweeper.game import Lookahead, Move, Player, Progress, Trick
from sweeper.registry import Law, LogUniform, Options

SECOND = "mode == second_order"


@tricks.register(
    paper="metz2017",
    provides=("lookahead", Law("second_order", when=SECOND)),
    conflicts=(
        Law("lookahead", "a move looks ahead in one way"),
        Law("joint", "players that step together do not wait for each other's answer"),
        Law("accumulation", "its gradient flows through the whole batch at once", when=SECOND),
        Law(
            "input_gradient",
            "torch has no third derivative of D's normalization; first_order needs none",
            when=SECOND,
            beside="no_third_derivative",
        ),
    ),
    warns=(
        Law("input_gradient", "G's gradient is then of the third order, and slow", when=SECOND),
        Law("pool", "D's answer to older fakes says nothing of G as it is", when=SECOND),
    ),
    facts={"stage": 70},
)
class UnrolledGan(Trick):
    """G learns from the D that its opponent would become, within some steps, against this very G.

    θ⁰ = θ_D, θᵏ⁺¹ = θᵏ - η ∇_θ L_D(θᵏ, θ_G) for k < K = ``steps``, on one batch; G's gradient is
    that of L_G(θ_G, θᴷ), after which D stands at θ⁰ again. In ``second_order`` the steps are plain
    gradient descent at ``rate`` (D's own if none is given), and G's gradient flows back through
    them, θᴷ being a function of θ_G. In ``first_order`` they are steps of D's optimizer, at its
    rate, and G takes θᴷ for a constant. The moves of D itself are ordinary ones. K = 5 as in the
    authors' notebook; K = 0 is the game without it.
    """

    def __init__(
        self,
        *,
        steps: Annotated[int, Ge(0), Options((0, 1, 3, 5, 10))] = 5,
        mode: Annotated[
            Literal["second_order", "first_order"], Options(("second_order", "first_order"))
        ] = "second_order",
        rate: Annotated[float, Gt(0), LogUniform(1e-5, 1e-2)] | None = None,
    ) -> None:
        super().__init__()
        self.plan = Lookahead((frozenset({Player.D}),) * steps, mode == "second_order", rate)

    def lookahead(self, move: Move, progress: Progress) -> Lookahead | None:
        return self.plan if move == {Player.G} else None
