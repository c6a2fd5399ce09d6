"""The networks of W-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from sweeper.catalog.architectures.patches import Patch, PatchDiscriminator
from sweeper.catalog.architectures.u_net import (
    Block,
    Decoder,
    Encoder,
    given,
    given_channels,
    halvings,
    widths_of,
)
from sweeper.catalog.families import architectures
from sweeper.catalog.initializations import dcgan_normal
from sweeper.game import Architecture, Context, Layers
from sweeper.registry import Options


class TwoEncoders(nn.Module):
    """A content and a style, encoded apart, mixed, and decoded with shortcuts from both."""

    def __init__(
        self,
        shape: Sequence[int],
        latent_size: int,
        channels: int,
        skip: bool,
        dropout: float,
        layers: Layers,
    ) -> None:
        super().__init__()
        layers = layers.starting(dcgan_normal)
        widths = widths_of(channels, halvings("w_net", shape))
        known, size, deepest = layers.known, min(shape[1:]), widths[-1]
        self.skip = skip
        self.style = Encoder(known.reference, widths, size, layers)
        # What follows is told the style behind the latents.
        layers = layers.telling(known._replace(style=latent_size + deepest))
        depth = len(widths)
        self.content = Encoder(given_channels("w_net", known), widths, size, layers, depth)
        smallest = size >> len(widths) - 1
        self.mixer = Block(2 * deepest, deepest, 2 * depth, smallest, layers, nn.ReLU)
        shortcuts = [2 * b if skip else 0 for b in widths]
        self.decoder = Decoder(
            widths, shortcuts, shape, layers, depth=2 * depth + 1, dropout=dropout
        )

    def forward(self, z: Tensor, context: Context) -> Tensor:
        assert context.reference is not None
        styles = self.style(context.reference, context.styled(z))
        code = styles[-1].mean((2, 3))
        context = context.styled(torch.cat([z, code], dim=1))
        contents = self.content(given(context), context)
        both = [torch.cat(pair, dim=1) for pair in zip(contents, styles, strict=True)]
        h = self.mixer(both[-1], context)
        return cast(Tensor, self.decoder(h, both if self.skip else [None] * len(both), context))


@architectures.register(
    paper="jiang2018",
    needs={"images"},
    provides={"feature_maps", "convolutions"},
    facts={"told": ("reference",)},
)
class WNet(Architecture):
    """One encoder for the content, one for the style, and one decoder of both: a W.

    The content is the source (N, C, H, W), with the mask behind it where there is one, and the
    style the reference (N, R, H, W). A mixer convolves the smallest activations of both into one;
    with ``skip``, the decoder is given the activations of every size of both encoders beside its
    own. The means of the style's smallest activations are its code: it is told, behind the
    latents, to adaptive normalizations of all layers but those of its own encoder. The latents are
    otherwise ignored. Encoders and decoder are those of pix2pix, and so is D, a PatchGAN;
    ``dropout`` acts in the first three blocks of the decoder, also when G is evaluated.

    The original is given one to five images of a style, this one a single one; it has two further
    classifiers, of content and of style, which auxiliary_classifier stands for, and is trained with
    wasserstein, gradient_penalty of 10, and 50 times the L1 distance.

    Raises ValueError where the data has neither sources nor masks, and for sides that are no
    multiples of 4.
    """

    def __init__(
        self,
        *,
        channels: Annotated[int, Ge(1), Options((8, 16, 32))] = 16,
        skip: Annotated[bool, Options((True, False))] = True,
        dropout: Annotated[float, Ge(0), Lt(1), Options((0.0, 0.5))] = 0.0,
        patch: Patch = 70,
    ) -> None:
        self.channels, self.skip, self.dropout, self.patch = channels, skip, dropout, patch

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return TwoEncoders(shape, latent_size, self.channels, self.skip, self.dropout, layers)

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return PatchDiscriminator(shape, self.channels, self.patch, layers)
