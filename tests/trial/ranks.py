"""Two ranks that train many trials one after another, and one that trains them alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sweeper.config import Trial
from sweeper.game import ALONE, Ranks
from sweeper.trial.loop import Training
from sweeper.trial.parallel import joined
from sweeper.verify.contracts import CLOCKS

State = dict[str, Any]


def pair(trials: Mapping[str, Any], cache: Path, folder: Path, timeout: float) -> None:
    """Train trials with two ranks; the state of each rank is ``NAME-RANK.pt`` in the folder."""
    (folder / "trials.json").write_text(json.dumps(trials))
    command = [sys.executable, "-W", "error", "-m", "tests.trial.ranks", str(cache), str(folder)]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in (0, 1)]
    try:
        assert [rank.wait(timeout) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


def main(argv: Sequence[str]) -> None:
    cache, folder, rank = Path(argv[0]), Path(argv[1]), int(argv[2])
    torch.set_num_threads(1)
    trials = json.loads((folder / "trials.json").read_text())
    with joined(rank, 2, folder) as ranks:
        for name, tree in trials.items():
            torch.save(end(tree, cache, ranks), folder / f"{name}-{rank}.pt")


def end(tree: Mapping[str, Any], cache: Path, ranks: Ranks = ALONE) -> State:
    """The state of a trial at its end."""
    training = Training(Trial.read(tree), cache, ranks=ranks)
    while not training.finished:
        training.advance()
    return training.state_dict()


def apart(a: Any, b: Any, path: str = "", rtol: float = 1e-5, atol: float = 1e-6) -> Iterator[str]:
    """Where two states differ by more than rounding; what a clock measured is left out."""
    if isinstance(a, Tensor) and a.dtype.is_floating_point:
        if a.dtype != b.dtype or not torch.allclose(a, b, rtol, atol, equal_nan=True):
            yield f"{path}: off by {(a - b).abs().max():.2g} of {b.abs().max():.2g}"
    elif isinstance(a, Tensor):
        if not torch.equal(a, b):
            yield path
    elif isinstance(a, float):
        if abs(a - b) > rtol * abs(b) + atol:
            yield f"{path}: {a} and {b}"
    elif isinstance(a, dict):
        if list(a) != list(b):
            yield f"{path}: {list(a)} and {list(b)}"
        for key in [key for key in a if key in b and key not in CLOCKS]:
            yield from apart(a[key], b[key], f"{path}.{key}", rtol, atol)
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            yield f"{path}: {len(a)} and {len(b)} items"
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from apart(x, y, f"{path}.{i}", rtol, atol)
    elif a != b:
        yield f"{path}: {a} and {b}"


if __name__ == "__main__":
    main(sys.argv[1:])
