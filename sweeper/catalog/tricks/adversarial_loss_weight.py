"""The weight of the adversarial term in G's loss."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.game import Coupled, Player, Trick
from sweeper.registry import Law, LogUniform, Options

KEPT = 0.99
EPS = 1e-8


@tricks.register(
    paper="isola2017",
    needs={Law("content", "there is nothing else to balance it against", when="automatic")},
    provides={"adversarial_weight"},
    warns={
        Law(
            "generator.scale_invariant",
            "with nothing beside it, G's optimizer divides the weight out again",
            when="automatic == 0",
            unless="content",
        )
    },
    facts={"stage": 70},
)
class AdversarialLossWeight(Coupled, Trick):
    """The adversarial term counts less, or more, beside the other terms of G's loss.

    L_G = L_content + λ · L_adv. λ is ``weight``; or, ``automatic``, λ = weight · |L_content| /
    (|L_adv| + 1e-8), so that the adversarial term is ``weight`` times as large as all others
    together. No gradient flows through λ. Both sizes are exponential means that keep 0.99 of
    themselves in a move, and plain ones of what there is at first; terms that are not due in a move
    count 0 there, as they are scaled up in others. The means, not λ, are smoothed, since an
    adversarial term of either sign passes through 0. Smoothing and default are ours.
    """

    moves: Tensor
    content: Tensor
    adversarial: Tensor

    def __init__(
        self,
        *,
        weight: Annotated[float, Gt(0), LogUniform(1e-3, 10)] = 0.1,
        automatic: Annotated[bool, Options((False, True))] = False,
    ) -> None:
        super().__init__()
        self.weight, self.automatic = weight, automatic
        for name in ("moves", "content", "adversarial"):
            self.register_buffer(name, torch.zeros(()))

    def total(self, player: Player, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        if player is Player.D or "adversarial" not in terms:
            return terms
        share = self.weight * self.ratio(terms) if self.automatic else self.weight
        return terms | {"adversarial": share * terms["adversarial"]}

    @torch.no_grad()
    def ratio(self, terms: dict[str, Tensor]) -> Tensor:
        """How large the other terms are, measured by the adversarial one."""
        adversarial = terms["adversarial"].detach()
        content = sum(
            (term.detach() for name, term in terms.items() if name != "adversarial"),
            start=torch.zeros_like(adversarial),
        )
        content, adversarial = self.ranks.mean(torch.stack([content, adversarial]))
        self.moves.add_(1)
        rate = (1 / self.moves).clamp(min=1 - KEPT)
        self.content.add_(rate * (content.abs() - self.content))
        self.adversarial.add_(rate * (adversarial.abs() - self.adversarial))
        return self.content / (self.adversarial + EPS)
