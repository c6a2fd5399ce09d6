"""Reduced precision, and gradients taken in parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.config import Misfit, Trial
from sweeper.game import Player, Turn
from sweeper.trial.gan import Term
from sweeper.trial.loop import Training
from sweeper.trial.step import play_round

Tiny = Callable[..., dict[str, Any]]


def test_networks_compute_in_bfloat16_and_penalties_in_float32(tiny: Tiny, cache: Path) -> None:
    changes = {"regularizers": {"r1_penalty": {}}, "precision": "bfloat16"}
    training = Training(Trial.read(tiny(**changes)), cache)
    gan, seen = training.gan, list[tuple[bool, torch.dtype]]()
    inside = [False]

    def formula(turn: Turn, term: Term = gan.terms[0]) -> torch.Tensor:
        inside[0] = True
        try:
            return term.formula(turn)
        finally:
            inside[0] = False

    object.__setattr__(gan, "terms", (Term("r1_penalty", formula, "discriminator", 1),))
    head = gan.of(Player.D)[0].head
    head.register_forward_hook(lambda m, i, out: seen.append((inside[0], out.scores.dtype)))
    losses = play_round(gan, training.draw, training.progress, {})
    assert (True, torch.float32) in seen
    assert (False, torch.bfloat16) in seen
    assert set(seen) == {(True, torch.float32), (False, torch.bfloat16)}
    assert all(value.dtype is torch.float32 for value in losses.values())
    weights = [p for player in Player for p in gan.parameters(player)]
    assert all(p.dtype is torch.float32 and p.grad.dtype is torch.float32 for p in weights)


def test_bfloat16_stays_near_float32(tiny: Tiny, cache: Path) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        training = Training(Trial.read(tiny(precision=precision)), cache)
        losses.append(training.advance().losses)
    for name, value in losses[0].items():
        assert losses[1][name] == pytest.approx(value, rel=0.05)
        assert losses[1][name] != value


def test_parts_divide_the_batch(tiny: Tiny) -> None:
    with pytest.raises(Misfit, match=r"batch\.accumulate: size must divide.*8 and 3"):
        Trial.read(tiny(batch={"size": 8, "accumulate": 3}))
