"""Optimizers: how gradients become steps. Each is given the named parameters of one player's
networks, in groups; a group of another rate has it set afterwards.

Here g is the gradient, θ what is learnt, and every operation is element by element."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, optim

from sweeper.catalog.families import optimizers
from sweeper.game import Progress
from sweeper.registry import Law, LogUniform, Options, Uniform

Groups = Iterable[dict[str, Any]]
Rate = Annotated[float, Gt(0), LogUniform(1e-5, 1e-3)]
LargeRate = Annotated[float, Gt(0), LogUniform(1e-4, 1e-1)]
First = Annotated[float, Ge(0), Lt(1), Options((0.0, 0.5, 0.9))]
Second = Annotated[float, Ge(0), Lt(1), Options((0.9, 0.99, 0.999))]
Eps = Annotated[float, Gt(0), LogUniform(1e-9, 1e-6)]
Decay = Annotated[float, Ge(0), Options((0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2))]

ADAPTIVE = ("scale_invariant", Law("momentum", when="beta1 > 0"))


def decayed(progress: Progress, *, decay: str, start: float) -> float:
    """The share of its rate that an optimizer has left: 1 up to ``start`` of the horizon, then down
    to 0 at its end."""
    if decay == "none":
        return 1.0
    behind = max(0.0, (progress.fraction - start) / (1 - start))
    return 1 - behind if decay == "linear" else (1 + math.cos(math.pi * behind)) / 2


class ByHand(optim.Optimizer):
    """An optimizer that PyTorch has not: one formula over all the weights of a group at once."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            if moving:
                self.move(group, moving, [p.grad for p in moving])

    def move(self, group: dict[str, Any], weights: list[Tensor], slopes: list[Tensor]) -> None:
        """Change the weights of a group, given their gradients."""
        raise NotImplementedError

    def remembered(self, weights: list[Tensor], name: str) -> list[Tensor]:
        """What is kept of each weight under a name, 0 at first."""
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.zeros_like(weight)
        return [self.state[weight][name] for weight in weights]


@optimizers.register(paper="kingma2015", provides=ADAPTIVE)
class Adam(optim.Adam):
    """Steps along the running mean of the gradient, scaled by its running root mean square.

    m ← β₁m + (1 - β₁)g, v ← β₂v + (1 - β₂)g², θ ← θ - lr · m̂ / (√v̂ + ε), where m̂ = m / (1 - β₁ᵗ)
    and v̂ = v / (1 - β₂ᵗ) make up for the start at 0. Rate and ``beta1`` are those of DCGAN (Radford
    et al. 2016), the rest of the paper. ``weight_decay`` λ adds λθ to g; ``amsgrad`` takes the
    largest v that there has been (Reddi et al. 2018).
    """

    def __init__(
        self,
        parameters: Groups,
        *,
        lr: Rate = 2e-4,
        beta1: First = 0.5,
        beta2: Second = 0.999,
        eps: Eps = 1e-8,
        weight_decay: Decay = 0.0,
        amsgrad: Annotated[bool, Options((False, True))] = False,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            betas=(beta1, beta2),
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            fused=True,
        )


@optimizers.register(name="adamw", paper="loshchilov2019", provides=ADAPTIVE)
class AdamW(optim.AdamW):
    """Steps as Adam does, and shrinks the weights beside it, which no gradient rescales.

    θ ← θ - lr · λθ, then Adam's step; λ is ``weight_decay``, 0.01 as PyTorch has it. The moments do
    not see it. Rate and ``beta1`` are those of DCGAN.
    """

    def __init__(
        self,
        parameters: Groups,
        *,
        lr: Rate = 2e-4,
        beta1: First = 0.5,
        beta2: Second = 0.999,
        eps: Eps = 1e-8,
        weight_decay: Annotated[float, Gt(0), LogUniform(1e-4, 1.0)] = 1e-2,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            betas=(beta1, beta2),
            eps=eps,
            weight_decay=weight_decay,
            fused=True,
        )


