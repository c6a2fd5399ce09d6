"""The families of techniques that a trial is composed of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt
from pydantic import Field
from torch import Tensor, nn, optim

from sweeper.catalog.conditioning.conditioning import Conditioning
from sweeper.catalog.metrics.compared import Compared
from sweeper.game import Architecture, Loss, Prior, Regularizer, Schedule, Trick, Turn
from sweeper.registry import Knobs, Options, Registry, Uniform
from sweeper.stream import Stream, Verdict


class Lazy(Knobs):
    """The knob every regularizer has: it acts in every so-manieth move of its player, at so many
    times its weight (lazy regularization, Karras et al. 2020)."""

    every: Annotated[int, Ge(1), Options((1, 4, 16))] = 1


class Rates(Knobs):
    """The knobs every optimizer has: how its rate falls over the horizon, and for which parameters
    it differs.

    From ``decay_start`` of the horizon on, the rate falls to zero at its end, along a line or half
    a cosine. ``rates`` multiplies the rate of the parameters whose names match a pattern, such as
    ``head.*``; the first pattern that matches counts, and 0 leaves them as they are.
    """

    decay: Annotated[Literal["none", "linear", "cosine"], Options(("none", "linear", "cosine"))] = (
        "none"
    )
    decay_start: Annotated[float, Ge(0), Lt(1), Uniform(0.3, 0.8)] = 0.5
    rates: dict[str, Annotated[float, Ge(0)]] = Field(default={})


class Opening(Knobs):
    """The knob every schedule has: D makes so many moves alone, before G's first."""

    pretraining: Annotated[int, Ge(0), Options((0, 100, 500, 2000))] = 0


activations: Registry[nn.Module] = Registry("activations")
architectures: Registry[Architecture] = Registry("architectures")
blocks: Registry[nn.Module | None] = Registry("blocks")
conditioning: Registry[Conditioning] = Registry("conditioning")
constraints: Registry[Callable[[nn.Module], Any]] = Registry("constraints")
convolutions: Registry[nn.Module] = Registry("convolutions")
datasets: Registry[Any] = Registry("datasets")
diagnostics: Registry[Callable[[Stream], Verdict | None]] = Registry("diagnostics")
downsampling: Registry[nn.Module] = Registry("downsampling")
initializations: Registry[Callable[[nn.Module], None]] = Registry("initializations")
losses: Registry[Loss] = Registry("losses")
metrics: Registry[Callable[[Compared], Mapping[str, float]]] = Registry("metrics")
normalizations: Registry[nn.Module] = Registry("normalizations")
optimizers: Registry[optim.Optimizer] = Registry("optimizers", shared=Rates)
priors: Registry[Prior] = Registry("priors")
regularizers: Registry[Callable[[Turn], Tensor] | Regularizer] = Registry(
    "regularizers", shared=Lazy
)
schedules: Registry[Schedule] = Registry("schedules", shared=Opening)
tricks: Registry[Trick] = Registry("tricks")
upsampling: Registry[nn.Module] = Registry("upsampling")
walks: Registry[Callable[[Tensor, Tensor, Tensor], Tensor]] = Registry("walks")
