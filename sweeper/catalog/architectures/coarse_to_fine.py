"""A blurred image first, then a sharp one of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor, nn

from sweeper.catalog.architectures.patches import Patch
from sweeper.catalog.architectures.pix2pix import Pix2pix
from sweeper.catalog.architectures.stages import Staged, refining
from sweeper.catalog.families import architectures
from sweeper.game import Architecture, Batch, Known, Part, Progress
from sweeper.registry import Law, Options


@architectures.register(
    paper="yu2018",
    needs={Law("reconstruction", "the coarse network has no D, and learns from nothing else")},
    provides={"feature_maps", "convolutions"},
    conflicts={Law("classes", "the first generator has no D that would name classes")},
)
class CoarseToFine(Architecture):
    """One network learns a blurred image by its distance to the target, another refines it.

    The pair "coarse" has no discriminator: what it learns from are the terms that know a target,
    such as reconstruction_loss. The pair "main" is given the coarse image before the source, and
    learns from its D and from the same terms. With ``detach``, nothing that "main" learns flows
    back into the coarse network; otherwise its gradient, the adversarial one too, does. For a share
    of the horizon, the ``warmup``, the coarse network trains alone, and D does not change. They are
    judged together.

    Both generators are the U-Nets of pix2pix, the coarse one half as wide and without dropout, and
    D is its PatchGAN; ``channels``, ``dropout`` and ``patch`` are as there.

    Raises ValueError where the data has neither sources nor masks, and for sides that are no
    multiples of 4.
    """

    def __init__(
        self,
        *,
        channels: Annotated[int, Ge(2), Options((8, 16, 32))] = 16,
        detach: Annotated[bool, Options((True, False))] = True,
        warmup: Annotated[float, Ge(0), Lt(1), Options((0.0, 0.1, 0.3))] = 0.0,
        dropout: Annotated[float, Ge(0), Lt(1), Options((0.0, 0.5))] = 0.0,
        patch: Patch = 70,
    ) -> None:
        self.detach, self.warmup = detach, warmup
        self.coarse = Pix2pix(channels=channels // 2, dropout=0.0, patch=patch)
        self.fine = Pix2pix(channels=channels, dropout=dropout, patch=patch)

    def parts(self, shape: Sequence[int], known: Known) -> Mapping[str, Part]:
        refined = known._replace(source=shape[0] + known.source)
        return {
            "main": Part(self.fine, tuple(shape), refined),
            "coarse": Part(self.coarse, tuple(shape), known, judged=False),
        }

    def playing(self, progress: Progress) -> Collection[str] | None:
        return {"coarse"} if progress.fraction < self.warmup else None

    def view(
        self, pair: str, real: Batch, made: Callable[[str], Tensor], progress: Progress
    ) -> Batch:
        if pair == "coarse":
            return real
        image = made("coarse")
        return refining(real, image.detach() if self.detach else image, 1)

    def whole(self, generators: Mapping[str, nn.Module]) -> nn.Module:
        return Staged(generators["coarse"], generators["main"], 1)
