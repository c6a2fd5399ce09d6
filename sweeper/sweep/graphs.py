"""Trained generators as graphs of torch's operations, which run without sweeper."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.catalog.architectures.progressive_growing import Growing
from sweeper.sweep.generate import given_for
from sweeper.sweep.trained import trained
from sweeper.trial.portable import Sampler

EXAMPLES = 4
"""Latents of the input example. torch takes a single one to mean that there is never another."""

TOLD = ("label", "source", "reference", "mask")
"""What a generator may be told of each sample beside its latents, in the order of its inputs."""


class Inputs(nn.Module):
    """A generator whose inputs have places: latents, and what it is told under so many names."""

    def __init__(self, sampler: Sampler, names: Sequence[str]) -> None:
        super().__init__()
        self.sampler, self.names = sampler, tuple(names)
        self.eval()
        for part in sampler.modules():
            if isinstance(part, Growing):
                stand_still(part)

    def forward(
        self,
        z: Tensor,
        first: Tensor | None = None,
        second: Tensor | None = None,
        third: Tensor | None = None,
        fourth: Tensor | None = None,
    ) -> Tensor:
        told = dict(zip(self.names, (first, second, third, fourth), strict=False))
        made: Tensor = self.sampler(z, **told)
        return made


def stand_still(part: Growing) -> None:
    """Have a network stay as large as it has grown: a graph cannot choose its way by a tensor."""
    grown = float(part.grown)
    del part.grown
    object.__setattr__(part, "grown", grown)


def write(folder: Path, number: int, into: Path) -> dict[str, str]:
    """Write the generator of a trial, as it was when it was best, as a model of MLflow's, which
    ``mlflow.pytorch.load_model`` loads: operations of torch and their weights, no pickle. It maps
    latents (n, size), and what else it has to be told of each sample, to images (n, C, H, W) in
    [-1, 1], or to points (n, K), on a CPU. Returns what is told about it, as tags.

    Raises InputError for a trial without a checkpoint, ValueError for a generator that makes so
    many images and no others, and whatever torch says of one whose operations depend on what they
    compute.
    """
    (found,) = trained(folder, number)
    store = found.store()
    sampler = found.sampler(store)
    given = given_for(found.trial, store, EXAMPLES, torch.Generator().manual_seed(0), 1)
    context = given.context(slice(EXAMPLES), torch.device("cpu"))
    known = {name: x for name in TOLD if (x := getattr(context, name)) is not None}
    inputs = {"z": sampler.latents(EXAMPLES)} | needed(sampler, sampler.latents(EXAMPLES), known)
    save(Inputs(sampler, [name for name in inputs if name != "z"]), inputs, into)
    check(into, {name: torch.cat([x, x])[: EXAMPLES + 1] for name, x in inputs.items()})
    return {
        "sweeper.prior": json.dumps(found.trial.plain()["prior"]),
        "sweeper.inputs": ", ".join(inputs),
        "sweeper.needs": "torch",
    }


def needed(sampler: Sampler, z: Tensor, told: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a generator has to be told: that without which it makes something else, or nothing."""

    def made(told: Mapping[str, Tensor]) -> Tensor:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            images: Tensor = sampler(z, **told)
        return images

    def idle(name: str) -> bool:
        try:
            return torch.equal(made({k: x for k, x in told.items() if k != name}), whole)
        except Exception:  # whatever a technique does without what it needs
            return False

    whole = made(told)
    return {name: x for name, x in told.items() if not idle(name)}


def save(module: Inputs, inputs: Mapping[str, Tensor], into: Path) -> None:
    """Have MLflow write a generator with its signature and an example of its inputs."""
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def spec(x: Tensor, name: str | None = None) -> Any:
        return TensorSpec(x.numpy().dtype, (-1, *x.shape[1:]), name)

    example = tuple(x.numpy() for x in inputs.values())
    # A generator's own noise must not change what is drawn after it.
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its exporter
        mlflow.pytorch.save_model(
            module,
            str(into),
            signature=ModelSignature(
                inputs=Schema([spec(x, name) for name, x in inputs.items()]),
                outputs=Schema([spec(module(*inputs.values()))]),
            ),
            input_example=example if len(example) > 1 else example[0],
            serialization_format="pt2",
            # Else MLflow finds out by loading it in another process, which takes a while.
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )


def check(model: Path, inputs: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless a written generator takes batches of another size, too."""
    graph = torch.export.load(model / "data" / "model.pt2").module()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            graph(*inputs.values())
    except (AssertionError, RuntimeError):
        law = f"a graph takes batches of any size, but this one only those of {EXAMPLES}"
        raise ValueError(law) from None
