"""Inception's features: the network of 2015 in which papers take FID."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from sweeper.catalog.metrics.extractors import Extractor

NAME = "weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SOURCE = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{NAME}"
CHUNK = 32
"""Images at once, of which each takes some 20 MB at 299 px."""


class Inception(Extractor):
    """Images in [-1, 1], rounded to 8 bits, grey ones in all three channels, to the 2,048 features
    before the last layer of torch-fidelity's ``inception-v3-compat``; its logits are the unbiased
    ones, of 1,008 classes.

    The batch normalisations are folded into the convolutions, which agrees to rounding and takes
    two thirds of the time. ``digest`` is the SHA-256 of the file that the weights were read from.
    """

    resize = "bilinear 299, as TensorFlow 1"

    def __init__(self, network: nn.Module, digest: str) -> None:
        super().__init__()
        for module in network.modules():
            conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module.conv, module.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
        self.network = network.to(memory_format=torch.channels_last)
        self.digest = digest

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._features(chunk) for chunk in torch.split(x, CHUNK)])

    def _features(self, x: Tensor) -> Tensor:
        whole = x.isfinite().flatten(1).all(1, keepdim=True)
        levels = ((x.nan_to_num().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        (features,) = self.network(levels.expand(-1, 3, -1, -1))
        return torch.where(whole, features, float("nan"))

    def logits(self, features: Tensor) -> Tensor:
        weight = self.network.get_submodule("fc").get_parameter("weight")
        return features @ weight.T

    def fingerprint(self) -> str:
        """The first 12 digits of the file's hash."""
        return self.digest[:12]


def inception(weights: str | None, shape: Sequence[int]) -> Inception:
    """Inception for examples of a shape, with weights from a file, or else from torch's cache,
    where only the file of 2015 is taken.

    Raises ValueError when the file is absent or another, or the examples are no images that it can
    look at.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(
            "Inception looks at images with 1 or 3 channels, but the examples have the shape "
            f"({', '.join(map(str, shape))})"
        )
    path = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"Inception's features need the file {NAME}, but there is none at {path} "
            f"({error.strerror}): get it from {SOURCE} and put it there, or set "
            "evaluation.weights to where it is"
        ) from None
    digest = hashlib.sha256(data).hexdigest()
    if not weights and digest != SHA256:
        raise ValueError(
            f"{NAME} has the SHA-256 {SHA256}, but {path} has {digest}: get it from {SOURCE} "
            "again, or set evaluation.weights to this path to use it all the same"
        )
    return Inception(_network(data, path), digest)


def _network(data: bytes, path: Path) -> nn.Module:
    # Imported here, because it takes seconds.
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    law = f"Inception's weights are those of torch-fidelity's inception-v3-compat, but {path}"
    try:
        state = torch.load(BytesIO(data), weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError, BadZipFile) as error:
        raise ValueError(f"{law} holds none that can be read: {_first(error)}") from None
    # It unpickles whatever it is given, and so is given what was read as weights alone.
    safe = BytesIO()
    torch.save(state, safe)
    safe.seek(0)
    try:
        with torch.random.fork_rng(devices=[]):
            made: nn.Module = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=safe
            )
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{law} holds others: {_first(error)}") from None
    return made


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(": .") or type(error).__name__
