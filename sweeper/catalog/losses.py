"""Losses: what each player pays, given D's scores. All act on raw scores; a sigmoid, where there is
one, is part of the loss. Every mean runs over the examples."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import relu, softplus

from sweeper.catalog.families import losses
from sweeper.game import Loss, Scores
from sweeper.registry import Options, Uniform


@losses.register(paper="goodfellow2014", provides={"targets"})
class NonSaturating(Loss):
    """G maximises log D(G(z)), whose gradient survives a confident D; D tells real from fake."""

    def discriminator(self, scores: Scores) -> Tensor:
        return bce(scores.real, scores.real_targets) + bce(scores.fake, scores.fake_targets)

    def generator(self, scores: Scores) -> Tensor:
        return softplus(-scores.fake).mean()


@losses.register(paper="mao2017", provides={"targets"})
class LeastSquares(Loss):
    """D regresses on a code for real and a code for fake, G on the code it wants D to give.

    L_D = ½ E(r - b)² + ½ E(f - a)², L_G = ½ E(f - c)²; the coding (a, b, c) is (0, 1, 1), or
    (-1, 1, 0), for which G minimises a Pearson χ² divergence. A label target t stands for the code
    a + (b - a) t, so that smoothing the real labels moves b alone.
    """

    def __init__(
        self,
        *,
        coding: Annotated[
            Literal["zero_one", "pearson"], Options(("zero_one", "pearson"))
        ] = "zero_one",
    ) -> None:
        self.fake_code, self.real_code, self.wanted = {
            "zero_one": (0.0, 1.0, 1.0),
            "pearson": (-1.0, 1.0, 0.0),
        }[coding]

    def discriminator(self, scores: Scores) -> Tensor:
        a, b = self.fake_code, self.real_code
        real = (scores.real - (a + (b - a) * scores.real_targets)).square().mean() / 2
        fake = (scores.fake - (a + (b - a) * scores.fake_targets)).square().mean() / 2
        return real + fake

    def generator(self, scores: Scores) -> Tensor:
        return (scores.fake - self.wanted).square().mean() / 2


@losses.register(paper="arjovsky2017", needs={"lipschitz"})
class Wasserstein(Loss):
    """The difference of mean scores, which is the earth mover's distance once D is 1-Lipschitz."""

    def discriminator(self, scores: Scores) -> Tensor:
        return scores.fake.mean() - scores.real.mean()

    def generator(self, scores: Scores) -> Tensor:
        return -scores.fake.mean()


@losses.register(paper="lim2017")
class Hinge(Loss):
    """D keeps real scores above the margin and fakes below its negative; G raises its scores."""

    def __init__(self, *, margin: Annotated[float, Gt(0), Uniform(0.5, 2.0)] = 1.0) -> None:
        self.margin = margin

    def discriminator(self, scores: Scores) -> Tensor:
        return relu(self.margin - scores.real).mean() + relu(self.margin + scores.fake).mean()

    def generator(self, scores: Scores) -> Tensor:
        return -scores.fake.mean()
