"""Watching training without touching it: what each round shows, summed up by windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweeper.game import Player, Progress, Turn
from sweeper.stream import Layer, Series, Window, pooled, rounded
from sweeper.trial.gan import Gan

WINDOW = 100
"""Rounds in a window."""
AT_MOST = 4
"""Windows a measurement holds; more are merged by pairs."""
DECAY = 0.98
SAMPLED = 8
"""Of so many moves of a player one is looked at more closely than its loss."""


def seen_of(
    gan: Gan, turns: Sequence[Turn], terms: Sequence[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """What the turns of one player show: the terms of its loss, each the sum over its opponents,
    and now and then what else there is to see."""
    player, names = turns[0].player, dict.fromkeys(name for each in terms for name in each)
    seen = {
        f"{player}.{name}": reduce(torch.add, [e[name] for e in terms if name in e]).detach()
        for name in names
    }
    if player is Player.D and sampled(player, turns[0].progress):
        seen |= signals(gan, turns[0])
    return seen


def sampled(player: Player, progress: Progress) -> bool:
    """Whether the coming move of a player is one that is looked at closely."""
    return progress.moves[player] % SAMPLED == 0


@torch.no_grad()
def signals(gan: Gan, turn: Turn) -> dict[str, Tensor]:
    """What D's scores of its own turn say, beside its loss."""
    real, fake = turn.scores.real.detach(), turn.scores.fake.detach()
    found = {"real score": real.mean(), "fake score": fake.mean()}
    beliefs = gan.loss.beliefs(real, fake)
    if beliefs is not None:
        found |= {"real belief": beliefs[0].mean(), "fake belief": beliefs[1].mean()}
    return found


def gradient_norm(gan: Gan, player: Player, progress: Progress) -> dict[str, Tensor]:
    """The L2 norm of a player's whole gradient, as backward left it, now and then."""
    if not sampled(player, progress):
        return {}
    found = [p.grad for p in gan.parameters(player) if p.grad is not None]
    if not found:  # none of its networks plays now
        return {}
    norms = torch._foreach_norm(found)
    return {f"{player} gradient": torch.linalg.vector_norm(torch.stack(norms))}


def mean_of(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What was seen in each part of a batch, for the whole of it."""
    if len(parts) == 1:
        return dict(parts[0])
    names = parts[0] if parts else ()
    return {name: torch.stack([part[name] for part in parts]).mean() for name in names}


def layers(gan: Gan) -> dict[str, Layer]:
    """The last gradient of every layer, before anything corrected the next."""
    found = {}
    for player in Player:
        for network in gan.of(player):
            for name, parameter in network.named_parameters():
                if parameter.grad is not None and name.rpartition(".")[2] != "bias":
                    gradient = parameter.grad
                    zeros = 1 - torch.count_nonzero(gradient) / gradient.numel()
                    found[f"{player}.{name}"] = torch.stack([gradient.norm(), zeros])
    if not found:
        return {}
    values = torch.stack(list(found.values())).tolist()
    return {name: Layer(*map(rounded, pair)) for name, pair in zip(found, values, strict=True)}


class Watch:
    """Collects what each round shows, on its device, and sums up each window when it is over."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Mapping[str, Tensor]]] = []
        self.open: dict[str, list[float]] = {}
        self.rounds = 0
        self.images = 0
        self.averages: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.closed: list[Window] = []
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def note(self, images: int, seen: Mapping[str, Tensor]) -> None:
        """What one round showed, once so many images had been seen."""
        self.waiting.append((images, seen))

    def look(self) -> dict[str, float]:
        """Fetch what was noted since the last look. Returns the first value that is not finite,
        with its name, if there is one."""
        if not self.waiting:
            return {}
        values = iter(torch.stack([v for _, seen in self.waiting for v in seen.values()]).tolist())
        broken: dict[str, float] = {}
        for images, seen in self.waiting:
            for name, value in zip(seen, values, strict=False):
                if not broken and not abs(value) < float("inf"):
                    broken = {name: value}
                self._take(name, value)
            self.images, self.rounds = images, self.rounds + 1
            if self.rounds == WINDOW:
                self._close()
        self.waiting.clear()
        return broken

    def losses(self) -> dict[str, float]:
        """The mean of every term since this was last asked."""
        means = {k: v / self.counts[k] for k, v in self.sums.items() if "." in k}
        self.sums, self.counts = {}, {}
        return means

    def windows(self) -> tuple[Window, ...]:
        """The windows that ended since this was last asked, merged into no more than a few."""
        closed, self.closed = self.closed, []
        while len(closed) > AT_MOST:
            closed = [merged(closed[i : i + 2]) for i in range(0, len(closed), 2)]
        return tuple(closed)

    def _take(self, name: str, value: float) -> None:
        self.open.setdefault(name, []).append(value)
        average = self.averages.get(name, value)
        self.averages[name] = DECAY * average + (1 - DECAY) * value
        self.sums[name] = self.sums.get(name, 0.0) + value
        self.counts[name] = self.counts.get(name, 0) + 1

    def _close(self) -> None:
        series = {
            name: summed(values, self.averages[name], self.last.get(name))
            for name, values in self.open.items()
        }
        self.last |= {name: values[-1] for name, values in self.open.items()}
        self.closed.append(Window(self.images, self.rounds, series))
        self.open, self.rounds = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """What it holds; nothing may be waiting."""
        names = ("open", "rounds", "images", "averages", "last", "sums", "counts")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def summed(values: Sequence[float], average: float, before: float | None) -> Series:
    """One quantity over one window, given its value before the window."""
    seen = np.asarray(values)
    ordered = np.sort(seen)
    middle = np.median(ordered)
    spread = np.median(abs(seen - middle))
    known = seen if before is None else np.concatenate([[before], seen])
    return Series(
        len(values),
        rounded(seen.mean()),
        rounded(seen.std()),
        rounded(ordered[0]),
        rounded(ordered[len(ordered) * 9 // 10]),
        rounded(ordered[-1]),
        rounded(average),
        int((abs(seen - middle) > 6 * spread).sum()) if spread else 0,
        int((known[:-1] * known[1:] < 0).sum()),
    )


def merged(windows: Sequence[Window]) -> Window:
    """Neighbouring windows as one."""
    last = windows[-1]
    names = dict.fromkeys(name for window in windows for name in window.series)
    series = {name: pooled([w.series[name] for w in windows if name in w.series]) for name in names}
    return Window(last.images, sum(w.rounds for w in windows), series)
