"""Networks that see a fixed reference in front of every batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sweeper.game import Batch, Context, Known, Output

ARRAYS = {"source": "source", "mask": "mask", "style": "reference"}
"""What a batch holds beside images and labels, and how many channels of it are known."""


class Reference(nn.Module):
    """A batch in buffers, which goes where its network goes: into copies and checkpoints."""

    def __init__(self, n: int, shape: Sequence[int], known: Known, space: Sequence[int]) -> None:
        super().__init__()
        held = {"image": torch.zeros(n, *shape)}
        if known.classes:
            held["label"] = torch.zeros(n, dtype=torch.long)
        for name, what in ARRAYS.items():
            if channels := getattr(known, what):
                held[name] = torch.zeros(n, channels, *space)
        for name, zeros in held.items():
            self.register_buffer(name, zeros)

    def keep(self, batch: Batch) -> None:
        """Take the first examples of a batch, of which everything is known that was said."""
        for name, kept in list(self.named_buffers()):
            assert len(batch) >= len(kept)
            found = cast(Tensor, getattr(batch, name))
            setattr(self, name, found[: len(kept)].detach().clone().to(kept.device))

    @property
    def batch(self) -> Batch:
        return Batch(**dict(self.named_buffers()))


class ReferringGenerator(nn.Module):
    """A generator whose every pass begins with reference latents, of which nothing is returned."""

    def __init__(self, network: nn.Module, reference: Reference) -> None:
        super().__init__()
        self.network, self.reference = network, reference

    def forward(self, z: Tensor, context: Context) -> Tensor:
        given = Batch(z, context.label, context.source, context.mask, context.reference)
        kept = self.reference.batch
        both = kept.beside(given)
        return cast(Tensor, self.network(both.image, both.context))[len(kept) :]


class ReferringDiscriminator(nn.Module):
    """A discriminator that sees real examples of reference before all others, and does not tell
    what it says of them."""

    def __init__(self, network: nn.Module, reference: Reference) -> None:
        super().__init__()
        self.network, self.reference = network, reference

    def forward(self, batch: Batch) -> Output:
        kept = self.reference.batch
        output: Output = self.network(kept.beside(batch))
        return output.cut(len(kept))[1]
