"""Samples of a generator, and the sheet of them that people look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sweeper.catalog.datasets.store import Store, normalise
from sweeper.game import Context, derive

CHUNK = 500
"""Samples that are drawn, and looked at, at once."""
IMAGES, POINTS = 64, 1000
"""How many samples a sheet shows."""
SIDE, ROOM, GREY = 256, 1.25, 190
"""Of a scatter: its pixels a side, how far it reaches beyond the examples, and their level."""


def labels_like(labels: Tensor | None, n: int, random: torch.Generator) -> Tensor | None:
    """As many labels as are asked for, each class as frequent as in the data; None without any."""
    if labels is None:
        return None
    return labels[torch.randint(len(labels), (n,), generator=random, device=random.device)]


@dataclass(frozen=True)
class Given:
    """What a generator is given to make n samples of: labels, and examples of a store by index,
    whose sources, masks and styles it is shown."""

    labels: Tensor | None = None
    store: Store | None = None
    indices: Tensor | None = None

    def context(self, rows: slice, device: torch.device) -> Context:
        """What it is told of some of the samples."""
        label = None if self.labels is None else self.labels[rows].to(device)
        return Context(
            label,
            mask=self.read("mask", rows, device),
            source=self.read("source", rows, device),
            reference=self.read("style", rows, device),
        )

    def read(self, field: str, rows: slice, device: torch.device) -> Tensor | None:
        """An array of some of the examples, if they have it: images in [-1, 1], masks in [0, 1]."""
        if self.store is None or self.indices is None or field not in self.store.meta.fields:
            return None
        raw = self.store.read(self.indices[rows], field).to(device)
        return raw.float() / 255 if field == "mask" else normalise(raw)


def drawn(generator: nn.Module, z: Tensor, given: Given, seed: int) -> Iterator[Tensor]:
    """A generator's samples of latents (n, size), in evaluation mode, in chunks (≤ 500, *shape).
    Its own noise comes from the seed, and the random state is as before."""
    devices = [z.device] if z.device.type == "cuda" else []
    for i, latents in enumerate(torch.split(z, CHUNK)):
        context = given.context(slice(i * CHUNK, (i + 1) * CHUNK), z.device)
        with torch.no_grad(), torch.random.fork_rng(devices=devices), evaluating(generator):
            torch.manual_seed(derive(seed, i))
            samples: Tensor = generator(latents, context)
        yield samples


def sampled(generator: nn.Module, z: Tensor, given: Given, seed: int) -> Tensor:
    """A generator's samples as ``drawn`` has them, at once: (n, *shape)."""
    return torch.cat(list(drawn(generator, z, given, seed)))


def triptychs(samples: Tensor, given: Given) -> Image.Image:
    """Samples as a sheet; where they were made from images, each beside what it was made from, or
    else its mask, and what it should have become; points among those of the data."""
    if samples.ndim == 2:
        store = given.store
        first = None if store is None else store[torch.arange(min(len(store), POINTS))]
        return scatter(samples, first)
    n, device = len(samples), samples.device
    held = {
        name: given.read(name, slice(0, n), device) for name in ("source", "mask", "style", "image")
    }
    if held["mask"] is not None:
        held["mask"] = 2 * held["mask"].amax(1, keepdim=True) - 1
    if held["source"] is not None:
        held["mask"] = None
    shown = {
        name: x.expand_as(samples)
        for name, x in held.items()
        if x is not None and _alike(x, samples)
    }
    target = [shown.pop("image")] if "image" in shown else []
    if not shown:
        return sheet(samples)
    columns = [*shown.values(), samples, *target]
    return sheet(torch.stack(columns, 1).flatten(0, 1), 4 * len(columns))


def _alike(x: Tensor, samples: Tensor) -> bool:
    """Whether images can stand beside samples: of their size, and of their channels or grey."""
    return x.shape[2:] == samples.shape[2:] and x.shape[1] in (1, samples.shape[1])


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch a network to evaluation and back, module by module."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def sheet(samples: Tensor, columns: int = 8) -> Image.Image:
    """Samples side by side: images enlarged to be seen, points as one scatter."""
    samples = samples.detach().cpu().float()
    if samples.ndim == 2:
        return scatter(samples, None)
    n, channels, height, width = samples.shape
    rows = -(-n // columns)
    page = np.zeros((channels, rows * (height + 1) + 1, columns * (width + 1) + 1), np.uint8)
    for i, image in enumerate(levels(samples).numpy()):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        page[:, top : top + height, left : left + width] = image
    scale = max(1, round(32 / height))
    pixels = page.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels[:, :, :3])


def levels(samples: Tensor) -> Tensor:
    """Images in [-1, 1] as levels from 0 to 255."""
    return ((samples.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def scatter(samples: Tensor, examples: Tensor | None) -> Image.Image:
    """Points of the plane as squares of three pixels, over grey examples, whose extent the picture
    has; without any, that of the samples."""
    extent = ROOM * float((samples if examples is None else examples)[:, :2].abs().max())
    page = np.full((SIDE, SIDE), 255, np.uint8)
    for points, level in ((examples, GREY), (samples, 0)):
        if points is not None:
            x, y = _places(points.detach().cpu().double().numpy(), extent)
            page[SIDE - 1 - y, x] = level
    return Image.fromarray(page)


def _places(points: np.ndarray, extent: float) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that points cover, as columns and rows from below; none of those outside."""
    centres = ((points[:, :2] / extent + 1) / 2 * (SIDE - 1)).round()
    square = np.stack(np.meshgrid((-1, 0, 1), (-1, 0, 1)), -1).reshape(1, 9, 2)
    covered = (centres[:, None] + square).reshape(-1, 2)
    inside = covered[((covered >= 0) & (covered < SIDE)).all(1)].astype(int)
    return inside[:, 0], inside[:, 1]
