"""Optimizers: how gradients become steps. Each is given the named parameters of one player's
networks, in groups; a group of another rate has it set afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any

from annotated_types import Ge, Gt, Lt
from torch import optim

from sweeper.catalog.families import optimizers
from sweeper.game import Progress
from sweeper.registry import LogUniform, Options

Groups = Iterable[dict[str, Any]]
Rate = Annotated[float, Gt(0), LogUniform(1e-5, 1e-3)]


def decayed(progress: Progress, *, decay: str, start: float) -> float:
    """The share of its rate that an optimizer has left: 1 up to ``start`` of the horizon, then down
    to 0 at its end."""
    if decay == "none":
        return 1.0
    behind = max(0.0, (progress.fraction - start) / (1 - start))
    return 1 - behind if decay == "linear" else (1 + math.cos(math.pi * behind)) / 2


@optimizers.register(paper="kingma2015")
class Adam(optim.Adam):
    """Steps along the running mean of the gradient, scaled by its running root mean square."""

    def __init__(
        self,
        parameters: Groups,
        *,
        lr: Rate = 2e-4,
        beta1: Annotated[float, Ge(0), Lt(1), Options((0.0, 0.5, 0.9))] = 0.5,
        beta2: Annotated[float, Ge(0), Lt(1), Options((0.9, 0.99, 0.999))] = 0.999,
        eps: Annotated[float, Gt(0), LogUniform(1e-9, 1e-6)] = 1e-8,
    ) -> None:
        super().__init__(parameters, lr=lr, betas=(beta1, beta2), eps=eps, fused=True)


@optimizers.register(paper="tieleman2012")
class Rmsprop(optim.RMSprop):
    """Steps along the gradient, scaled by its running root mean square."""

    def __init__(
        self,
        parameters: Groups,
        *,
        lr: Rate = 5e-5,
        alpha: Annotated[float, Ge(0), Lt(1), Options((0.9, 0.99))] = 0.99,
        eps: Annotated[float, Gt(0), LogUniform(1e-9, 1e-6)] = 1e-8,
    ) -> None:
        super().__init__(parameters, lr=lr, alpha=alpha, eps=eps)


@optimizers.register(paper="robbins1951")
class Sgd(optim.SGD):
    """Steps along the gradient."""

    def __init__(
        self, parameters: Groups, *, lr: Annotated[float, Gt(0), LogUniform(1e-4, 1e-1)] = 1e-2
    ) -> None:
        super().__init__(parameters, lr=lr)
