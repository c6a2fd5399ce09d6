"""Batch normalization that stops following the batch."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn.functional import batch_norm

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.batch_norm import BatchNorm
from sweeper.game import Context, Paced, Progress
from sweeper.registry import Law, LogUniform, Options, Uniform

EARLIER = "at > 0"
"""When statistics are those of the batch for a while."""


@normalizations.register(
    provides={
        Law("batch_statistics", when=EARLIER),
        Law("batch_coupled", when=EARLIER),
        "no_third_derivative",
    },
    warns={
        Law("random_start", "statistics that nothing was ever seen for are 0 and 1", when="at == 0")
    },
)
class FrozenBatchNorm(BatchNorm, Paced):
    """Batch normalization whose statistics stay as they are from a share of the horizon on.

    y = γ (x - μ) / √(σ² + ε) + β. At first μ and σ² of each channel are over the batch and space,
    (N, H, W), and all ranks, as in ``batch_norm``; when ``at`` of the horizon has passed, they are
    the running ones of that moment, for good, and examples bear on each other no more. With
    ``freeze_affine``, γ and β stay as they are, too. Takes (N, C, ...). From 0 on, it is for
    networks that start from a checkpoint.
    """

    def __init__(
        self,
        channels: int,
        *,
        at: Annotated[float, Ge(0), Le(1), Uniform(0.1, 0.9)] = 0.5,
        freeze_affine: Annotated[bool, Options((False, True))] = False,
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels, momentum=momentum, eps=eps)
        self.at, self.freeze_affine = at, freeze_affine
        # A function of progress alone, which tells it before each round: nothing to be saved, and
        # no tensor for the GPU to wait for.
        self.frozen = at == 0

    def pace(self, progress: Progress) -> None:
        self.frozen = progress.fraction >= self.at

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        if not (self.frozen and self.training):
            return super().forward(x, context)
        affine = (self.weight, self.bias)
        scale, shift = (p.detach() for p in affine) if self.freeze_affine else affine
        return batch_norm(x, self.running_mean, self.running_var, scale, shift, eps=self.eps)
