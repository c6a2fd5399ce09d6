"""What a sweep will take, from what a few of its trials took and from chance at the rungs."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from sweeper.sweep.rungs import Rungs

NOISE = 0.5
"""How much the score at a rung says beside how good a trial is, whose deviation is 1: two rungs'
ranks have a correlation of 0.8 then."""
SWEEPS = 400
"""Sweeps that are simulated, at most, and trials in all of them."""
TRIALS = 40_000


@dataclass(frozen=True)
class Pace:
    """How fast a trial goes: images a second while it trains, and the seconds of a measurement, of
    the one at the end, and of its start."""

    images: float
    measuring: float
    ending: float
    starting: float = 0.0

    def seconds(self, images: int, measurements: int, *, whole: bool) -> float:
        """What so much of a trial takes of a worker."""
        end = self.ending if whole else 0.0
        return self.starting + images / self.images + measurements * self.measuring + end


@dataclass(frozen=True)
class Shape:
    """A sweep as far as its cost goes.

    ``judged`` trials may be stopped at the ``rungs``, in images; after them come ``whole`` ones
    that are trained to the ``horizon``, ``first`` of them before all others. They are measured
    ``every`` so many images, judged among those of one of several ``brackets``, and ``together``
    run at once.
    """

    judged: int
    first: int
    whole: int
    rungs: tuple[int, ...]
    factor: int
    horizon: int
    every: int
    together: int
    brackets: int = 1

    @property
    def runs(self) -> int:
        return self.first + self.judged + self.whole

    @property
    def measurements(self) -> int:
        """How often a trial is measured that is not stopped."""
        return math.ceil(self.horizon / self.every)


@dataclass(frozen=True)
class Cost:
    """What a sweep takes: hours of all workers together, hours on the clock, measurements, and the
    images as a share of training every trial to the horizon."""

    worker: float
    wall: float
    measurements: int
    share: float


@dataclass(frozen=True)
class Forecast:
    """The costs of simulated sweeps, the cheapest first, and of one that stops nothing."""

    costs: Sequence[Cost]
    worst: Cost

    def at(self, share: float) -> Cost:
        """The cost that so large a share of the sweeps does not exceed."""
        return self.costs[min(int(share * len(self.costs)), len(self.costs) - 1)]

    @property
    def measurements(self) -> float:
        """How many there are on average."""
        return fmean(cost.measurements for cost in self.costs)


def forecast(shape: Shape, paces: Sequence[Pace], seed: int = 0) -> Forecast:
    """Simulate sweeps whose trials go at paces drawn from ``paces``, and are as good as any other.
    No trial breaks, which makes them a little too dear, and the search does not learn, which makes
    them a little too cheap, since of better and better trials more go on."""
    source = random.Random(seed)
    sweeps = max(20, min(SWEEPS, TRIALS // max(shape.runs, 1)))
    costs = [simulated(shape, paces, source, stop=True) for _ in range(sweeps)]
    costs.sort(key=lambda cost: cost.worker)
    dear = [max(paces, key=lambda p: p.seconds(shape.horizon, shape.measurements, whole=True))]
    return Forecast(costs, simulated(shape, dear, source, stop=False))


def simulated(shape: Shape, paces: Sequence[Pace], source: random.Random, *, stop: bool) -> Cost:
    """One sweep: the search, and after it the runs that confirm it. In truth, the first of these
    begin while the last of the search are under way."""
    rungs = Rungs(shape.rungs if stop else (), shape.factor)
    search = [True] * shape.first + [False] * shape.judged
    took, clock = [], 0.0
    for exempt in (search, [True] * shape.whole):
        done = list(phase(exempt, rungs, shape, paces, source))
        clock += max((end for end, _, _ in done), default=0.0)
        took += done
    images = sum(images for _, _, images in took)
    full = shape.runs * shape.horizon
    return Cost(
        sum(seconds for _, seconds, _ in took) / 3600,
        clock / 3600,
        sum(math.ceil(images / shape.every) for _, _, images in took),
        images / full if full else 0.0,
    )


def phase(
    exempt: Sequence[bool],
    rungs: Rungs,
    shape: Shape,
    paces: Sequence[Pace],
    source: random.Random,
) -> Iterator[tuple[float, float, int]]:
    """Trials of which so many run at once, each begun when a worker is free: when each ends, its
    seconds, and its images."""
    stops = (*rungs.levels, shape.horizon)
    brackets = [source.randrange(shape.brackets) for _ in exempt]
    quality = [source.gauss() for _ in exempt]
    # By the time at which it comes to its next stop: the trial, that stop, its start, and its pace.
    live: list[tuple[float, int, int, float, Pace]] = []

    def go(number: int, level: int, start: float, pace: Pace) -> None:
        images = stops[level]
        seconds = pace.seconds(
            images, math.ceil(images / shape.every), whole=level + 1 == len(stops)
        )
        heapq.heappush(live, (start + seconds, number, level, start, pace))

    waiting = iter(range(len(exempt)))
    for number in islice(waiting, max(1, shape.together)):
        go(number, 0, 0.0, source.choice(paces))
    while live:
        now, number, level, start, pace = heapq.heappop(live)
        last = level + 1 == len(stops)
        if not last and rungs.judge(
            number,
            stops[level],
            quality[number] + source.gauss(0, NOISE),
            exempt=exempt[number],
            bracket=brackets[number],
        ):
            go(number, level + 1, start, pace)
            continue
        yield now, now - start, stops[level]
        if (following := next(waiting, None)) is not None:
            go(following, 0, now, source.choice(paces))
