"""Convolutions along one line."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor, nn

from sweeper.catalog.families import convolutions
from sweeper.game import Context, Layers
from sweeper.registry import Options


@convolutions.register("asymmetric_conv_1xn", paper="szegedy2016", needs={"convolutions"})
class AsymmetricConv1xn(nn.Module):
    """A convolution of 1xn px, then one of nx1, instead of one of nxn.

    y = V * (H * x) + b, with 2nC² weights for n²C², whatever the kernel elsewhere. (N, inputs, H,
    W) to (N, outputs, H, W). Of the pair, the ``form`` may be the row (1xn) or the column (nx1)
    alone. A convolution of a single pixel, which has no lines, stays as it is.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        layers: Layers,
        bias: bool = True,
        *,
        form: Annotated[Literal["pair", "row", "col"], Options(("pair", "row", "col"))] = "pair",
        n: Annotated[Literal[3, 5, 7], Options((3, 5, 7))] = 3,
    ) -> None:
        super().__init__()
        row, column = (1, n), (n, 1)
        forms: dict[str, list[tuple[int, int]]]
        forms = {"row": [row], "col": [column], "pair": [row, column]}
        lines = forms[form] if kernel > 1 else [(1, 1)]
        made = list[nn.Module]()
        for i, line in enumerate(lines, start=1):
            conv = nn.Conv2d(inputs, outputs, line, padding="same", bias=bias and i == len(lines))
            made.append(layers.weighted(conv))
            inputs = outputs
        self.lines = nn.Sequential(*made)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.lines(x)  # type: ignore[no-any-return]
