#!/usr/bin/env python
"""The stock script: learning rates of a DCGAN on digits, as the docs of Ray Tune, Optuna, MLflow
and PyTorch show it, for ``stock.py`` to run beside sweeper. Nothing is tuned, and nothing guarded.

- A function trainable that reports with a checkpoint, which Tune's PyTorch example saves each time;
  ``with_parameters`` hands it the data, as Tune's guide has it for what all trials share.
- OptunaSearch, ASHAScheduler and MLflowLoggerCallback are called as in Tune's examples of each.
- The loop is that of PyTorch's DCGAN tutorial, without what it prints and plots.

The metric is lent by sweeper: what its classifier sees in images, the half of the digits that its
scores are taken against, and 1,000 latents, so that both mean the same number. The formula is the
one that everybody copies. This favours the script, which gets features of plain layers to whom 8 px
are enough, and statistics of the digits that are computed once, not in every trial.

It writes ``result.json`` into its folder: what it took, the best final FID and, in seconds since it
was started, when each FID was reported.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

BEGUN = time.time()

import numpy as np  # noqa: E402  (what follows takes seconds, which count)
import ray  # noqa: E402
import torch  # noqa: E402
from ray import tune  # noqa: E402
from ray.air.integrations.mlflow import MLflowLoggerCallback  # noqa: E402
from ray.tune.schedulers import ASHAScheduler  # noqa: E402
from ray.tune.search.optuna import OptunaSearch  # noqa: E402
from scipy.linalg import sqrtm  # noqa: E402
from torch import Tensor, nn, optim  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

LATENT, WIDTH, BATCH, EVERY = 64, 16, 32, 100


class Metric(NamedTuple):
    """What an FID is taken by: an extractor of features, the Gaussian of real images, latents."""

    features: nn.Module
    mean: np.ndarray
    covariance: np.ndarray
    noise: Tensor


def generator() -> nn.Sequential:
    """The tutorial's, at 8 px; its last layer, like D's first and last, has sweeper's bias."""
    return nn.Sequential(
        nn.ConvTranspose2d(LATENT, WIDTH, 4, 1, 0, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(True),
        nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1),
        nn.Tanh(),
    )


def discriminator() -> nn.Sequential:
    """The tutorial's, at 8 px: between its first and its last layer there is no other."""
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(WIDTH, 1, 4, 1, 0),
        nn.Sigmoid(),
    )


def weights_init(m: nn.Module) -> None:
    if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(m.weight, 0.0, 0.02)
    elif isinstance(m, nn.BatchNorm2d):
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


