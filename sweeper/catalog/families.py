"""The families of techniques that a trial is composed of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor, nn, optim

from sweeper.game import Architecture, Loss, Prior, Schedule, Trick, Turn
from sweeper.registry import Knobs, Options, Registry


class Lazy(Knobs):
    """The knob every regularizer has: it acts in every so-manieth move of its player, at so many
    times its weight (lazy regularization, Karras et al. 2020)."""

    every: Annotated[int, Ge(1), Options((1, 4, 16))] = 1


architectures: Registry[Architecture] = Registry("architectures")
constraints: Registry[Callable[[nn.Module], Any]] = Registry("constraints")
datasets: Registry[Any] = Registry("datasets")
losses: Registry[Loss] = Registry("losses")
normalizations: Registry[nn.Module] = Registry("normalizations")
optimizers: Registry[optim.Optimizer] = Registry("optimizers")
priors: Registry[Prior] = Registry("priors")
regularizers: Registry[Callable[[Turn], Tensor]] = Registry("regularizers", shared=Lazy)
schedules: Registry[Schedule] = Registry("schedules")
tricks: Registry[Trick] = Registry("tricks")
