"""Asymmetric convolutions beside a square one."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from sweeper.catalog.families import convolutions
from sweeper.catalog.normalizations.batch_norm import BatchNorm
from sweeper.game import Context, Layers
from sweeper.registry import Law, Options

NORMED = "branch_norm == batch"


@convolutions.register(
    paper="ding2019",
    needs={"convolutions"},
    provides=(
        Law("batch_statistics", when=NORMED),
        Law("batch_coupled", when=NORMED),
        Law("no_third_derivative", when=NORMED),
    ),
    warns={Law("small_batch", "statistics of a few examples are mostly noise", when=NORMED)},
)
class AcnetBlock(nn.Module):
    """A convolution of kxk px, and one of its middle row and one of its middle column beside it.

    y = n₁(W * x) + n₂(R * x) + n₃(C * x) + b, where R is 1xk, C is kx1, and each n is the
    ``branch_norm``: none, or batch normalization, each with its own scale and shift. (N, inputs, H,
    W) to (N, outputs, H, W).

    All this is one convolution whose kernel is the sum of the three: in evaluation it is computed
    as that (with running statistics for the batch's), and ``fused`` gives it as a plain layer.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        layers: Layers,
        bias: bool = True,
        *,
        branch_norm: Annotated[Literal["none", "batch"], Options(("none", "batch"))] = "none",
    ) -> None:
        super().__init__()
        shapes = [(kernel, kernel), (1, kernel), (kernel, 1)] if kernel > 1 else [(1, 1)]
        self.kernel = kernel
        self.branches = nn.ModuleList(
            layers.weighted(
                nn.Conv2d(inputs, outputs, (h, w), padding=(h // 2, w // 2), bias=False)
            )
            for h, w in shapes
        )
        self.norms = nn.ModuleList(
            BatchNorm(outputs) for _ in (shapes if branch_norm == "batch" else ())
        )
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if not self.training:
            return conv2d(x, *self.sum(), padding=self.kernel // 2)
        made = [branch(x) for branch in self.branches]
        if self.norms:
            made = [norm(y, context) for norm, y in zip(self.norms, made, strict=True)]
        y = torch.stack(made).sum(0)
        return y if self.bias is None else y + self.bias[:, None, None]

    def sum(self) -> tuple[Tensor, Tensor | None]:
        """The kernel and bias of the one convolution that this is in evaluation."""
        kernels = [self._square(cast(nn.Conv2d, branch).weight) for branch in self.branches]
        shifts = list[Tensor]()
        if self.bias is not None:
            shifts.append(self.bias)
        for i, norm in enumerate(cast(list[BatchNorm], list(self.norms))):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            kernels[i] = kernels[i] * scale[:, None, None, None]
            shifts.append(norm.bias - scale * norm.running_mean)
        return torch.stack(kernels).sum(0), torch.stack(shifts).sum(0) if shifts else None

    def _square(self, weight: Tensor) -> Tensor:
        """A kernel, in the middle of a square of zeros."""
        high, wide = ((self.kernel - side) // 2 for side in weight.shape[-2:])
        return pad(weight, (wide, wide, high, high))

    @torch.no_grad()
    def fused(self) -> nn.Conv2d:
        """The same as one plain convolution, as in evaluation."""
        weight, bias = self.sum()
        outputs, inputs = weight.shape[:2]
        conv = nn.Conv2d(
            inputs, outputs, self.kernel, padding=self.kernel // 2, bias=bias is not None
        ).to(weight)
        conv.weight.copy_(weight)
        if bias is not None:
            conv.bias.copy_(bias)  # type: ignore[union-attr]
        return conv
