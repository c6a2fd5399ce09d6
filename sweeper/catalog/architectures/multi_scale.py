"""A discriminator at every one of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from sweeper.game import Batch, Output

SMALLEST = 8
"""The fewest pixels that a discriminator is to look at."""


def average(x: Tensor) -> Tensor:
    """Means of 3x3 px, those beyond the rim left out."""
    return avg_pool2d(x, 3, 2, 1, count_include_pad=False)


def largest(x: Tensor) -> Tensor:
    return max_pool2d(x, 2)


def between(x: Tensor) -> Tensor:
    """Halved along lines: the new pixels lie between four old ones, whose mean they are."""
    return avg_pool2d(x, 2)


PYRAMIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": average,
    "max": largest,
    "bilinear": between,
}
"""How an image (N, C, H, W) becomes one of half the size."""


def sizes(shape: Sequence[int], scales: int) -> list[tuple[int, ...]]:
    """The shapes that discriminators at so many scales are shown, of images of a shape. Raises
    ValueError unless they are images whose smallest is large enough."""
    if len(shape) != 3:
        raise ValueError(f"scales are sizes of images, but got examples of shape {tuple(shape)}")
    found = [(shape[0], *(side >> k for side in shape[1:])) for k in range(scales)]
    smallest = min(found[-1][1:])
    if smallest < SMALLEST or any(side % (1 << (scales - 1)) for side in shape[1:]):
        raise ValueError(
            f"images halve to {SMALLEST} px or more at the last of the scales, but {scales} of "
            f"{shape[1]}x{shape[2]} px end at {smallest}"
        )
    return found


class MultiScale(nn.Module):
    """Discriminators of the same structure, the first of which sees images, and each of the others
    those of half the size before it (Wang et al. 2018).

    Scores are (N, P), in which every scale counts equally: a map with fewer patches than the
    largest is repeated. Features are those of all scales, from the largest on; logits of classes
    are their mean.
    """

    def __init__(self, networks: Sequence[nn.Module], pyramid: str) -> None:
        super().__init__()
        self.scales = nn.ModuleList(networks)
        self.shrunk = PYRAMIDS[pyramid]
        self.width = networks[-1].width

    def forward(self, batch: Batch) -> Output:
        outputs = list[Output]()
        for k, network in enumerate(self.scales):
            batch = batch.showing(self.shrunk(batch.image)) if k else batch
            outputs.append(network(batch))
        classes = [o.classes for o in outputs if o.classes is not None]
        return Output(
            side_by_side([o.scores.reshape(len(batch), -1) for o in outputs]),
            tuple(feature for o in outputs for feature in o.features),
            torch.stack(classes).mean(0) if classes else None,
        )


def side_by_side(maps: Sequence[Tensor]) -> Tensor:
    """Scores of several scales, (N, P) each, as one (N, P · scales). Each patch of a smaller map is
    repeated as often as any other of it, or once more where the numbers do not divide."""
    most = max(m.shape[1] for m in maps)
    spread = [
        m if m.shape[1] == most else m[:, torch.arange(most, device=m.device) * m.shape[1] // most]
        for m in maps
    ]
    return torch.cat(spread, dim=1)
