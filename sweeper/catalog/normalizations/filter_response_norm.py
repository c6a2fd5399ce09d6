"""Filter response normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import Affine, full, space_mean
from sweeper.game import Context
from sweeper.registry import Law, Options

INITIAL = 1e-4
"""Of what is learnt beside ε."""


@normalizations.register(
    paper="singh2020",
    needs={
        Law(
            "feature_maps",
            "of one number nothing but its sign would be left; learnable_eps keeps more",
            when="learnable_eps == 0",
        )
    },
)
class FilterResponseNorm(Affine):
    """Each channel of each example is divided by its root mean square over space; no mean is taken.

    y = γ x / √(ν² + ε) + β with ν² = mean x² of each channel of each example over H, W; γ and β are
    those of each channel. With ``learnable_eps`` one more number is learnt, |ε′|, which is added to
    ε and begins at 1e-4: with it, there may be one place only. ``tlu`` is the activation that the
    paper has after it.

    Takes (N, C, H, W) or, with ``learnable_eps``, (N, C, ...); raises ValueError otherwise.
    """

    def __init__(
        self,
        channels: int,
        *,
        learnable_eps: Annotated[bool, Options((False, True))] = False,
        eps: Annotated[float, Gt(0), Options((1e-6, 1e-5))] = 1e-6,
    ) -> None:
        super().__init__(channels)
        self.eps = eps
        self.learnt_eps = nn.Parameter(torch.tensor(INITIAL)) if learnable_eps else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if self.learnt_eps is None and x[0, 0].numel() == 1:
            law = "filter_response_norm takes several places of a channel, or learnable_eps"
            raise ValueError(f"{law}, but got {tuple(x.shape)}")
        h = full(x)
        eps = self.eps if self.learnt_eps is None else self.eps + self.learnt_eps.abs()
        return self.scaled(h * (space_mean(h.square()) + eps).rsqrt()).to(x.dtype)
