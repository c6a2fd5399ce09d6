"""The penalty of DRAGAN."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.slopes import ANYWAY, DECOUPLED, input_gradient, shares
from sweeper.game import Batch, Turn
from sweeper.registry import LogUniform, Options, Uniform


@regularizers.register(
    paper="kodali2017",
    provides={"input_gradient", "batch_coupled"},
    conflicts=DECOUPLED,
    warns=ANYWAY,
    facts={"on": "discriminator"},
)
def dragan(
    turn: Turn,
    *,
    weight: Annotated[float, Gt(0), LogUniform(0.1, 100)] = 10.0,
    c: Annotated[float, Gt(0), Uniform(0.1, 1.0)] = 0.5,
    target: Annotated[float, Ge(0), Uniform(0.0, 1.0)] = 1.0,
    noise: Annotated[Literal["uniform", "gaussian"], Options(("uniform", "gaussian"))] = "uniform",
) -> Tensor:
    """The gradient norm of D is held at ``target`` near real examples, wherever the fakes are.

    weight · E(‖∇D(x̂)‖ - target)², x̂ = x + α(x_p - x), α uniform in [0, 1] per example, and
    x_p = x + c · std(x) · u, u uniform in [0, 1] per number as in the authors' code, or standard
    normal as in the paper; std(x) is one number, the deviation over the whole real batch. Instance
    noise has no part in x_p, and D sees x̂ behind it like everything else. Of patches, D is the mean
    score. The defaults are the paper's.
    """
    near = perturbed(turn, c, noise)
    excess: Tensor = input_gradient(turn.score, near).norm(dim=1) - target
    return weight * excess.square().mean()


def perturbed(turn: Turn, c: float, noise: str) -> Batch:
    """Places between real examples and what noise makes of them."""
    x, random = turn.real.image, turn.progress.random["dragan"]
    ranks = turn.progress.ranks
    kind = torch.rand if noise == "uniform" else torch.randn

    def draw(n: int) -> Tensor:
        return kind((n, *x.shape[1:]), generator=random, device=x.device)

    u = ranks.drawn(len(x), draw)
    x_p = x + c * ranks.gathered(x).std(correction=0) * u
    return turn.real.showing(x + shares(turn, "dragan") * (x_p - x))
