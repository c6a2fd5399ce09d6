"""Where a trial computes, and how a process is readied for one."""

from __future__ import annotations

import gc

import torch

from sweeper.game import derive
from sweeper.trial.memory import give_back, keep_freed

CONTEXT = 512 * 2**20
"""Bytes of a GPU that a process takes before its first tensor."""


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def confine(share: float) -> None:
    """Hold this process to its share of the GPU's memory, less what its context takes, so that a
    trial that grows fails alone. A share of 1 or more is all there is, and 0 is no GPU."""
    if share > 0 and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(allowed(share, total))


def allowed(share: float, total: int) -> float:
    """The fraction of a GPU's memory for the tensors of a process that has a share of it."""
    left = share - CONTEXT / total
    if share >= 1:
        return 1.0
    return left if left > 0 else share / 2  # a share that a context fills was not measured


def ready(seed: int, threads: int) -> torch.device:
    """Make this process as good as new for one trial: global seed, threads, neither garbage nor
    memory of the trial before."""
    gc.collect()
    keep_freed()
    give_back()
    torch.set_num_threads(threads)
    torch.manual_seed(derive(seed, "global"))
    torch.backends.cudnn.benchmark = False
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return choose_device()
