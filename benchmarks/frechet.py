#!/usr/bin/env python
"""What a Fréchet distance costs beside pytorch-fid and torch-fidelity, its two steps apart.

The Fréchet step is from statistics, mean and covariance or a root of it, to the distance, and from
fakes' features, with the statistics of real examples at hand. The feature pass is Inception's of
random weights on random images of 32 px, torch-fidelity's own and ours. They take turns, in CPU
seconds of one thread, and have to say the same. pytorch-fid is installed into a temporary folder.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from pairs import Row, in_turns, told
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)

from sweeper.catalog.metrics.frechet import frechet_distance, statistics
from sweeper.catalog.metrics.inception import inception

Step = Callable[[], Any]
Moments = dict[str, Any]
PYTORCH_FID = "pytorch-fid==0.3.0"
DIMENSIONS = (512, 2048)
PROMISED = {("from statistics", "pytorch-fid"): 5.0}


def pytorch_fid(folder: Path) -> Callable[..., float]:
    """Its formula."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PYTORCH_FID]
    subprocess.run(command, check=True)
    sys.path.append(str(folder))
    formula: Callable[..., float] = import_module(
        "pytorch_fid.fid_score"
    ).calculate_frechet_distance
    return formula


def frechet_steps(d: int, n: int, theirs: Callable[..., float]) -> dict[str, dict[str, Step]]:
    """From both statistics, and from fakes' features (n, d) and the statistics of real examples, to
    the distance, three ways."""
    random = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=random, dtype=torch.float64) / d**0.5
    scale = mix + torch.diag(torch.linspace(0.5, 2, d).double())
    real, fake = (torch.randn(n, d, generator=random).double() @ scale + i / 10 for i in (0, 1))
    roots = statistics(real), statistics(fake)
    covariances = fid_features_to_statistics(real), fid_features_to_statistics(fake)

    def by_pytorch_fid(a: Moments, b: Moments) -> float:
        return float(theirs(a["mu"], a["sigma"], b["mu"], b["sigma"]))

    def by_torch_fidelity(a: Moments, b: Moments) -> float:
        return float(fid_statistics_to_metric(a, b, verbose=False)[KEY_METRIC_FID])

    fit, (known, _) = fid_features_to_statistics, covariances
    return {
        "from statistics": {
            "sweeper": lambda: frechet_distance(*roots),
            "pytorch-fid": lambda: by_pytorch_fid(*covariances),
            "torch-fidelity": lambda: by_torch_fidelity(*covariances),
        },
        f"from {n:,} fakes": {
            "sweeper": lambda: frechet_distance(roots[0], statistics(fake)),
            "pytorch-fid": lambda: by_pytorch_fid(known, fit(fake)),
            "torch-fidelity": lambda: by_torch_fidelity(known, fit(fake)),
        },
    }


def feature_passes(n: int, folder: Path) -> dict[str, Step]:
    """From images to features, with the same random weights."""
    nothing = BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    torch.manual_seed(0)
    name, path = "inception-v3-compat", folder / "random.pth"
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        theirs = FeatureExtractorInceptionV3(name, ["2048"], feature_extractor_weights_path=nothing)
    torch.save(theirs.state_dict(), path)
    ours = inception(str(path), (3, 32, 32)).eval().requires_grad_(False)
    levels = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8)
    examples: Tensor = levels / 127.5 - 1
    return {"sweeper": lambda: ours(examples), "torch-fidelity": lambda: theirs(levels)[0]}


def compared(
    case: str, steps: Mapping[str, Step], blocks: int, tolerance: float, protocol: str
) -> list[Row]:
    """The first of some steps beside each of the others, which say the same."""
    said: dict[str, Any] = {}

    def kept(name: str) -> None:
        said[name] = np.asarray(steps[name]())

    times = in_turns({name: partial(kept, name) for name in steps}, blocks)
    first, *others = steps
    for name in others:
        off = np.abs(said[name] - said[first]).max() / np.abs(said[name]).max()
        assert off < tolerance, f"{name} and {first} say the same, but differ by {off}"
        protocol += f"; {name} is off by {off:.1g}"
    return [
        times.row(
            first,
            name,
            part="frechet",
            case=case,
            protocol=f"{case}: {protocol}",
            at_least=PROMISED.get((case.partition(",")[0], name)),
        )
        for name in others
    ]


def distances(dimensions: Sequence[int], n: int, blocks: int) -> list[Row]:
    """The Fréchet step."""
    protocol = f"random, correlated features of {n:,} real and {n:,} fake examples, float64"
    found: list[Row] = []
    with TemporaryDirectory() as folder:
        formula = pytorch_fid(Path(folder))
        for d in dimensions:
            for which, steps in frechet_steps(d, n, formula).items():
                found += compared(f"{which}, d = {d}", steps, blocks, 1e-6, protocol)
    return found


def passes(n: int, blocks: int) -> list[Row]:
    """The feature pass."""
    with TemporaryDirectory() as folder:
        steps = feature_passes(n, Path(folder))
        protocol = "Inception with random weights, float32"
        return compared(f"feature pass, {n} images of 32 px", steps, blocks, 1e-4, protocol)


def rows(quick: bool) -> list[Row]:
    """Both steps beside those of others."""
    torch.set_num_threads(1)
    blocks, n, images = (1, 2500, 2) if quick else (5, 5000, 16)
    return [*distances(DIMENSIONS, n, blocks), *passes(images, blocks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--samples", type=int, default=5000, help="for the Fréchet step")
    parser.add_argument("--images", type=int, default=16, help="for the feature pass")
    parser.add_argument("--only", choices=(*map(str, DIMENSIONS), "features"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Row] = []
    if chosen.only != "features":
        dimensions = DIMENSIONS if chosen.only is None else (int(chosen.only),)
        found += distances(dimensions, chosen.samples, chosen.blocks)
    if chosen.only in (None, "features"):
        found += passes(chosen.images, chosen.blocks)
    print(told(found))


if __name__ == "__main__":
    main()
