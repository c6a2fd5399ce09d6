"""What examples are compared in: themselves, or the features of a small network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

DIMENSIONS = 64
LARGEST = 32


class Extractor(nn.Module):
    """Examples as the networks see them, (n, C, H, W) or (n, K), to features (n, d).

    ``resize`` says what happens to images on the way. An example that is not finite has features
    that are not.
    """

    resize: str

    def logits(self, features: Tensor) -> Tensor | None:
        """The logits (n, classes) of features (n, d), where they are a classifier's."""
        return None

    def fingerprint(self) -> str:
        """A hash of every weight: 12 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


class Raw(Extractor):
    """Points as they are, and the pixels of images, shrunk to 32 px: (n, d)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.resize = resize(shape)

    def forward(self, x: Tensor) -> Tensor:
        return shrunk(x).flatten(1)

    def fingerprint(self) -> str:
        return "none"


class Small(Extractor):
    """Examples (n, *shape) to features (n, 64): three convolutions for images (shrunk to 32 px),
    two layers for points; of a classifier, if there are two classes or more."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.resize, self.classes = resize(shape), classes
        self.body = _convolutions(shape[0]) if len(shape) == 3 else _layers(shape[0])
        self.head = nn.Linear(DIMENSIONS, max(classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(shrunk(x))
        return features

    def logits(self, features: Tensor) -> Tensor | None:
        if self.classes < 2:
            return None
        logits: Tensor = self.head(features)
        return logits

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """What a classifier is trained by: the cross entropy of labels (n,)."""
        return cross_entropy(self.head(self(x)), labels)


class Colours(Extractor):
    """Images (n, C, H, W), of which each colour has a class of its own, to features (n, 64 C): one
    small network looks at each colour by itself. All of an image's classes together are its class,
    a number to the base of how many a colour may have."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.resize, self.colours = resize(shape), shape[0]
        self.base = round(classes ** (1 / shape[0]))
        assert self.base**self.colours == classes
        self.one = Small((1, *shape[1:]), self.base)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.one(x.flatten(0, 1)[:, None])
        return features.reshape(len(x), -1)

    def logits(self, features: Tensor) -> Tensor:
        """Logarithms of the probabilities (n, classes): those of the colours, multiplied."""
        each: Tensor = self.one.head(features.reshape(len(features), self.colours, -1))
        each = each.log_softmax(2)
        whole = each[:, 0]
        for colour in range(1, self.colours):
            whole = (whole[:, :, None] + each[:, colour, None]).flatten(1)
        return whole

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """The cross entropy of every colour's own label."""
        places = self.base ** torch.arange(self.colours - 1, -1, -1, device=labels.device)
        own = labels[:, None] // places % self.base
        return self.one.loss(x.flatten(0, 1)[:, None], own.flatten())


def shrunk(x: Tensor) -> Tensor:
    """Images (n, C, H, W) of at most 32 px, points as they are."""
    if x.ndim == 4 and max(x.shape[2:]) > LARGEST:
        return interpolate(x, size=(LARGEST, LARGEST), mode="bilinear", antialias=True)
    return x


def resize(shape: Sequence[int]) -> str:
    """What ``shrunk`` does to examples of a shape, for a protocol."""
    larger = len(shape) == 3 and max(shape[1:]) > LARGEST
    return f"bilinear {LARGEST}, antialiased" if larger else "none"


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
