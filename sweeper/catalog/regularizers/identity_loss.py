"""An image that is as wanted already stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.game import Batch, Networks, Regularizer, Turn
from sweeper.registry import Options


@regularizers.register(
    paper="taigman2017",
    provides={"content"},
    facts={"on": "generator", "told": ("source",)},
)
class IdentityLoss(Regularizer):
    """G is paid for leaving an image alone that is one of those it is to make.

    weight · mean|G(b) - b| for b real images as D sees them, given to G as its source; the mean is
    over examples, channels and pixels, and with two pairs, each generator pays for its own. 5, half
    of its cycle's weight, is CycleGAN's, which keeps colours; 0 takes no pass through G. Raises
    ValueError where sources and images are not of one shape.
    """

    def __init__(
        self, *, weight: Annotated[float, Ge(0), Options((0.0, 1.0, 5.0, 10.0))] = 5.0
    ) -> None:
        super().__init__()
        self.weight = weight

    def setup(self, networks: Networks, batch: Batch) -> None:
        if batch.source is not None and batch.source.shape != batch.image.shape:
            shapes = (tuple(x.shape[1:]) for x in (batch.source, batch.image))
            law = "identity_loss gives G an image of those it makes as a source, which are of shape"
            raise ValueError("{} {}, but images are of shape {}".format(law, *shapes))

    def forward(self, turn: Turn) -> Tensor:
        image = turn.real.image.detach()
        if not self.weight:
            return image.new_zeros(())
        made: Tensor = turn.networks.generator(
            turn.latents, replace(turn.real.context, source=image)
        )
        return self.weight * (made - image).abs().mean()
