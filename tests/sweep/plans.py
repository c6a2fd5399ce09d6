"""Sweeps small enough for tests: real data, real networks, a hundredth of the budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.ledger.ledger import Event
from sweeper.sweep.executor import Job, Sweep
from sweeper.sweep.plan import Plan, Settings, prepare

SPACES = Path(__file__).parents[2] / "search_spaces"
SMALL = (
    "budget.max=0.144",
    "batch.size=8",
    "architecture.dcgan.channels=4",
    "prior.gaussian_latent.size=8",
    "evaluation.features=random_conv",
    "evaluation.samples=16",
    "evaluation.full_samples=16",
    "search.balanced=0",
    "confirm.top=0",
)
"""What makes trials take a fraction of a second, and a sweep of as many as are asked for."""


def small(out: Path, *, trials: int = 6, seed: int = 0, name: str | None = None) -> Plan:
    """``ttur.yaml`` on digits, cut down so that a trial takes a fraction of a second."""
    plan = prepare(Settings(SPACES / "ttur.yaml", "digits", SMALL, trials, seed, name, out))
    plan.write()
    return plan


@dataclass
class Simulated:
    """An executor whose trials are curves, several at a time, with faults on request."""

    concurrency: int = 2
    faults: dict[int, str] = field(default_factory=dict)
    stop_after: int | None = None
    reports: int = 0

    def run(self, sweep: Sweep) -> None:
        """Give each live trial one report in turn until nothing is left to do."""
        live: list[tuple[Job, Iterator[dict[str, Any]]]] = []
        while True:
            while len(live) < self.concurrency and (job := sweep.next()):
                live.append((job, curve(job, sweep.plan, self.faults.pop(job.number, ""))))
            if not live or self.stop_after == self.reports:
                return
            job, reports = live.pop(0)
            report = next(reports, None)
            if report == {"kind": "lost"}:
                sweep.lost(job, "the worker process died")
            elif report is not None and sweep.report(job, report):
                self.reports += 1
                live.append((job, reports))
            else:
                sweep.finished(job)


def curve(job: Job, plan: Plan, fault: str) -> Iterator[dict[str, Any]]:
    """Scores of a trial that a formula trains: better near lr 2e-3, falling with budget."""
    lr = job.trial["generator"]["optimizer"]["adam"]["lr"]
    floor, best = 10 + 40 * abs(math.log10(lr / 2e-3)), math.inf
    for k in range(1, 10):
        images = plan.every * k
        if k == 3 and fault == "nan":
            yield {"kind": "diverged", "reason": "the score is not finite"}
            return
        if k == 3 and fault == "raise":
            failed = {"reason": "RuntimeError: no", "traceback": "Traceback: no"}
            yield {"kind": "failed", "cause": "exception", **failed}
            return
        if k == 3 and fault == "lost":
            yield {"kind": "lost"}
            return
        score = floor + 300 * math.exp(-k)
        best = min(best, score)
        yield {
            "kind": "measured",
            "images": images,
            "score": score,
            "best": best,
            "best_images": images,
            "losses": {"discriminator.adversarial": 1.0},
            "seconds": float(k),
            "images_per_second": 100.0,
            "protocol": plan.protocol.hash,
            "heldout": best + 1 if images >= plan.horizon else None,
            "verdicts": [verdict(fault)] if k >= 3 and fault in ("warn", "fail") else [],
        }


def verdict(level: str) -> dict[str, str]:
    return {"name": "d_loss_zero", "level": level, "says": "D has won", "advice": "a lower rate"}


@dataclass
class Heard:
    """A listener that remembers."""

    events: list[Event] = field(default_factory=list)

    def observe(self, event: Event) -> None:
        self.events.append(event)
