"""Measuring a generator: the score under a fixed protocol, and the sheet of samples people look
at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sweeper.catalog.datasets.store import Store, normalise
from sweeper.catalog.metrics.features import extractor, save_whole
from sweeper.catalog.metrics.frechet import Statistics, frechet_distance, statistics
from sweeper.config import Trial
from sweeper.game import Context, Prior, Streams, derive

Split = Literal["rung", "heldout"]
CHUNK = 500


class Evaluator:
    """Fréchet distance of fakes to half of the real examples, in features that the protocol names.

    The latents are fixed. ``heldout`` uses other latents and the other half: what a choice made on
    the first says is too good is seen there.
    """

    def __init__(
        self,
        trial: Trial,
        store: Store,
        cache: Path,
        device: torch.device,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.settings, self.device = trial.evaluation, device
        self.features = extractor(self.settings.features, store, cache / "features", progress).to(
            device
        )
        self.metric = metric_name(self.settings.features, store)
        self.protocol = {
            "metric": self.metric,
            "features": self.settings.features,
            "weights": self.features.fingerprint(),
            "data": store.meta.digest[:12],
            "shape": list(store.meta.shape),
            "real": len(store) // 2,
            "fake": self.settings.samples,
            "split": "two halves by seed: rung, heldout",
            "resize": "none" if max(store.meta.shape) <= 32 else "bilinear 32, antialiased",
            "generator": "as the tricks show it, in evaluation mode",
            "seed": self.settings.seed,
        }
        self.reference = self._reference(store, cache / "references")

    @property
    def protocol_hash(self) -> str:
        return hashlib.sha256(json.dumps(self.protocol, sort_keys=True).encode()).hexdigest()[:12]

    def score(self, generator: nn.Module, prior: Prior, split: Split = "rung") -> float:
        """The distance of a generator's samples from the split's reference; NaN if a sample is not
        finite."""
        fakes = self.sample(generator, prior, self.settings.samples, split)
        features = torch.cat([self.features(chunk) for chunk in torch.split(fakes, CHUNK)])
        if not features.isfinite().all():
            return float("nan")
        return frechet_distance(self.reference[split], statistics(features.cpu()))

    @torch.no_grad()
    def sample(self, generator: nn.Module, prior: Prior, n: int, purpose: str) -> Tensor:
        """Samples from latents fixed by the protocol's seed and a purpose: (n, *shape), on the
        device."""
        z = prior(n, Streams(derive(self.settings.seed, "evaluation"))[purpose]).to(self.device)
        with evaluating(generator):
            return torch.cat([generator(chunk, Context()) for chunk in torch.split(z, CHUNK)])

    @torch.no_grad()
    def _reference(self, store: Store, folder: Path) -> dict[str, Statistics]:
        path = folder / f"{self.protocol_hash}.pt"
        if path.exists():
            kept = torch.load(path, weights_only=True)
            return {split: Statistics(*values) for split, values in kept.items()}
        random = torch.Generator().manual_seed(derive(self.settings.seed, "halves"))
        shuffled = torch.randperm(len(store), generator=random)
        halves = torch.split(shuffled, (len(store) + 1) // 2)
        reference = {}
        for split, indices in zip(("rung", "heldout"), halves, strict=True):
            chunks = [
                self.features(normalise(store[part].to(self.device)))
                for part in torch.split(indices, CHUNK)
            ]
            reference[split] = statistics(torch.cat(chunks).cpu())
        save_whole({split: tuple(values) for split, values in reference.items()}, path)
        return reference


def metric_name(features: str, store: Store) -> str:
    """``fid_digits`` is the Fréchet distance in the features of a classifier of digits: never to be
    taken for FID."""
    return f"fid_{store.meta.name}" if features == "classifier" else f"fid_random_{store.meta.name}"


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
        return _scatter(samples.numpy())
    levels = ((samples.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    n, channels, height, width = levels.shape
    rows = -(-n // columns)
    page = np.zeros((channels, rows * (height + 1) + 1, columns * (width + 1) + 1), np.uint8)
    for i, image in enumerate(levels):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        page[:, top : top + height, left : left + width] = image
    scale = max(1, round(32 / height))
    pixels = page.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels[:, :, :3])


def _scatter(points: np.ndarray, side: int = 256, extent: float = 1.6) -> Image.Image:
    places = ((points[:, :2] / extent + 1) / 2 * (side - 1)).round()
    inside = places[((places >= 0) & (places < side)).all(1)].astype(int)
    page = np.full((side, side), 255, np.uint8)
    page[side - 1 - inside[:, 1], inside[:, 0]] = 0
    return Image.fromarray(page)