def gaussian(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    x = features.double().numpy()
    return x.mean(0), np.cov(x, rowvar=False)


@torch.no_grad()
def fid(net_g: nn.Module, metric: Metric) -> float:
    net_g.eval()
    mean, covariance = gaussian(metric.features(net_g(metric.noise)))
    net_g.train()
    apart = mean - metric.mean
    root = sqrtm(covariance @ metric.covariance)
    return float(apart @ apart + np.trace(covariance + metric.covariance - 2 * root.real))


def train_dcgan(config: dict[str, Any], images: Tensor, metric: Metric) -> None:
    torch.manual_seed(config["seed"])
    net_g, net_d = generator().apply(weights_init), discriminator().apply(weights_init)
    optimizer_g = optim.Adam(net_g.parameters(), lr=config["lr_g"], betas=(0.5, 0.999))
    optimizer_d = optim.Adam(net_d.parameters(), lr=config["lr_d"], betas=(0.5, 0.999))
    criterion = nn.BCELoss()
    loader = DataLoader(TensorDataset(images), BATCH, shuffle=True, drop_last=True)
    batches = chain.from_iterable(repeat(loader))

    for step, (real,) in zip(range(1, config["steps"] + 1), batches, strict=False):
        # (1) Update D: maximize log(D(x)) + log(1 - D(G(z)))
        net_d.zero_grad()
        label = torch.full((len(real),), 1.0)
        criterion(net_d(real).view(-1), label).backward()
        fake = net_g(torch.randn(len(real), LATENT, 1, 1))
        label.fill_(0.0)
        criterion(net_d(fake.detach()).view(-1), label).backward()
        optimizer_d.step()

        # (2) Update G: maximize log(D(G(z)))
        net_g.zero_grad()
        label.fill_(1.0)
        criterion(net_d(fake).view(-1), label).backward()
        optimizer_g.step()

        if step % EVERY == 0:
            metrics = {"fid": fid(net_g, metric), "steps": step, "at": time.time()}
            parts = (net_g, net_d, optimizer_g, optimizer_d)
            with TemporaryDirectory() as folder:
                torch.save([p.state_dict() for p in parts], os.path.join(folder, "checkpoint.pt"))
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def lent(cache: Path) -> tuple[Metric, str]:
    """The metric as sweeper's sweeps have it, and the hash of its protocol."""
    from sweeper.catalog.datasets.store import normalise
    from sweeper.catalog.families import datasets
    from sweeper.catalog.priors import GaussianLatent
    from sweeper.config import Evaluation, Pick
    from sweeper.game import Streams, derive
    from sweeper.trial.evaluate import Evaluator
    from sweeper.trial.loop import open_store

    data = Pick(datasets["digits"], datasets["digits"].knobs())
    store, settings = open_store(data, cache), Evaluation()
    evaluator = Evaluator(settings, data, store, cache, torch.device("cpu"))
    features = evaluator.features.body  # plain layers, for which no worker has to import sweeper
    real = normalise(store[evaluator.indices("rung")])
    random = Streams(derive(settings.seed, "evaluation"))["rung"]
    noise = GaussianLatent(size=LATENT).shown(settings.samples, random)[:, :, None, None]
    with torch.no_grad():
        return Metric(features, *gaussian(features(real)), noise), evaluator.protocol.hash


def digits() -> Tensor:
    """All 1,797 of them: (n, 1, 8, 8) in [-1, 1]."""
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1


def sweep(seed: int, folder: Path, trials: int, steps: int) -> None:
    metric, protocol = lent(folder / "cache")
    tuner = tune.Tuner(
        tune.with_parameters(train_dcgan, images=digits(), metric=metric),
        param_space={
            "lr_g": tune.loguniform(1e-4, 1e-2),
            "lr_d": tune.loguniform(1e-4, 1e-2),
            "steps": steps,
            "seed": seed,
        },
        tune_config=tune.TuneConfig(
            metric="fid",
            mode="min",
            search_alg=OptunaSearch(seed=seed),
            scheduler=ASHAScheduler(
                time_attr="steps", max_t=steps, grace_period=EVERY, reduction_factor=3
            ),
            num_samples=trials,
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(folder),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder}/mlflow.db",
                    experiment_name="stock",
                    save_artifact=True,
                )
            ],
        ),
    )
    results = tuner.fit()
    best = results.get_best_result("fid", "min")
    print("Best trial config:", best.config)
    print("Best trial final FID:", best.metrics["fid"])

    tables = [result.metrics_dataframe for result in results]
    rows = [(r.at - BEGUN, r.fid) for t in tables if t is not None for r in t.itertuples()]
    told = {
        "wall": time.time() - BEGUN,
        "final": best.metrics["fid"],
        "line": sorted(rows),
        "protocol": protocol,
        "errors": results.num_errors,
    }
    (folder / "result.json").write_text(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--steps", type=int, default=900)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # where MLflow puts its artifacts
    # Other Rays of this machine are left alone, and this one leaves nothing behind.
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as temp:
        ray.init(address="local", _temp_dir=temp)
        sweep(asked.seed, folder, asked.trials, asked.steps)
        ray.shutdown()


if __name__ == "__main__":
    main()
