"""Features in which real and generated examples are compared, where Inception's are not at hand or
too costly.

A classifier trained once on the data set's own labels, or, without labels, a convolutional network
with fixed random weights. Distances in them are not comparable with Inception's, so the metric is
named after them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from sweeper.catalog.datasets.store import Order, Store, normalise
from sweeper.game import derive

DIMENSIONS = 64
LARGEST = 32
RECIPE = "v1: 64 features, Adam 1e-3 cosine, batch 64, 30 epochs or 3000 steps"


class Extractor(nn.Module):
    """Examples (N, *shape) to features (N, 64): three convolutions for images (shrunk to 32 px),
    two layers for points."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.body = _convolutions(shape[0]) if len(shape) == 3 else _layers(shape[0])
        self.head = nn.Linear(DIMENSIONS, max(classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and max(x.shape[2:]) > LARGEST:
            x = interpolate(x, size=(LARGEST, LARGEST), mode="bilinear", antialias=True)
        features: Tensor = self.body(x)
        return features

    def fingerprint(self) -> str:
        """A hash of every weight."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


def _convolutions(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, DIMENSIONS, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * DIMENSIONS, DIMENSIONS), nn.ReLU(),
    )  # fmt: skip


def _layers(dimensions: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(dimensions, DIMENSIONS), nn.ReLU(), nn.Linear(DIMENSIONS, DIMENSIONS), nn.ReLU()
    )


def extractor(
    kind: str,
    store: Store,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Extractor:
    """The extractor for a store: a classifier, trained on first use and kept under ``folder``, or a
    random network.

    Raises ValueError when a classifier is asked for and the data has fewer than two classes.
    """
    meta = store.meta
    if kind == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Extractor(meta.shape, 0).eval().requires_grad_(False)
    if meta.classes < 2:
        raise ValueError(
            f"a classifier is trained on at least two classes, but {meta.name} has {meta.classes}"
        )
    path = classifier_path(store, folder)
    network = Extractor(meta.shape, meta.classes)
    if not path.exists():
        save_whole(train_classifier(network, store, progress).state_dict(), path)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval().requires_grad_(False)


def classifier_path(store: Store, folder: Path) -> Path:
    """Where the classifier of a data set is kept: its name says what it was trained on, and how."""
    key = hashlib.sha256(f"{store.meta.digest} {RECIPE}".encode()).hexdigest()[:12]
    return folder / f"classifier-{store.meta.name}-{key}.pt"


def train_classifier(
    network: Extractor, store: Store, progress: Callable[[int, int], None]
) -> Extractor:
    """Train on all labelled examples, deterministically, and without touching the global random
    state."""
    labels = store.labels
    assert labels is not None
    steps, order = min(3000, 30 * len(store) // 64 + 1), Order(len(store), seed=0)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(derive(0, "classifier"))
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            indices = order(step * 64, 64)
            loss = cross_entropy(network.head(network(normalise(store[indices]))), labels[indices])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            if step % 100 == 99 or step == steps - 1:
                progress(step + 1, steps)
    return network


def save_whole(value: object, path: Path) -> None:
    """Write a file so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
