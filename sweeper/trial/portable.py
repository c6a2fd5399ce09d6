"""A trained generator by itself: a file of tensors that knows how to be built again, without the
data, the trainer, and what ran it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sweeper
from sweeper.catalog.datasets.store import Store
from sweeper.config import Trial
from sweeper.game import Context, Known, Prior
from sweeper.trial.feed import Range, range_of
from sweeper.trial.networks import build
from sweeper.trial.tensors import read_tensors, write_tensors

FORMAT = "sweeper generator 1"


class Sampler(nn.Module):
    """Maps latents (n, size) to images (n, C, H, W) in [-1, 1], or to points (n, K): a generator as
    it was when it was best, in evaluation mode.

    Where it was told more, it still is: each sample's class, ``label`` (n,); images to start from,
    or whose style to take, (n, C, H, W) in [-1, 1]; masks (n, M, H, W) in [0, 1]. Gradients flow
    back to the latents.
    """

    def __init__(self, generator: nn.Module, prior: Prior) -> None:
        super().__init__()
        self.generator, self.prior = generator, prior
        self.size = prior.size
        self.requires_grad_(False).eval()

    def forward(
        self,
        z: Tensor,
        label: Tensor | None = None,
        source: Tensor | None = None,
        reference: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        told = Context(label, source=source, reference=reference, mask=mask)
        made: Tensor = self.generator(z, told)
        return made

    def latents(self, n: int, seed: int = 0) -> Tensor:
        """So many latents (n, size) of the prior that it was trained with."""
        return self.prior.shown(n, torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Plan:
    """All that it takes to build a trial's generator again: the trial, the shape of an example,
    what is known of each, and how the networks see the levels of images."""

    trial: Trial
    shape: tuple[int, ...]
    known: Known
    range: Range

    @classmethod
    def of(cls, trial: Trial, store: Store) -> Plan:
        """That of a trial on the data of a store."""
        return cls(trial, store.meta.shape, store.meta.known, range_of(trial.feed, store))

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Plan:
        """What ``plain`` wrote. Raises Misfit for a trial of techniques that there are not."""
        moments = {
            name: (torch.tensor(mean)[:, None, None], torch.tensor(deviation)[:, None, None])
            for name, (mean, deviation) in plain["moments"].items()
        }
        return cls(
            Trial.read(plain["trial"]),
            tuple(plain["shape"]),
            Known(**plain["known"]),
            Range(plain["range"], moments),
        )

    def plain(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {
            "trial": self.trial.plain(),
            "shape": list(self.shape),
            "known": self.known._asdict(),
            "range": self.range.name,
            "moments": {
                name: [moment.flatten().tolist() for moment in pair]
                for name, pair in self.range.moments.items()
            },
        }

    def sampler(self, state: Mapping[str, Tensor]) -> Sampler:
        """The generator with the weights and buffers of a state."""
        made = build(self.trial, self.shape, self.known).generator
        made.load_state_dict(state)
        return Sampler(self.range.showing(made), self.trial.prior.make())


def write_generator(path: Path, plan: Plan, state: Mapping[str, Tensor]) -> None:
    """Write a generator: its tensors, and how to build what they belong to."""
    about = {"format": FORMAT, "version": sweeper.__version__, "plan": json.dumps(plan.plain())}
    write_tensors(path, state, about)


def read_generator(path: Path) -> Sampler:
    """The generator of a file. Raises ValueError for a file that is none, Misfit for one of
    techniques that there are not, and OSError."""
    state, about = read_tensors(path)
    if about.get("format") != FORMAT:
        raise ValueError(f"sweeper export --best writes a generator, but {path} is not of it")
    return Plan.read(json.loads(about["plan"])).sampler(state)
