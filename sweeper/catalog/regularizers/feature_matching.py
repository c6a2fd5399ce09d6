"""Feature matching."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from sweeper.catalog.families import regularizers
from sweeper.game import Player, Regularizer, Summary, Turn
from sweeper.registry import Integers, Law, LogUniform, Options


@regularizers.register(
    paper="salimans2016",
    provides={"content", Law("batch_coupled", when="form == mean_l2")},
    conflicts={Law("pool", "fakes from the pool are not of the latents at hand")},
    warns={
        Law(
            "adversarial_weight",
            "in replace mode, there is no adversarial term to weigh",
            when="mode == replace",
        )
    },
    facts={"on": "generator", "told": (Law("pair", when="form == layer_l1"),)},
)
class FeatureMatching(Regularizer):
    """G is paid for fakes that excite D's hidden layers as real examples do.

    mean_l2: weight · ‖E f(x) - E f(G(z))‖², where f are the activations of one hidden layer of D,
    the ``layer``-th before the last, flattened, and the means run over the batch. layer_l1, of Wang
    et al. 2018 for pairs of an example and its fake: weight · Σₗ mean|fₗ(x) - fₗ(x̂)| over all
    hidden layers, and all scales, of D. The real side is a constant. The term stands beside the
    adversarial one (add), or in its place, as in the paper (replace), in the moves in which it is
    due.
    """

    def __init__(
        self,
        *,
        weight: Annotated[float, Gt(0), LogUniform(0.1, 50)] = 1.0,
        form: Annotated[
            Literal["mean_l2", "layer_l1"], Options(("mean_l2", "layer_l1"))
        ] = "mean_l2",
        mode: Annotated[Literal["add", "replace"], Options(("add", "replace"))] = "add",
        layer: Annotated[int, Ge(0), Integers(0, 2)] = 0,
    ) -> None:
        super().__init__()
        self.weight, self.form, self.mode, self.layer = weight, form, mode, layer
        self.depth = 0

    def hidden(self, player: Player, channels: int, depth: int) -> nn.Module | None:
        if player is Player.D:
            self.depth = depth + 1
        return None

    def summary(self, shape: tuple[int, ...]) -> Summary | None:
        if self.form == "mean_l2" and self.layer >= self.depth:
            raise ValueError(
                f"layer of feature_matching counts back from the last hidden layer of D, which has "
                f"{self.depth}, but got {self.layer}"
            )
        return None

    def forward(self, turn: Turn) -> Tensor:
        with torch.no_grad():
            real = turn.scores.real_output.features
        fake = turn.scores.fake_output.features
        if self.form == "layer_l1":
            return (
                self.weight
                * torch.stack(
                    [(x.detach() - y).abs().float().mean() for x, y in zip(real, fake, strict=True)]
                ).sum()
            )
        mean = turn.progress.ranks.mean
        x, y = (mean(features[-1 - self.layer].float().mean(0)) for features in (real, fake))
        return self.weight * (x.detach() - y).square().sum()

    def total(self, player: Player, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        if player is Player.D or self.mode == "add" or "feature_matching" not in terms:
            return terms
        return {name: term for name, term in terms.items() if name != "adversarial"}
