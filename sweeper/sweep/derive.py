"""What follows from a data set for the trials on it, where no preset says: how wide the networks
are, the budget, and the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sweeper.catalog.datasets.store import Store
from sweeper.catalog.families import datasets
from sweeper.catalog.metrics.inception import NAME
from sweeper.config import Features, Misfit, Slot
from sweeper.space.source import InputError, Source
from sweeper.trial.device import choose_device

EPOCHS, LEAST, MOST = 20, 30.0, 900.0
"""A trial sees its data so often, but for so many thousand images at least and at most."""
IMAGES = ["kid", "precision_recall", "density_coverage", "memorisation"]
POINTS = ["sliced_wasserstein"]
"""What is measured beside the score, at the end."""
PER_CLASS = 50
"""Examples of a class that a classifier can be trained on."""


class Kind(NamedTuple):
    """What is known of a data set before it is packed."""

    length: int
    shape: tuple[int, ...]
    classes: int


def kind_of(data: Any) -> Kind:
    """How many examples a data set has, of which shape, in how many classes. Raises InputError when
    it cannot be read."""
    try:
        pick = Slot(datasets).read(data)
        assert pick is not None
        assert not isinstance(pick, tuple)
        if pick.entry.name == "packed":
            meta = Store(Path(pick["path"])).meta
            return Kind(meta.length, meta.shape, meta.classes)
        source = pick.make()
        return Kind(len(source), source[0].image.shape, len(source.classes))
    except Misfit:  # told with its place when the trial is read
        return Kind(0, (3, 32, 32), 0)
    except (ValueError, OSError) as error:
        raise InputError([f"--data: {error}"]) from None


def derived(data: Mapping[str, Any] | str) -> Source:
    """A preset for a data set that has none of its own."""
    kind = kind_of(data)
    budget = min(max(EPOCHS * kind.length / 1000, LEAST), MOST)
    trial = points() if len(kind.shape) == 1 else images(kind)
    trial["evaluation"] = {
        "features": features(kind),
        "samples": 2000,
        "metrics": POINTS if len(kind.shape) == 1 else IMAGES,
    }
    return Source({"trial": trial, "budget": {"max": round(budget, 1)}}, {})


def points() -> dict[str, Any]:
    """Networks for points."""
    return {
        "architecture": {"mlp_gan": {"hidden": 128, "depth": 3}},
        "prior": {"gaussian_latent": {"size": 8}},
        "batch": {"size": 128},
    }


def images(kind: Kind) -> dict[str, Any]:
    """Networks for images: as wide as their details are many."""
    side = kind.shape[-1]
    width = 16 if side <= 8 else 32 if side <= 16 else 64
    return {
        "architecture": {"dcgan": {"channels": width}},
        "batch": {"size": 32 if kind.length < 2000 else 64},
    }


def features(kind: Kind) -> Features:
    """What examples are compared in: Inception, where its weights and a GPU are at hand; a
    classifier of the data's own labels, where there are enough of each; else networks with fixed
    random weights."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / NAME
    if len(kind.shape) == 3 and weights.is_file() and choose_device().type == "cuda":
        return "inception"
    learnable = kind.classes > 1 and kind.length >= PER_CLASS * kind.classes
    return "classifier" if learnable else "random_conv"
