"""Classes as one-hot vectors."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import one_hot

from sweeper.catalog.conditioning.conditioning import Conditioning, label
from sweeper.catalog.families import conditioning
from sweeper.game import Context, Known


@conditioning.register(
    paper="mirza2014", provides={"told_class"}, facts={"told": ("label",), "on": "generator"}
)
class OneHotConcat(Conditioning):
    """G is told the class as a one-hot vector beside its latents."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self.latents = known.classes

    def beside_latents(self, context: Context) -> Tensor:
        told = label(context, f"a generator of {self.latents} classes")
        return one_hot(told, self.latents).float()
