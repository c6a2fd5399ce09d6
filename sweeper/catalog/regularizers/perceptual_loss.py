"""The distance of a fake from its target as a classifier sees them."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.perception import Looking, Network, Perceiving, Sight
from sweeper.catalog.regularizers.reconstruction_loss import UNPAIRED
from sweeper.game import Turn
from sweeper.registry import Law, LogUniform, Options

JUDGED = Law(
    "judged_by_classifier",
    "fakes are trained on the features that they are judged in, so that the score says less",
    when="network == classifier",
)


@regularizers.register(
    paper="johnson2016",
    needs={Law("images", "it looks through convolutions")},
    provides={"content", "reconstruction"},
    conflicts={UNPAIRED},
    warns={JUDGED},
    facts={"on": "generator", "told": ("pair",)},
)
class PerceptualLoss(Perceiving):
    """G is paid for fakes in which a frozen network sees what it sees in the target.

    weight · Σₗ wₗ · mean|φₗ(x̂) - φₗ(x)|ᵖ, the means over examples, channels and places, where φₗ
    are the activations (N, Cₗ, Hₗ, Wₗ) of some ``layers`` of a ``network``, which is frozen, in
    evaluation mode and in float32, x̂ is G's own new fake, and x its target, a constant. p = 2 is
    Johnson's, who divides by Cₗ · Hₗ · Wₗ, too; p = 1 is pix2pixHD's.

    The network is ``random_conv``, three convolutions with fixed random weights; ``classifier``,
    the one that was trained on the labels of the data; or one of torchvision's, with ``weights``
    from a file, whose hash is told at the start. Images are mapped from the range of the networks
    to theirs. ``layers`` names layers and the wₗ of each, as in {relu1_1: 0.5, relu2_1: 1}:
    ``relu2_1`` is the first rectified layer after the first pooling; where there are none, those
    of the network's own paper. Raises ValueError for a network without its weights, and for
    layers that it does not have or that need larger images.
    """

    def __init__(
        self,
        sight: Sight,
        *,
        weight: Annotated[float, Gt(0), LogUniform(0.01, 100)] = 1.0,
        network: Annotated[Network, Options(("random_conv", "classifier"))] = "random_conv",
        weights: str | None = None,
        layers: dict[str, Annotated[float, Gt(0)]] | None = None,
        p: Annotated[Literal[1, 2], Options((1, 2))] = 1,
    ) -> None:
        super().__init__(sight, Looking(network, weights, layers))
        self.weight, self.p = weight, p

    def forward(self, turn: Turn) -> Tensor:
        return self.weight * self.differences(turn.fake.image, turn.real.image, self.apart)

    def apart(self, x: Tensor, y: Tensor) -> Tensor:
        """mean|x - y|ᵖ of activations."""
        return (x - y).abs().pow(self.p).mean()
