"""Every search space that ships loads for every kind of data, and its draws can be built."""

from __future__ import annotations

import pytest

from sweeper.config import Misfit, Problem
from sweeper.space.space import load, shipped
from sweeper.sweep.plan import preset_of
from sweeper.trial.assemble import probe

SHAPES = {"digits": ((1, 8, 8), 10), "ring": ((2,), 8)}
"""The shape of an example, and the number of classes."""
FILES = sorted(shipped().glob("*.yaml"))


@pytest.mark.parametrize("data", SHAPES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_space_draws_trials(path, data, asks):
    space = load(path, preset=preset_of({data: {}}), data={data: {}})
    fitting, built, misfits = 0, set(), list[Problem]()
    for ask in asks(50):
        try:
            trial = space.sample(ask)
        except Misfit as misfit:
            misfits += misfit.problems
            continue
        fitting += 1
        # Networks of the same layers need not be built twice.
        layers = repr((trial.architecture, trial.generator, trial.discriminator.normalization))
        layers += repr((trial.discriminator.constraint, trial.prior))
        same = "".join(c for c in layers if not c.isdigit())
        if same not in built:
            probe(trial, *SHAPES[data])
            built.add(same)
    assert fitting >= 25
    assert all(problem.path and problem.law for problem in misfits)
    for baseline in space.baselines:
        probe(space.baseline(baseline)[1], *SHAPES[data])
