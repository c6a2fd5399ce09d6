"""What can be seen in trained networks: attention, activations, what moves D, singular values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sweeper.catalog.blocks.self_attention import Attention
from sweeper.catalog.regularizers.spectral_norm_regularization import matrices
from sweeper.game import Output
from sweeper.trial.networks import own_name
from sweeper.trial.samples import evaluating
from sweeper.trial.summary import is_layer

TALL = 128
"""Pixels that every image is enlarged to, at least."""
CHANNELS = 12
"""Channels of a layer that are shown."""
HEAT = torch.tensor([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]) / 255
"""Colours from cold to hot, as evenly bright as they are spaced."""


class Singular(NamedTuple):
    """The singular values of a layer's weights, a matrix with a row per output channel."""

    layer: str
    rows: int
    columns: int
    largest: float
    median: float
    smallest: float

    @property
    def condition(self) -> float:
        return self.largest / self.smallest if self.smallest > 0 else float("inf")


@contextmanager
def kept(network: nn.Module, wanted: Callable[[str, nn.Module], bool]) -> Iterator[dict[str, Any]]:
    """The input and output of the modules that are wanted, by name, of the pass that is made
    meanwhile, in evaluation mode; in the order in which they were called."""
    seen = dict[str, Any]()

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            seen[name] = (inputs[0], output)

        return hook

    handles = [
        module.register_forward_hook(note(own_name(name)))
        for name, module in network.named_modules()
        if wanted(own_name(name), module)
    ]
    try:
        with evaluating(network):
            yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def attention(
    network: nn.Module, play: Callable[[], object], points: Sequence[tuple[float, float]]
) -> dict[str, Tensor]:
    """Of every self-attention in a network, what it looks at from each of some points, given as
    shares of width and height: (N, points, H, W), each of which sums to 1."""
    with kept(network, lambda name, module: isinstance(module, Attention)) as seen:
        play()
        blocks = {own_name(name): m for name, m in network.named_modules()}
        return {name: looked(blocks[name], x, points) for name, (x, _) in seen.items()}


def looked(block: Any, x: Tensor, points: Sequence[tuple[float, float]]) -> Tensor:
    """The rows of an attention that belong to some points."""
    height, width = x.shape[-2:]
    rows = [
        min(int(y * height), height - 1) * width + min(int(x * width), width - 1) for x, y in points
    ]
    found: Tensor = block.attention(x)[:, rows]
    return found.reshape(len(x), len(points), height, width)


@torch.no_grad()
def features(network: nn.Module, play: Callable[[], object], pattern: str) -> dict[str, Tensor]:
    """The activations (N, C, H, W) of layers whose names match a pattern; where it is empty, of the
    last layer of every size."""

    def wanted(name: str, module: nn.Module) -> bool:
        return is_layer(name, module) and fnmatchcase(name, pattern or "*")

    with kept(network, wanted) as seen:
        play()
    maps = {
        name: y
        for name, (_, y) in seen.items()
        if isinstance(y, Tensor) and y.ndim == 4 and y.shape[-1] > 1
    }
    if pattern:
        return maps
    last = {y.shape[-1]: name for name, y in maps.items()}
    return {name: maps[name] for name in last.values()}


def grad_cam(discriminator: nn.Module, play: Callable[[], Output]) -> Tensor | None:
    """Where in an image D finds what raises its score: Σ_c α_c A_c, of which what lowers it is left
    out, α_c = mean ∂D/∂A_c, over D's last hidden activations A that have more than one pixel. (N,
    H, W), or None if it has none. (Selvaraju et al. 2017)"""
    with evaluating(discriminator):
        output = play()
    spatial = [f for f in output.features if f.ndim == 4 and f.shape[-1] > 1]
    if not spatial:
        return None
    score = output.scores.reshape(len(output.scores), -1).mean(1).sum()
    (slope,) = torch.autograd.grad(score, spatial[-1])
    return (slope.mean((2, 3), keepdim=True) * spatial[-1]).sum(1).relu().detach()


