"""How images look to a network that is frozen: the activations of some of its layers."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from sweeper.catalog.metrics.extractors import Small
from sweeper.catalog.metrics.features import random_conv
from sweeper.game import Batch, Networks, Regularizer, derive

Network = Literal[
    "random_conv",
    "classifier",
    "vgg16",
    "vgg19",
    "resnet18",
    "squeezenet1_1",
    "alexnet",
]
LAYERS: dict[str, dict[str, float]] = {
    "random_conv": {"relu1_1": 1.0, "relu1_2": 1.0, "relu1_3": 1.0},
    "classifier": {"relu1_1": 1.0, "relu1_2": 1.0, "relu1_3": 1.0},
    "vgg16": {"relu2_2": 1.0},
    "vgg19": {
        "relu1_1": 1 / 32,
        "relu2_1": 1 / 16,
        "relu3_1": 1 / 8,
        "relu4_1": 1 / 4,
        "relu5_1": 1.0,
    },
    "resnet18": {"layer1": 1.0},
    "squeezenet1_1": {"relu2_2": 1.0},
    "alexnet": {"relu2_1": 1.0},
}
"""Layers that are looked at, and how much each counts, where a trial does not say. Those of vgg16
are Johnson's, those of vgg19 pix2pixHD's."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the images that torchvision's networks were trained on, whose levels are in [0, 1]."""


@dataclass(frozen=True)
class Sight:
    """What those who train a trial can show its images to: ``shown`` takes them from the range of
    its networks to [-1, 1], and ``classifier`` is a network that knows the labels of its data."""

    shown: Callable[[Tensor], Tensor]
    classifier: Callable[[], Small]


def nobody() -> Small:
    raise ValueError("a classifier is of a data set's labels, but there is no data set here")


BARE = Sight(lambda images: images, nobody)
"""Images in [-1, 1], of no data set."""


class Perception:
    """Images (N, C, H, W) in a trial's range to the activations of layers that were asked for, each
    (N, Cₗ, Hₗ, Wₗ), in float32: a network that is frozen and in evaluation mode, through which
    gradients flow. No part of the trial's state.

    Raises ValueError for layers that images of this shape are too small for.
    """

    def __init__(
        self,
        body: nn.Module,
        layers: Mapping[str, float],
        seen: Callable[[Tensor], Tensor],
        example: Tensor,
    ) -> None:
        body = body.to(example.device).eval().requires_grad_(False)
        stack, self.seen = list(named(body)), seen
        known = [name for name, _ in stack]
        last = max(map(known.index, layers))
        self.stack = stack[: last + 1]
        self.weights = [layers[name] for name in known if name in layers]
        self.names = frozenset(layers)
        try:
            with torch.no_grad():
                self(example[:1])
        except RuntimeError as error:
            size = "x".join(map(str, example.shape[2:]))
            raise ValueError(f"{known[last]} needs larger images than {size}: {error}") from None

    def __call__(self, images: Tensor) -> list[Tensor]:
        h, found = self.seen(images).float(), list[Tensor]()
        for name, module in self.stack:
            h = module(h)
            if name in self.names:
                found.append(h)
        return found


