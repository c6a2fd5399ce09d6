"""Differentiable augmentation."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from sweeper.catalog.families import tricks
from sweeper.catalog.tricks.augmentation import Draw, colored, cut_out, translated
from sweeper.game import Batch, Progress, Trick
from sweeper.registry import Law, Options

CHANGES = {"color": colored, "translation": translated, "cutout": cut_out}

Policy = Literal[
    "color+translation+cutout",
    "color+translation",
    "color+cutout",
    "translation+cutout",
    "color",
    "cutout",
    "translation",
]


@tricks.register(
    paper="zhao2020",
    needs={Law("images", "it moves and recolours pixels")},
    provides={"random_view"},
    facts={"stage": 50},
)
class DiffAugment(Trick):
    """D sees every image, real or fake, through random changes that G's gradient passes through.

    The losses are of D(T(x)) and D(T(G(z))), T drawn anew for each image whenever D looks, in both
    players' moves. T is, in this order, as far as the ``policy`` has it: ``color``, a brightness
    x + u - ½, a saturation 2u and a contrast u + ½, u uniform in [0, 1) each; ``translation`` by
    whole pixels up to an eighth of the sides, zeros coming in; ``cutout`` of a rectangle of half
    the sides, which becomes zero. Images of one channel have no saturation. All strengths are those
    of the authors' code.
    """

    def __init__(
        self, *, policy: Annotated[Policy, Options(get_args(Policy))] = "color+translation+cutout"
    ) -> None:
        super().__init__()
        self.changes = [change for name, change in CHANGES.items() if name in policy.split("+")]

    def images(self, batch: Batch, progress: Progress) -> Batch:
        x = batch.image
        for change in self.changes:
            x = change(x, Draw(x, progress.random["diff_augment"], ranks=progress.ranks))
        return batch.showing(x)