@torch.no_grad()
def singular_values(network: nn.Module) -> Iterator[Singular]:
    """Of every linear or convolutional layer, as its constraint leaves the weights."""
    with evaluating(network):
        for name, module in network.named_modules():
            if "parametrizations" not in name.split(".") and hasattr(module, "weight"):
                for weight in matrices(nn.ModuleList([module]))[:1]:
                    values = torch.linalg.svdvals(weight.double())
                    rows, columns = weight.shape
                    ends = values[0].item(), values.median().item(), values[-1].item()
                    yield Singular(own_name(name), rows, columns, *ends)


def enlarged(x: Tensor, mode: str = "nearest") -> Tensor:
    """Images (N, C, H, W) of at least so many pixels that they can be seen."""
    scale = max(1, -(-TALL // x.shape[-2]))
    return interpolate(x, scale_factor=scale, mode=mode)


def colour(images: Tensor) -> Tensor:
    """Images in [-1, 1] as levels of three channels in [0, 1]; others, of odd channels, as grey."""
    levels = ((images.float() + 1) / 2).clamp(0, 1)
    return levels[:, :3] if levels.shape[1] >= 3 else levels[:, :1].expand(-1, 3, -1, -1)


def heat(maps: Tensor) -> Tensor:
    """Maps (N, H, W) as colours (N, 3, H, W), each from its own lowest, dark, to its highest."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    place = (maps - low) / (high - low).clamp(min=1e-12) * (len(HEAT) - 1)
    below = place.long().clamp(max=len(HEAT) - 2)
    share = (place - below)[..., None]
    return (HEAT[below] * (1 - share) + HEAT[below + 1] * share).permute(0, 3, 1, 2)


def beside(images: Tensor, maps: Tensor) -> Tensor:
    """Images (N, 3, H, W) under maps (N, h, w), half of each."""
    large = interpolate(maps[:, None], images.shape[-2:], mode="bilinear")[:, 0]
    return images / 2 + heat(large) / 2


def marked(images: Tensor, point: tuple[float, float]) -> Tensor:
    """Enlarged images with a red square at a point."""
    images = images.clone()
    height, width = images.shape[-2:]
    x, y = int(point[0] * width), int(point[1] * height)
    arm = max(2, height // 40)
    dot = torch.tensor([1.0, 0.1, 0.1])[:, None, None]
    images[:, :, max(y - arm, 0) : y + arm, max(x - arm, 0) : x + arm] = dot
    return images


def page(rows: Sequence[Sequence[Tensor]]) -> Image.Image:
    """Rows of images (3, H, W), all of one size, as one picture."""
    gap = 4
    height, width = rows[0][0].shape[-2:]
    columns = max(map(len, rows))
    canvas = np.full((len(rows) * (height + gap) + gap, columns * (width + gap) + gap, 3), 255)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + gap) + gap, j * (width + gap) + gap
            pixels = (image.clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy()
            canvas[top : top + height, left : left + width] = pixels
    return Image.fromarray(canvas.astype(np.uint8))


def attention_page(
    images: Tensor, maps: Tensor, points: Sequence[tuple[float, float]]
) -> Image.Image:
    """A row for each image (N, 3, H, W): for each point, the image where it is marked, and what is
    looked at from there, (N, points, h, w)."""
    large = enlarged(images)
    pairs = [(marked(large, point), beside(large, maps[:, k])) for k, point in enumerate(points)]
    return page([[x[i] for pair in pairs for x in pair] for i in range(len(images))])


def feature_page(images: Tensor, maps: Tensor) -> Image.Image:
    """A row for each image: the image, then the first channels of a layer, each by itself from dark
    to bright."""
    large = enlarged(images)
    size = large.shape[-2:]
    rows = []
    for image, channels in zip(large, maps[:, :CHANNELS], strict=True):
        shown = interpolate(heat(channels.float()), size, mode="nearest")
        rows.append([image, *shown])
    return page(rows)


def cam_page(images: Tensor, maps: Tensor) -> Image.Image:
    """A column for each image: the image, and below it where D finds what raises its score."""
    large = enlarged(images)
    return page([list(large), list(beside(large, maps))])
