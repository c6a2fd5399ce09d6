"""The scale of D's loss."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.game import Player, Trick
from sweeper.registry import Law, LogUniform


@tricks.register(
    paper="isola2017",
    warns={
        Law(
            "scale_invariant",
            "D's optimizer divides the scale out again; search its learning rate instead",
        )
    },
    facts={"stage": 70},
)
class DiscriminatorLossScale(Trick):
    """All of D's loss counts so many times what it is, which slows D down relative to G.

    L_D ← scale · L_D, penalties included; ½ is that of pix2pix, and of CycleGAN. The losses that
    are measured are the scaled ones.
    """

    def __init__(self, *, scale: Annotated[float, Gt(0), LogUniform(0.1, 2)] = 0.5) -> None:
        super().__init__()
        self.scale = scale

    def total(self, player: Player, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        if player is Player.G:
            return terms
        return {name: self.scale * term for name, term in terms.items()}
