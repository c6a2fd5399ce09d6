"""Losses: what each player pays, given D's scores. All act on raw scores; a sigmoid, where there is
one, is part of the loss. Every mean runs over the examples, over packs where D is shown packs, and
over all patches of each where it scores patches. In the formulas, r are the scores of real
examples, f those of fakes, and σ is the sigmoid."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import relu, softplus

from sweeper.catalog.families import losses
from sweeper.game import Loss, Scores
from sweeper.registry import Law, Options, Uniform


@losses.register(paper="goodfellow2014", provides={"targets"})
class Minimax(Loss):
    """G minimises the very value that D maximises, and learns little from a D that is sure of it.

    L_D = -E log σ(r) - E log(1 - σ(f)), L_G = E log(1 - σ(f)), of which the slope is -σ(f): it
    vanishes where D tells the fakes. A label target t makes of D's terms cross entropies with t.
    """

    equilibrium = 2 * math.log(2)

    def discriminator(self, scores: Scores) -> Tensor:
        return bce(scores.real, scores.real_targets) + bce(scores.fake, scores.fake_targets)

    def generator(self, scores: Scores) -> Tensor:
        return -softplus(scores.fake).mean()

    def beliefs(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return real.sigmoid(), fake.sigmoid()


@losses.register(paper="goodfellow2014", provides={"targets"})
class NonSaturating(Minimax):
    """G maximises log D(G(z)), whose gradient survives a confident D; D tells real from fake.

    L_D is that of ``minimax``; L_G = -E log σ(f), of which the slope is σ(f) - 1.
    """

    def generator(self, scores: Scores) -> Tensor:
        return bce(scores.fake, torch.ones_like(scores.fake))


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
        self.equilibrium = (self.real_code - self.fake_code) ** 2 / 4

    def discriminator(self, scores: Scores) -> Tensor:
        a, b = self.fake_code, self.real_code
        real = (scores.real - (a + (b - a) * scores.real_targets)).square().mean() / 2
        fake = (scores.fake - (a + (b - a) * scores.fake_targets)).square().mean() / 2
        return real + fake

    def generator(self, scores: Scores) -> Tensor:
        return (scores.fake - self.wanted).square().mean() / 2


@losses.register(
    paper="arjovsky2017",
    needs={Law("lipschitz", "without a bound on D's slope this loss has none either")},
    provides={"critic"},
)
class Wasserstein(Loss):
    """The difference of mean scores, which is the earth mover's distance once D is 1-Lipschitz.

    L_D = E f - E r, L_G = -E f; -L_D estimates the distance, up to D's Lipschitz constant. A
    ``drift`` δ adds δ E r² to L_D, so that scores stay near 0 (Karras et al. 2018, with 0.001).
    """

    critic = True

    def __init__(
        self, *, drift: Annotated[float, Ge(0), Options((0.0, 1e-4, 1e-3, 1e-2))] = 0.0
    ) -> None:
        self.drift = drift

    def discriminator(self, scores: Scores) -> Tensor:
        difference = scores.fake.mean() - scores.real.mean()
        if self.drift == 0:
            return difference
        return difference + self.drift * scores.real.square().mean()

    def generator(self, scores: Scores) -> Tensor:
        return -scores.fake.mean()


@losses.register(paper="lim2017")
class Hinge(Loss):
    """D keeps real scores above the margin and fakes below its negative; G raises its scores.

    L_D = E max(0, margin - r) + E max(0, margin + f), L_G = -E f.
    """

    def __init__(self, *, margin: Annotated[float, Gt(0), Uniform(0.5, 2.0)] = 1.0) -> None:
        self.margin = margin
        self.equilibrium = 2 * margin

    def discriminator(self, scores: Scores) -> Tensor:
        return relu(self.margin - scores.real).mean() + relu(self.margin + scores.fake).mean()

    def generator(self, scores: Scores) -> Tensor:
        return -scores.fake.mean()


Base = Annotated[
    Literal["standard", "least_squares", "hinge"], Options(("standard", "least_squares", "hinge"))
]
PAID: dict[str, Callable[[Tensor], Tensor]] = {
    "standard": lambda lead: softplus(-lead),
    "least_squares": lambda lead: (lead - 1).square(),
    "hinge": lambda lead: relu(1 - lead),
}


class OfDifferences(Loss):
    """A loss of differences of scores alone: ``pays`` is what one costs who wants it large, ``per``
    how many are summed."""

    def __init__(self, base: str, per: float = 1.0) -> None:
        self.base, self.pays = base, PAID[base]
        self.equilibrium = per * (math.log(2) if base == "standard" else 1.0)

    def beliefs(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor] | None:
        if self.base != "standard":
            return None
        mean = self.ranks.mean
        return (real - mean(fake.mean())).sigmoid(), (fake - mean(real.mean())).sigmoid()


@losses.register(paper="jolicoeur2019", provides={"relativistic"})
class Relativistic(OfDifferences):
    """D scores each real example above the fake it is paired with; G the other way round.

    L_D = E g(r - f), L_G = E g(f - r) over the pairs, which are the rows of the two batches and,
    where D scores patches, the places in them; g(t) is -log σ(t) (standard), (t - 1)²
    (least_squares) or max(0, 1 - t) (hinge). Without any g, a Wasserstein base, it would be
    ``wasserstein``, a difference of means already: there is none.
    """

    def __init__(self, *, base: Base = "standard") -> None:
        super().__init__(base)

    def discriminator(self, scores: Scores) -> Tensor:
        return self.pays(scores.real - scores.fake).mean()

    def generator(self, scores: Scores) -> Tensor:
        return self.pays(scores.fake - scores.real).mean()


@losses.register(paper="jolicoeur2019", provides={"relativistic", "batch_coupled"})
class RelativisticAverage(OfDifferences):
    """D scores real examples above the mean fake and fakes below the mean real; G the reverse.

    L_D = E g(r - E f) + E g(E r - f), L_G = E g(f - E r) + E g(E f - r), where g is that of
    ``relativistic``; ``half`` takes half of each, as the authors' code does.
    """

    def __init__(
        self, *, base: Base = "standard", half: Annotated[bool, Options((False, True))] = False
    ) -> None:
        self.share = 0.5 if half else 1.0
        super().__init__(base, per=2 * self.share)

    def discriminator(self, scores: Scores) -> Tensor:
        return self.share * self.between(scores.real, scores.fake)

    def generator(self, scores: Scores) -> Tensor:
        return self.share * self.between(scores.fake, scores.real)

    def between(self, above: Tensor, below: Tensor) -> Tensor:
        """What is paid by who wants some scores above others."""
        mean = self.ranks.mean
        above_all, below_all = mean(above.mean()), mean(below.mean())
        return self.pays(above - below_all).mean() + self.pays(above_all - below).mean()
