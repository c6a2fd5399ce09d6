"""Measuring a generator: the score under a fixed protocol, and the sheet of samples people look
at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sweeper.catalog.datasets.store import Store, normalise
from sweeper.catalog.metrics.features import extractor, save_whole
from sweeper.catalog.metrics.frechet import Statistics, frechet_distance, statistics
from sweeper.config import Trial
from sweeper.game import Context, Prior, Streams, derive
from sweeper.stream import Variety

Split = Literal["rung", "heldout"]
CHUNK = 500
NEIGHBOURS = 256
"""Samples whose distances from each other are taken."""


class Spread(NamedTuple):
    """How varied some examples are: the mean distance of two, the mean deviation of a feature, and
    the share of each class (empty without classes)."""

    distance: Tensor
    deviation: Tensor
    shares: Tensor


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
        self.classes = store.meta.classes if self.settings.features == "classifier" else 0
        self.labels = store.labels
        self.reference, self.spread = self._reference(store, cache / "references")

    @property
    def protocol_hash(self) -> str:
        return hashlib.sha256(json.dumps(self.protocol, sort_keys=True).encode()).hexdigest()[:12]

    def score(self, generator: nn.Module, prior: Prior, split: Split = "rung") -> float:
        """The distance of a generator's samples from the split's reference; NaN if a sample is not
        finite."""
        features = self._features(generator, prior, split)
        if not features.isfinite().all():
            return float("nan")
        return frechet_distance(self.reference[split], statistics(features.cpu()))

    def judge(self, generator: nn.Module, prior: Prior) -> tuple[float, Variety | None]:
        """The score, and how varied the samples are beside real ones; NaN and None if a sample is
        not finite."""
        features = self._features(generator, prior, "rung")
        if not features.isfinite().all():
            return float("nan"), None
        score = frechet_distance(self.reference["rung"], statistics(features.cpu()))
        return score, variety(self._spread(features), self.spread)

    def _features(self, generator: nn.Module, prior: Prior, split: Split) -> Tensor:
        fakes = self.sample(generator, prior, self.settings.samples, split)
        return torch.cat([self.features(chunk) for chunk in torch.split(fakes, CHUNK)])

    def _spread(self, features: Tensor) -> Spread:
        shares = torch.zeros(0)
        if self.classes:
            votes = self.features.head(features).argmax(1)
            shares = torch.bincount(votes, minlength=self.classes).cpu() / len(votes)
        some = features[:NEIGHBOURS].double()
        return Spread(torch.pdist(some).mean().cpu(), some.std(0).mean().cpu(), shares)

    @torch.no_grad()
    def sample(self, generator: nn.Module, prior: Prior, n: int, purpose: str) -> Tensor:
        """Samples from latents, labels, and noise inside of the generator, fixed by the protocol's
        seed and a purpose: (n, *shape), on the device."""
        seed = derive(self.settings.seed, "evaluation")
        random = Streams(seed)
        z = prior.shown(n, random[purpose]).to(self.device)
        label = labels_like(self.labels, n, random[f"{purpose} labels"])
        return sampled(generator, z, label, derive(seed, purpose))

    @torch.no_grad()
    def _reference(self, store: Store, folder: Path) -> tuple[dict[str, Statistics], Spread]:
        path = folder / f"{self.protocol_hash}.pt"
        if path.exists():
            kept = torch.load(path, weights_only=True)
            halves = {split: Statistics(*values) for split, values in kept["halves"].items()}
            return halves, Spread(*kept["spread"])
        random = torch.Generator().manual_seed(derive(self.settings.seed, "halves"))
        shuffled = torch.randperm(len(store), generator=random)
        features = {}
        for split, indices in zip(
            ("rung", "heldout"), torch.split(shuffled, (len(store) + 1) // 2), strict=True
        ):
            chunks = [
                self.features(normalise(store[part].to(self.device)))
                for part in torch.split(indices, CHUNK)
            ]
            features[split] = torch.cat(chunks)
        reference = {split: statistics(found.cpu()) for split, found in features.items()}
        spread = self._spread(features["rung"])
        whole = {split: tuple(values) for split, values in reference.items()}
        save_whole({"halves": whole, "spread": tuple(spread)}, path)
        return reference, spread


def variety(fake: Spread, real: Spread) -> Variety:
    """How varied fakes are, beside real examples."""
    if not len(real.shares):
        return Variety(float(fake.distance / real.distance), float(fake.deviation / real.deviation))
    # Half a sample for every class keeps the divergence finite, whatever is missing.
    p, q = fake.shares + 0.5 / 1000, real.shares + 0.5 / 1000
    p, q = p / p.sum(), q / q.sum()
    return Variety(
        float(fake.distance / real.distance),
        float(fake.deviation / real.deviation),
        float((fake.shares * len(fake.shares) >= 0.1).float().mean()),
        int(fake.shares.argmax()),
        float((p * (p / q).log()).sum()),
    )


def labels_like(labels: Tensor | None, n: int, random: torch.Generator) -> Tensor | None:
    """As many labels as are asked for, each class as frequent as in the data; None without any."""
    if labels is None:
        return None
    return labels[torch.randint(len(labels), (n,), generator=random, device=random.device)]


@torch.no_grad()
def sampled(generator: nn.Module, z: Tensor, label: Tensor | None, seed: int) -> Tensor:
    """A generator's samples (n, *shape) of latents (n, size) and labels (n,), in evaluation mode.
    Its own noise comes from the seed, and the random state is as before."""
    devices = [z.device] if z.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), evaluating(generator):
        torch.manual_seed(seed)
        labels = repeat(None) if label is None else torch.split(label.to(z.device), CHUNK)
        chunks = zip(torch.split(z, CHUNK), labels, strict=False)
        return torch.cat([generator(chunk, Context(label)) for chunk, label in chunks])


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
