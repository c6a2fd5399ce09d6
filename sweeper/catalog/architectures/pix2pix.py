"""The networks of pix2pix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Lt
from torch import nn

from sweeper.catalog.architectures.patches import Patch, PatchDiscriminator
from sweeper.catalog.architectures.u_net import UNet
from sweeper.catalog.families import architectures
from sweeper.game import Architecture, Layers
from sweeper.registry import Options


@architectures.register(
    paper="isola2017", needs={"images"}, provides={"feature_maps", "convolutions"}
)
class Pix2pix(Architecture):
    """A U-Net that makes one image from another, and a PatchGAN that scores every patch of it.

    G is given the source (N, C, H, W) and, where the data has masks, the mask behind it. It is
    halved until a side is odd, at most to 1 px, by strided convolutions and a convolution at every
    size, and doubled again; with ``skip``, the decoder is given the encoder's activations of every
    size beside its own. In the first three blocks of the decoder, activations are dropped with
    probability ``dropout``, also when G is evaluated: the only noise, as in the paper. The latents
    are told to adaptive normalizations, and otherwise ignored; with ``latents``, they stand beside
    the smallest activations.

    D scores patches of ``patch`` px, (N, P): of 256 px with a patch of 70, a map of 30 x 30. An
    image that one patch covers is halved only as far as to 4 px. With image_condition_concat, D
    sees the source beside the image, as in the paper. The paper's loss is the adversarial one and
    100 times the L1 distance to the target (reconstruction_loss), of which D's part counts half
    (discriminator_loss_scale). ``channels`` is the width at full size; it doubles with each
    halving, up to eight times.

    Raises ValueError where the data has neither sources nor masks, and for sides that are no
    multiples of 4.
    """

    def __init__(
        self,
        *,
        channels: Annotated[int, Ge(1), Options((8, 16, 32))] = 16,
        skip: Annotated[bool, Options((True, False))] = True,
        dropout: Annotated[float, Ge(0), Lt(1), Options((0.0, 0.5))] = 0.5,
        latents: Annotated[bool, Options((False, True))] = False,
        patch: Patch = 70,
    ) -> None:
        self.channels, self.skip, self.dropout = channels, skip, dropout
        self.latents, self.patch = latents, patch

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return UNet(
            "pix2pix",
            shape,
            latent_size,
            self.channels,
            layers,
            skip=self.skip,
            dropout=self.dropout,
            latents=self.latents,
        )

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return PatchDiscriminator(shape, self.channels, self.patch, layers)