@optimizers.register(paper="daskalakis2018", provides=ADAPTIVE)
class OptimisticAdam(ByHand):
    """Steps as Adam does, and once more by how Adam's step has changed since the last.

    θ ← θ - 2 lr · uₜ + lr · uₜ₋₁, where uₜ = m̂ₜ / (√v̂ₜ + ε) is Adam's direction and u₀ = 0, so that
    the first step is twice Adam's. Both terms take the rate of the moment. Rate and moments are
    Adam's here.
    """

    def __init__(
        self,
        parameters: Groups,
        *,
        lr: Rate = 2e-4,
        beta1: First = 0.5,
        beta2: Second = 0.999,
        eps: Eps = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (beta1, beta2), "eps": eps})

    def move(self, group: dict[str, Any], weights: list[Tensor], slopes: list[Tensor]) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        mean, square, before = (
            self.remembered(weights, name) for name in ("mean", "square", "direction")
        )
        for weight in weights:
            self.state[weight]["t"] = self.state[weight].get("t", 0) + 1
        times = [self.state[weight]["t"] for weight in weights]
        torch._foreach_lerp_(mean, slopes, 1 - beta1)
        torch._foreach_mul_(square, beta2)
        torch._foreach_addcmul_(square, slopes, slopes, 1 - beta2)
        direction = torch._foreach_div(mean, [1 - beta1**t for t in times])
        scale = torch._foreach_div(square, [1 - beta2**t for t in times])
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, group["eps"])
        torch._foreach_div_(direction, scale)
        torch._foreach_add_(weights, direction, alpha=-2 * lr)
        torch._foreach_add_(weights, before, alpha=lr)
        torch._foreach_copy_(before, direction)


@optimizers.register(
    paper="tieleman2012",
    provides={"scale_invariant", Law("momentum", when="momentum > 0")},
)
class Rmsprop(optim.RMSprop):
    """Steps along the gradient, scaled by its running root mean square.

    v ← αv + (1 - α)g², θ ← θ - lr · g / (√v + ε), from v = 0 and with nothing to make up for it.
    ``centered`` scales by the running deviation, v less the square of the running mean.
    ``momentum`` μ sums steps as b ← μb + g / (√v + ε). The rate is that of the Wasserstein GAN
    (Arjovsky et al. 2017).
    """

    def __init__(
        self,
        parameters: Groups,
        *,
        lr: Rate = 5e-5,
        alpha: Annotated[float, Ge(0), Lt(1), Options((0.9, 0.99))] = 0.99,
        eps: Eps = 1e-8,
        centered: Annotated[bool, Options((False, True))] = False,
        momentum: Annotated[float, Ge(0), Lt(1), Options((0.0, 0.5, 0.9))] = 0.0,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            alpha=alpha,
            eps=eps,
            centered=centered,
            momentum=momentum,
            foreach=True,
        )


@optimizers.register(paper="duchi2011", provides={"scale_invariant"})
class Adagrad(optim.Adagrad):
    """Steps along the gradient, scaled by the root of the sum of all its squares so far.

    G ← G + g², θ ← θ - lr · g / (√G + ε), from G = 0: steps become ever smaller. Rate and ``eps``
    are PyTorch's.
    """

    def __init__(
        self,
        parameters: Groups,
        *,
        lr: LargeRate = 1e-2,
        eps: Annotated[float, Gt(0), LogUniform(1e-12, 1e-6)] = 1e-10,
    ) -> None:
        super().__init__(parameters, lr=lr, eps=eps, foreach=True)


@optimizers.register(paper="robbins1951")
class Sgd(optim.SGD):
    """Steps along the gradient.

    θ ← θ - lr · g. ``weight_decay`` λ adds λθ to g.
    """

    def __init__(
        self, parameters: Groups, *, lr: LargeRate = 1e-2, weight_decay: Decay = 0.0
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, foreach=True)


@optimizers.register(paper="polyak1964", provides={Law("momentum", when="momentum > 0")})
class SgdMomentum(ByHand):
    """Steps along a decaying sum of the gradients so far.

    v ← μv + g, θ ← θ - lr · v, from v = 0. A negative μ damps the rotation of two players around
    each other (Gidel et al. 2019). ``nesterov`` steps by g + μv in place of v, whatever the sign of
    μ. ``weight_decay`` λ adds λθ to g.
    """

    def __init__(
        self,
        parameters: Groups,
        *,
        lr: LargeRate = 1e-2,
        momentum: Annotated[float, Gt(-1), Lt(1), Uniform(-0.5, 0.95)] = 0.9,
        nesterov: Annotated[bool, Options((False, True))] = False,
        weight_decay: Decay = 0.0,
    ) -> None:
        own = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(parameters, {"lr": lr, **own})

    def move(self, group: dict[str, Any], weights: list[Tensor], slopes: list[Tensor]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        slopes = list(torch._foreach_add(slopes, weights, alpha=group["weight_decay"]))
        step = self.remembered(weights, "sum")
        torch._foreach_mul_(step, momentum)
        torch._foreach_add_(step, slopes)
        if group["nesterov"]:
            step = list(torch._foreach_add(slopes, step, alpha=momentum))
        torch._foreach_add_(weights, step, alpha=-lr)
