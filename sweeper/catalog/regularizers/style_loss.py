"""The distance of two images' styles: which features occur together, wherever they are."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.perception import Looking, Network, Perceiving, Sight
from sweeper.catalog.regularizers.perceptual_loss import JUDGED
from sweeper.game import Turn
from sweeper.registry import Law, LogUniform, Options


@regularizers.register(
    paper="gatys2015",
    needs={Law("images", "it looks through convolutions")},
    provides={"content"},
    conflicts={
        Law(
            "unpaired",
            "source and image belong together by chance: there is no target",
            when="of == target",
        )
    },
    warns={JUDGED},
    facts={
        "on": "generator",
        "told": (Law("pair", when="of == target"), Law("reference", when="of == reference")),
    },
)
class StyleLoss(Perceiving):
    """G is paid for fakes in the style of an image: the same features together, in any place.

    weight · Σₗ wₗ · E‖Gₗ(x̂) - Gₗ(x)‖, where Gₗ = F Fᵀ / (C · H · W) is the Gram matrix (C, C) of a
    layer's activations F (C, H · W), and ‖·‖ for p = 2 the squared Frobenius norm of Johnson et al.
    2016, for p = 1 the mean over its C² entries of Liu et al. 2018, whose weight is 120; the mean E
    is over examples. x̂ is G's own new fake; x, a constant, is its ``target``, or the ``reference``
    whose style is wanted. All is computed in float32. ``network``, ``weights`` and ``layers`` are
    as in ``perceptual_loss``.
    """

    def __init__(
        self,
        sight: Sight,
        *,
        weight: Annotated[float, Gt(0), LogUniform(1, 1e5)] = 120.0,
        of: Annotated[Literal["target", "reference"], Options(("target", "reference"))] = "target",
        network: Annotated[Network, Options(("random_conv", "classifier"))] = "random_conv",
        weights: str | None = None,
        layers: dict[str, Annotated[float, Gt(0)]] | None = None,
        p: Annotated[Literal[1, 2], Options((1, 2))] = 1,
    ) -> None:
        super().__init__(sight, Looking(network, weights, layers))
        self.weight, self.of, self.p = weight, of, p

    def forward(self, turn: Turn) -> Tensor:
        wanted = turn.real.image if self.of == "target" else turn.real.style
        assert wanted is not None
        return self.weight * self.differences(turn.fake.image, wanted, self.apart)

    def apart(self, x: Tensor, y: Tensor) -> Tensor:
        """How far the Gram matrices of activations are from each other."""
        off = gram(x) - gram(y)
        return off.abs().mean() if self.p == 1 else off.square().sum((1, 2)).mean()


def gram(h: Tensor) -> Tensor:
    """F Fᵀ / (C · H · W) of each example's activations: (N, C, H, W) to (N, C, C)."""
    f = h.flatten(2)
    return torch.bmm(f, f.transpose(1, 2)) / f[0].numel()
