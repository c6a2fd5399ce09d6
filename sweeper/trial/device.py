"""Where a trial computes, and how a process is readied for one."""

from __future__ import annotations

import gc

import torch

from sweeper.game import derive


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def ready(seed: int, threads: int) -> torch.device:
    """Make this process as good as new for one trial: global seed, threads, no garbage of the trial
    before."""
    gc.collect()
    torch.set_num_threads(threads)
    torch.manual_seed(derive(seed, "global"))
    torch.backends.cudnn.benchmark = False
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return choose_device()
