"""Features in which real and generated examples are compared.

Distances in different features are not comparable, so the metric is named after them: only
Inception's are those that papers mean.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import nn

from sweeper.catalog.datasets.store import Order, Store, normalise
from sweeper.catalog.metrics.extractors import Colours, Extractor, Raw, Small
from sweeper.catalog.metrics.inception import inception
from sweeper.game import derive

RECIPE = "v1: 64 features, Adam 1e-3 cosine, batch 64, 30 epochs or 3000 steps"

COLOURED = ("stacked_digits",)
"""Data of which each colour has a class of its own."""

Told = Callable[[int, int], None]
Network = TypeVar("Network", Small, Colours)


class Asked(Protocol):
    """Which features are asked for, and the file of their weights, if they are read from one."""

    @property
    def features(self) -> str: ...

    @property
    def weights(self) -> str | None: ...


def extractor(
    asked: Asked, store: Store, folder: Path, progress: Told = lambda done, total: None
) -> Extractor:
    """What maps the examples of a store to features: Inception, a classifier, trained on first use
    and kept under ``folder``, a network with fixed random weights, or nothing but pixels.

    Raises ValueError when Inception's weights are not there, or not for such examples, and when a
    classifier is asked for and the data has fewer than two classes.
    """
    match asked.features:
        case "inception":
            made: Extractor = inception(asked.weights, store.meta.shape)
        case "classifier":
            coloured = store.meta.name in COLOURED
            made = (of_colours if coloured else classifier)(store, folder, progress)
        case "random_conv":
            made = random_conv(store.meta.shape)
        case _:
            made = Raw(store.meta.shape)
    return made.eval().requires_grad_(False)


def random_conv(shape: Sequence[int], seed: int = 0) -> Small:
    """The small network, with the random weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Small(shape, 0)


def classifier(store: Store, folder: Path, progress: Told = lambda done, total: None) -> Small:
    """The small network, trained on the labels of a store unless it is kept under ``folder``.
    Raises ValueError where there are fewer than two classes."""
    meta = store.meta
    if meta.classes < 2:
        raise ValueError(
            f"a classifier is trained on at least two classes, but {meta.name} has {meta.classes}"
        )
    with torch.random.fork_rng(devices=[]):
        network = Small(meta.shape, meta.classes)
    return trained(network, store, _path(store, folder, RECIPE), progress)


def of_colours(store: Store, folder: Path, progress: Told = lambda done, total: None) -> Colours:
    """The same of each colour by itself."""
    with torch.random.fork_rng(devices=[]):
        network = Colours(store.meta.shape, store.meta.classes)
    return trained(network, store, classifier_path(store, folder), progress)


def classifier_path(store: Store, folder: Path) -> Path:
    """Where the classifier is kept whose features are those of a data set."""
    coloured = store.meta.name in COLOURED
    return _path(store, folder, f"{RECIPE}, each colour" if coloured else RECIPE)


def _path(store: Store, folder: Path, recipe: str) -> Path:
    """The name of a classifier says what it was trained on, and how."""
    key = hashlib.sha256(f"{store.meta.digest} {recipe}".encode()).hexdigest()[:12]
    return folder / f"classifier-{store.meta.name}-{key}.pt"


def trained(network: Network, store: Store, path: Path, progress: Told) -> Network:
    """A network with the weights that are kept at a path, or are from now on."""
    if not path.exists():
        save_whole(train_classifier(network, store, progress).state_dict(), path)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


def train_classifier(network: Network, store: Store, progress: Told) -> Network:
    """Train on all labelled examples, deterministically, and without touching the global random
    state."""
    labels = store.labels
    assert labels is not None
    steps, order = min(3000, 30 * len(store) // 64 + 1), Order(len(store), seed=0)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), one_thread():
        torch.manual_seed(derive(0, "classifier"))
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            indices = order(step * 64, 64)
            loss = network.loss(normalise(store[indices]), labels[indices])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            if step % 100 == 99 or step == steps - 1:
                progress(step + 1, steps)
    return network


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: sums come out the same however many cores a machine has, and so do
    weights and the protocol that they are part of."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
