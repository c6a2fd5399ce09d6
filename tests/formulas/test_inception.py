"""Inception's features: which file is taken, what images look like to it, and torch-fidelity's
numbers on the same images."""

from __future__ import annotations

import hashlib
import os
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.datasets.digits import load
from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, Side
from sweeper.catalog.metrics.frechet import frechet_distance, statistics
from sweeper.catalog.metrics.inception import NAME, SHA256, Inception, inception
from sweeper.catalog.metrics.kid import mmd, one_hot

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch_fidelity
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

SHAPE = (3, 8, 8)


class Stub(nn.Module):
    """Shows what Inception is shown: each channel's first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8
        return (x[:, :, 0, 0].float(),)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch's cache is, which is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_without_the_file_it_says_which_and_where(home: Path) -> None:
    with pytest.raises(ValueError) as caught:
        inception(None, SHAPE)
    told = str(caught.value)
    assert told.startswith(f"Inception's features need the file {NAME}, but there is none at ")
    assert str(home / NAME) in told
    assert (
        f"get it from https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{NAME}"
        in told
    )
    assert "evaluation.weights" in told
    with pytest.raises(ValueError, match=r"there is none at /nowhere/w\.pth"):
        inception("/nowhere/w.pth", SHAPE)


def test_another_file_is_not_taken_unasked(home: Path) -> None:
    home.mkdir(parents=True)
    (home / NAME).write_bytes(b"half a download")
    digest = hashlib.sha256(b"half a download").hexdigest()
    with pytest.raises(ValueError, match=f"has the SHA-256 {SHA256}, but .* has {digest}"):
        inception(None, SHAPE)


@pytest.mark.parametrize("shape", [(2,), (4, 8, 8), (2, 8, 8)])
def test_it_looks_at_grey_and_coloured_images_alone(shape: tuple[int, ...], home: Path) -> None:
    with pytest.raises(ValueError, match="images with 1 or 3 channels, but the examples have"):
        inception(None, shape)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_weights_are_read_as_weights_alone(tmp_path: Path) -> None:
    torch.save({"fc.weight": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name, why in {
        "trap": "holds none that can be read",
        "other": "holds others",
        "list": "holds others",
        "text": "holds none that can be read",
        "empty": "holds none that can be read",
    }.items():
        with pytest.raises(ValueError, match=f"inception-v3-compat, but .*{name}.pth {why}: "):
            inception(str(tmp_path / f"{name}.pth"), SHAPE)
    assert not (tmp_path / "sprung").exists()


def test_images_are_rounded_to_bytes_and_grey_is_every_colour() -> None:
    stub = Inception(Stub(), "5ba1" * 16).eval().requires_grad_(False)
    levels = torch.arange(256)
    grey = (levels.float() / 127.5 - 1)[:, None, None, None].expand(-1, 1, 4, 4)
    assert torch.equal(stub(grey), levels.float()[:, None].expand(-1, 3))
    beyond = torch.tensor([-9.0, -1.0, 1.0, 9.0])[:, None, None, None].expand(-1, 3, 2, 2)
    assert stub(beyond)[:, 0].tolist() == [0, 0, 255, 255]
    assert stub.fingerprint() == "5ba15ba15ba1"
    features = stub(grey)
    assert torch.equal(stub.logits(features), features @ stub.network.get_parameter("fc.weight").T)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_image_that_is_not_finite_has_no_features(value: float) -> None:
    stub = Inception(Stub(), "0" * 64)
    images = torch.zeros(40, 3, 4, 4)
    images[33, 1, 2, 2] = value
    assert stub(images).isfinite().all(1).tolist() == [i != 33 for i in range(40)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like that of 2015, of random weights."""
    nothing = BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng(), patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        torch.manual_seed(0)
        made = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=nothing
        )
        for name, value in made.state_dict().items():
            if ".bn." in name and value.is_floating_point():
                away = 0.0 if "mean" in name or "bias" in name else 1.0
                value.copy_(away + 0.3 * (torch.rand_like(value) - 0.5))
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(made.state_dict(), path)
    return path


class Images(torch.utils.data.Dataset[Tensor]):
    def __init__(self, levels: Tensor) -> None:
        self.levels = levels

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> Tensor:
        return self.levels[index]


@pytest.mark.slow
def test_every_metric_is_torch_fidelitys_on_the_same_images(weights: Path) -> None:
    digits = torch.from_numpy(load()[0])
    real = digits[:20].expand(-1, 3, -1, -1).contiguous()
    noise = torch.randint(0, 120, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    fake = (digits[100:124].expand(-1, 3, -1, -1) // 2 + noise).to(torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch_fidelity.calculate_metrics(
            input1=Images(fake), input2=Images(real), cuda=False, batch_size=8, verbose=False,
            feature_extractor="inception-v3-compat", cache=False, save_cpu_ram=True,
            fid=True, kid=True, isc=True, prc=True,
            isc_splits=1, kid_subsets=3, kid_subset_size=12,
            feature_extractor_weights_path=str(weights),
        )  # fmt: skip
    extractor = inception(str(weights), SHAPE).eval().requires_grad_(False)
    assert extractor.fingerprint() == hashlib.sha256(weights.read_bytes()).hexdigest()[:12]

    def side(levels: Tensor) -> Side:
        examples = levels / 127.5 - 1
        features = extractor(examples)
        return Side(examples, features, logits=extractor.logits(features))

    compared = Compared(side(real), side(fake))
    ours = frechet_distance(*(statistics(s.features) for s in (compared.real, compared.fake)))
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    found = metrics["precision_recall"].make()(compared)
    assert found == pytest.approx({key: theirs[key] for key in found}, rel=1e-4)
    found = metrics["inception_score"].make(splits=1)(compared)
    assert found["inception_score"] == pytest.approx(theirs["inception_score_mean"], rel=1e-4)
    random, marks = np.random.RandomState(2020), list[tuple[Tensor, ...]]()
    sides = [side.features.double() for side in (compared.fake, compared.real)]
    for _ in range(3):
        drawn = [torch.from_numpy(random.choice(len(s), 12, replace=False)) for s in sides]
        marks.append(tuple(one_hot(i, s) for i, s in zip(drawn, sides, strict=True)))
    value = mmd(*sides, *map(torch.stack, zip(*marks, strict=True))).mean()
    assert float(value) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