def named(body: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a stack by name: ``relu2_1`` is the first rectified one after the first pooling
    (squeezing Fire modules are such layers); all others are called as torch calls them."""
    block = depth = 0
    for name, module in body.named_children():
        kind = type(module).__name__
        if isinstance(module, nn.Flatten):
            return
        if kind in ("ReLU", "Fire"):
            depth += 1
            yield f"relu{block + 1}_{depth}", module
        else:
            block, depth = (block + 1, 0) if "Pool" in kind else (block, depth)
            yield name, module


@dataclass(frozen=True)
class Looking:
    """Which network is looked through: of what name, with weights from which file, at which layers,
    and each with which weight, by default the network's own. Raises ValueError for a network that
    lacks its file, and for layers that it does not have."""

    network: Network
    weights: str | None
    layers: Mapping[str, float] | None

    def __post_init__(self) -> None:
        given, own = self.weights is not None, self.network in ("random_conv", "classifier")
        if own and given:
            raise ValueError(f"weights are those of a network of torchvision, not {self.network}'s")
        if not own and (self.weights is None or not Path(self.weights).is_file()):
            law = f"{self.network} needs the file of its weights, as torchvision has them"
            raise ValueError(f"{law}, but weights is {self.weights or 'not given'}")
        known = [name for name, _ in named(self._blank())] if self.layers else []
        if odd := [name for name in self.layers or () if name not in known]:
            law = f"the layers of {self.network} are {', '.join(known)}"
            raise ValueError(f"{law}, but got {', '.join(odd)}")

    def _blank(self) -> nn.Module:
        with torch.device("meta"):
            if self.network in ("random_conv", "classifier"):
                return Small((1, 8, 8), 0).body
            return convolutional(untrained(self.network))

    def opened(self, sight: Sight, example: Tensor) -> tuple[Perception, dict[str, Any]]:
        """The network, for images like an example, and what is to be told of it."""
        layers = self.layers or LAYERS[self.network]
        if self.weights is not None:
            data = Path(self.weights).read_bytes()
            body, digest = pretrained(self.network, data, self.weights), hashed(data)

            def seen(images: Tensor) -> Tensor:
                return standardized(sight.shown(images))

            perception = Perception(body, layers, seen, example)
        else:
            small = self._small(sight, example.shape[1:])
            perception = Perception(small.body, layers, sight.shown, example)
            digest = small.fingerprint()
        return perception, {"network": self.network, "weights": self.weights, "hash": digest}

    def _small(self, sight: Sight, shape: Sequence[int]) -> Small:
        if self.network == "classifier":
            return sight.classifier()
        # Not the very weights of the features in which fakes are judged.
        return random_conv(shape, derive(0, "perception"))


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def standardized(images: Tensor) -> Tensor:
    """Images in [-1, 1], grey or of three channels, as torchvision's networks are given them."""
    mean, deviation = (images.new_tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return ((images + 1) / 2 - mean) / deviation


def pretrained(network: str, data: bytes, path: str) -> nn.Module:
    """The convolutional part of one of torchvision's networks, with weights from a file. Raises
    ValueError for a file of others."""
    law = f"weights are those of torchvision's {network}, but {path}"
    with torch.device("meta"):
        made = untrained(network)
    try:
        state = torch.load(BytesIO(data), weights_only=True, map_location="cpu")
        made.load_state_dict(state, assign=True)
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError, BadZipFile) as e:
        raise ValueError(f"{law} holds others: {str(e).partition(chr(10))[0]}") from None
    return convolutional(made)


def untrained(network: str) -> nn.Module:
    """One of torchvision's networks."""
    # Imported here, because it takes seconds.
    from torchvision import models

    made: nn.Module = getattr(models, network)()
    return made


def convolutional(network: nn.Module) -> nn.Module:
    """The layers of one of torchvision's networks that look at places."""
    features = getattr(network, "features", None)
    if isinstance(features, nn.Module):
        return features
    kept = [(n, m) for n, m in network.named_children() if n not in ("avgpool", "fc")]
    return nn.Sequential(OrderedDict(kept))


class Perceiving(Regularizer):
    """A term that compares what a frozen network sees of two images. ``told`` is what is to be said
    of it where a trial begins."""

    def __init__(self, sight: Sight, looking: Looking) -> None:
        super().__init__()
        self.sight, self.looking = sight, looking
        self.told: dict[str, Any] = {}

    def setup(self, networks: Networks, batch: Batch) -> None:
        # No submodule: its weights are no part of the trial's state.
        self.perception, self.told = self.looking.opened(self.sight, batch.image)

    def differences(
        self, fake: Tensor, real: Tensor, compared: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """The sum over layers of what comparing their activations gives, weighted. The second image
        is a constant."""
        look = self.perception
        with torch.no_grad():
            wanted = look(real)
        each = [
            weight * compared(x, y)
            for weight, x, y in zip(look.weights, look(fake), wanted, strict=True)
        ]
        return torch.stack(each).sum()
