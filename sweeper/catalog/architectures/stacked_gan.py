"""Two GANs in a row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from sweeper.catalog.architectures.dcgan import Dcgan
from sweeper.catalog.architectures.patches import Patch
from sweeper.catalog.architectures.pix2pix import Pix2pix
from sweeper.catalog.architectures.stages import Staged, refining, shrunk
from sweeper.catalog.families import architectures
from sweeper.game import Architecture, Batch, Known, Part, Progress
from sweeper.registry import Options, Uniform


@architectures.register(
    paper="zhang2017", needs={"images"}, provides={"feature_maps", "convolutions"}
)
class StackedGan(Architecture):
    """One GAN makes a small image, and a second one, with a D of its own, a large one of that.

    The pair "small" makes images of 1/``factor`` of the size: of the latents, with the networks of
    dcgan, or, where the data has sources or masks, of those, shrunk, with the networks of pix2pix.
    Its D sees real images that are means of ``factor`` x ``factor`` px. The pair "main" is given
    that image, enlarged, before the source, and makes one of full size with a U-Net; its D is a
    PatchGAN. They are judged together.

    With ``training: joint`` both train side by side, and the gradient of the second's loss flows
    back into the first. With ``sequential``, the first trains alone for a ``share`` of the horizon,
    and is then never changed again while the second trains. ``channels`` is the width of all four
    networks at their largest size, and ``dropout`` and ``patch`` are as in pix2pix.

    Raises ValueError for sides that do not divide, or of which the small image is too small for its
    networks.
    """

    def __init__(
        self,
        *,
        channels: Annotated[int, Ge(1), Options((8, 16, 32))] = 16,
        factor: Annotated[Literal[2, 4], Options((2, 4))] = 2,
        training: Annotated[
            Literal["joint", "sequential"], Options(("joint", "sequential"))
        ] = "joint",
        share: Annotated[float, Gt(0), Lt(1), Uniform(0.2, 0.6)] = 0.5,
        dropout: Annotated[float, Ge(0), Lt(1), Options((0.0, 0.5))] = 0.0,
        patch: Patch = 70,
    ) -> None:
        self.channels, self.factor, self.training, self.share = channels, factor, training, share
        self.translator = Pix2pix(channels=channels, dropout=dropout, patch=patch)

    def parts(self, shape: Sequence[int], known: Known) -> Mapping[str, Part]:
        channels, height, width = shape
        if height % self.factor or width % self.factor:
            raise ValueError(f"{height}x{width} px do not shrink {self.factor} times")
        small = (channels, height // self.factor, width // self.factor)
        told = known.source or known.mask
        first = self.translator if told else Dcgan(channels=self.channels)
        refined = known._replace(source=channels + known.source)
        return {
            "main": Part(self.translator, tuple(shape), refined),
            "small": Part(first, small, known),
        }

    def playing(self, progress: Progress) -> Collection[str] | None:
        if self.training == "joint":
            return None
        return {"small"} if progress.fraction < self.share else {"main"}

    def view(
        self, pair: str, real: Batch, made: Callable[[str], Tensor], progress: Progress
    ) -> Batch:
        if pair == "small":
            return shrunk(real, self.factor)
        return refining(real, made("small"), self.factor)

    def whole(self, generators: Mapping[str, nn.Module]) -> nn.Module:
        return Staged(generators["small"], generators["main"], self.factor)
