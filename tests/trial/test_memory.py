"""Memory: a step finds that of the step before, and a trial gives back its own."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")

STEPS = """\
import resource, torch
from sweeper.trial.memory import keep_freed
if {keep}:
    keep_freed()
def step():
    kept = [torch.ones(2**19) for _ in range(16)]  # 2 MiB each, as activations of 32 px are
    del kept
for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


AT_FIRST = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""What glibc begins with, held fast: when it raises these by itself is not for a test to say."""


def faults(*, keep: bool) -> int:
    """How many pages the system clears in some steps of a process of its own."""
    code = [sys.executable, "-c", STEPS.format(keep=keep)]
    done = subprocess.run(
        code, capture_output=True, text=True, check=True, env=os.environ | AT_FIRST
    )
    return int(done.stdout)


def test_a_step_finds_the_memory_of_the_step_before() -> None:
    pages = 16 * 16 * 2**21 // resource.getpagesize()
    assert faults(keep=True) < pages / 100 < faults(keep=False)


GIVEN = """\
from pathlib import Path
import torch
from sweeper.trial.device import ready
def held():
    fields = dict(l.split(":") for l in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) // 1024
ready(0, 1)
before = held()
large = [torch.ones(2**21) for _ in range(32)]  # 8 MiB each
del large
kept = held()
ready(0, 1)
print(before, kept, held())
"""


def test_a_trial_begins_without_the_memory_of_the_one_before() -> None:
    code = [sys.executable, "-c", GIVEN]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    before, kept, after = map(int, done.stdout.split())
    assert kept > before + 200, "it is kept while a trial trains"
    assert after < before + 50
