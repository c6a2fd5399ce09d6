"""Images that D sees beside an image."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sweeper.catalog.conditioning.conditioning import Conditioning
from sweeper.catalog.families import conditioning
from sweeper.game import Batch, Known
from sweeper.registry import Law, Options


@conditioning.register(
    paper="isola2017",
    conflicts={Law("packs", "what an example was made from is no part of a pack")},
    facts={
        "told": tuple(Law(name, when=name) for name in ("source", "mask", "reference")),
        "on": "discriminator",
    },
)
class ImageConditionConcat(Conditioning):
    """D sees, beside an image, what it was made from: real pairs, and a source with its fake.

    D is given (x, a) on the channels, (N, C, H, W) to (N, C + C_a, H, W), where a are those that
    are on of the ``source``, the ``mask`` and the ``reference`` image of the style, resized to x
    where they are of another size. Raises ValueError when none is on.
    """

    def __init__(
        self,
        known: Known,
        *,
        source: Annotated[bool, Options((True, False))] = True,
        mask: Annotated[bool, Options((False, True))] = False,
        reference: Annotated[bool, Options((False, True))] = False,
    ) -> None:
        super().__init__()
        on = {"source": source, "mask": mask, "reference": reference}
        self.names = [name for name, shown in on.items() if shown]
        if not self.names:
            raise ValueError("image_condition_concat shows D at least one of " + ", ".join(on))
        self.channels = sum(getattr(known, name) for name in self.names)

    def beside_image(self, batch: Batch) -> Tensor:
        context, size = batch.context, batch.image.shape[2:]
        shown = [getattr(context, name).to(batch.image) for name in self.names]
        return torch.cat([a if a.shape[2:] == size else resized(a, size) for a in shown], dim=1)


def resized(a: Tensor, size: torch.Size) -> Tensor:
    return interpolate(a, size, mode="bilinear", align_corners=False)
