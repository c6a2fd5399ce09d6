"""LeCam regularization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.game import Player, Regularizer, Turn
from sweeper.registry import LogUniform, Options


@regularizers.register(paper="tseng2021", facts={"on": "discriminator"})
class Lecam(Regularizer):
    """Scores of real examples are pulled to the mean score of fakes, and the other way round.

    weight · (E(D(x) - α_F)² + E(D(G(z)) - α_R)²), of raw scores and without a ½, where α_R and α_F
    are exponential moving averages of D's mean scores of real examples and of fakes up to the move
    before, corrected for their start as Adam's are: with the Wasserstein loss, a LeCam divergence
    is minimised. The decay is that of the authors' code; the paper's weights are 0.1 to 0.5.
    """

    average: Tensor
    known: Tensor

    def __init__(
        self,
        *,
        weight: Annotated[float, Gt(0), LogUniform(0.01, 1.0)] = 0.3,
        decay: Annotated[float, Gt(0), Lt(1), Options((0.9, 0.99, 0.999))] = 0.99,
    ) -> None:
        super().__init__()
        self.weight, self.decay = weight, decay
        self.register_buffer("average", torch.zeros(2))
        self.register_buffer("known", torch.zeros(()))

    def forward(self, turn: Turn) -> Tensor:
        started = self.known.clamp(min=1 - self.decay)
        real, fake = (self.average / started).unbind()
        scores = turn.scores
        return self.weight * (
            (scores.real - fake).square().mean() + (scores.fake - real).square().mean()
        )

    @torch.no_grad()
    def observe(self, turn: Turn) -> None:
        if turn.player is Player.G:
            return
        means = torch.stack([turn.scores.real.mean(), turn.scores.fake.mean()])
        means = turn.progress.ranks.mean(means.to(self.average.dtype))
        self.average.lerp_(means, 1 - self.decay)
        self.known.lerp_(torch.ones_like(self.known), 1 - self.decay)
