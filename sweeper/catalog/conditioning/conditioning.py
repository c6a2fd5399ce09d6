"""What tells a network more than its input, whatever network it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sweeper.game import Batch, Context, Output


class Conditioning(nn.Module):
    """One way to tell a network of N examples what is known of them.

    Beside each latent there stand so many ``latents`` more, and beside an image's channels so many
    ``channels``. Every method is without effect until overridden.

    It is handed over, by the names of its positional parameters, what it asks for of: ``known``,
    the ``player`` it tells, the ``shape`` of the images that are made (or shown, to D), the
    ``layers`` of its own networks, and the ``width`` of D's last hidden activations: one that asks
    for it is made after D, and stands beside its score alone.
    """

    latents: int = 0
    channels: int = 0

    def beside_latents(self, context: Context) -> Tensor:
        """What stands beside the latents: (N, latents)."""
        raise NotImplementedError

    def beside_image(self, batch: Batch) -> Tensor:
        """What stands beside the image's channels: (N, channels, H, W)."""
        raise NotImplementedError

    def scores(self, output: Output, batch: Batch) -> Tensor:
        """D's scores, corrected: of the shape that they have."""
        return output.scores


class TellingGenerator(nn.Module):
    """A generator that is told something beside its latents."""

    def __init__(self, network: nn.Module, told: Sequence[Conditioning]) -> None:
        super().__init__()
        self.network, self.told = network, nn.ModuleList(told)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        told = [cast(Conditioning, c) for c in self.told]
        more = [c.beside_latents(context) for c in told if c.latents]
        return cast(Tensor, self.network(torch.cat([z, *more], dim=1), context))


class TellingDiscriminator(nn.Module):
    """A discriminator that is told something beside the image, or beside its score."""

    def __init__(self, network: nn.Module, told: Sequence[Conditioning]) -> None:
        super().__init__()
        self.network, self.told = network, nn.ModuleList(told)

    def forward(self, batch: Batch) -> Output:
        told = [cast(Conditioning, c) for c in self.told]
        more = [c.beside_image(batch) for c in told if c.channels]
        shown = batch.showing(torch.cat([batch.image, *more], dim=1)) if more else batch
        output: Output = self.network(shown)
        for c in told:
            output = output._replace(scores=c.scores(output, batch))
        return output


def label(told: Batch | Context, who: str) -> Tensor:
    """The class of each example, (N,). Raises ValueError where there is none."""
    if told.label is None:
        raise ValueError(f"{who} is told a label for every example")
    return told.label
