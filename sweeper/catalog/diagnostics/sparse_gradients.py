"""Layers that nothing comes through to."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Lt

from sweeper.catalog.families import diagnostics
from sweeper.registry import Uniform
from sweeper.stream import Stream, Verdict

SHOWN = 3


@diagnostics.register()
def sparse_gradients(
    stream: Stream,
    *,
    share: Annotated[float, Gt(0), Lt(1), Uniform(0.5, 0.99)] = 0.9,
) -> Verdict | None:
    """Warns of layers that nearly nothing comes through to: their gradients are mostly zero.

    More than a share of the latest gradient of a layer's weights is exactly zero, as it is behind
    units of a ReLU that never fire, or behind max pooling.
    """
    layers = stream.measurements[-1].layers
    dead = {name: layer.zero_share for name, layer in layers.items() if layer.zero_share > share}
    if not dead:
        return None
    worst = sorted(dead, key=lambda name: (-dead[name], name))[:SHOWN]
    shown = ", ".join(f"{dead[name]:.0%} of {name}" for name in worst)
    more = f" and of {len(dead) - SHOWN} more" if len(dead) > SHOWN else ""
    return Verdict(
        "warn",
        f"gradients are zero in {shown}{more}: these weights are hardly trained",
        "leaky ReLU, average pooling or strides, or a lower rate",
    )
