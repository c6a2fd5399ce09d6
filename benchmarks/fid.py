#!/usr/bin/env python
"""What a Fréchet distance costs beside pytorch-fid and torch-fidelity, its two steps apart.

The Fréchet step is from statistics, mean and covariance or a root of it, to the distance, and from
fakes' features, with the statistics of real examples at hand. The feature pass is Inception's of
random weights on random images of 32 px, torch-fidelity's own and ours. Each block measures all of
them once, in an order that turns, in CPU seconds of one thread. Printed are the seconds, the ratio
of every block, theirs to ours, the mean ratio with its lower 95 % bound (one-sided, bootstrap over
blocks), and how far apart the numbers are. pytorch-fid is installed into a temporary folder.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
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


def compare(title: str, steps: dict[str, Step], blocks: int, tolerance: float) -> None:
    names = list(steps)
    took = np.zeros((blocks, len(names)))
    values = {name: np.asarray(step()) for name, step in steps.items()}
    for block in range(blocks):
        for i in np.roll(range(len(names)), block):
            start = time.process_time()
            steps[names[i]]()
            took[block, i] = time.process_time() - start
    print(f"\n{title}: {blocks} blocks, CPU seconds of one thread")
    print(f"{names[0]:15} {took[:, 0].mean():.3f} s")
    for i, name in enumerate(names[1:], 1):
        ratios = took[:, i] / took[:, 0]
        resampled = np.random.default_rng(0).choice(ratios, (10_000, blocks)).mean(1)
        off = np.abs(values[name] - values[names[0]]).max() / np.abs(values[name]).max()
        assert off < tolerance, f"{name} and {names[0]} say the same, but differ by {off}"
        print(f"{name:15} {took[:, i].mean():.3f} s, off by {off:.1g}")
        print(f"  ratio of each block           {' '.join(f'{ratio:.2f}' for ratio in ratios)}")
        bound = np.quantile(resampled, 0.05)
        print(f"  mean ratio, lower 95 % bound  {ratios.mean():.2f}, {bound:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--samples", type=int, default=5000, help="for the Fréchet step")
    parser.add_argument("--images", type=int, default=16, help="for the feature pass")
    parser.add_argument("--only", choices=("512", "2048", "features"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        if chosen.only != "features":
            formula = pytorch_fid(Path(folder))
            for d in (512, 2048):
                if chosen.only in (None, str(d)):
                    for which, steps in frechet_steps(d, chosen.samples, formula).items():
                        title = f"Fréchet step, d = {d}, {which}"
                        compare(title, steps, chosen.blocks, 1e-6)
        if chosen.only in (None, "features"):
            title = f"feature pass, {chosen.images} images"
            compare(title, feature_passes(chosen.images, Path(folder)), chosen.blocks, 1e-4)


if __name__ == "__main__":
    main()
