"""One of two ranks that normalise unequal shares of a batch, each its own, over gloo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sweeper.game import Context, Coupled
from sweeper.trial.parallel import joined
from sweeper.verify.norm_statistics import norm


def main(argv: Sequence[str]) -> None:
    """Of each module, with its own part of a batch: the output, the slope of the part under weights
    that are given, and the state afterwards."""
    folder, rank = Path(argv[0]), int(argv[1])
    torch.set_num_threads(1)
    found = list[dict[str, Any]]()
    with joined(rank, 2, folder) as ranks:
        for case in torch.load(folder / "cases.pt", weights_only=True):
            module = norm(case["name"], **case["knobs"])
            module.load_state_dict(case["state"])
            for part in module.modules():
                if isinstance(part, Coupled):
                    part.ranks = ranks
            x = case["shares"][rank].requires_grad_()
            y = module(x, Context(mask=case["masks"][rank]))
            (slope,) = torch.autograd.grad((y * case["weights"][rank]).sum(), x)
            found.append({"y": y.detach(), "slope": slope, "state": module.state_dict()})
    torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1:])
