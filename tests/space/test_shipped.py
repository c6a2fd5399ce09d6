"""Every search space that ships loads for every kind of data, and its draws can be built."""

from __future__ import annotations

import pytest

from sweeper.config import Misfit, Problem
from sweeper.game import Known
from sweeper.space.space import data_of, load, shipped
from sweeper.sweep.plan import plainest, preset_of
from sweeper.trial.networks import probe

SHAPES = {"digits": ((1, 8, 8), Known(10)), "ring": ((2,), Known(8))}
"""The shape of an example, and what is known of it."""
SPACES = sorted([*shipped().glob("*.yaml"), *shipped().glob("papers/*.yaml")])
BASES = sorted(shipped().glob("base/*.yaml"))
PRESETS = sorted(shipped().glob("data/*.yaml"))
PAIRED = {"glyphs": {"task": "thin_to_bold", "length": 8}}
"""Data for translators."""
FEWEST = 8
"""Of 50 draws so many fit, at the least."""


OWN = [path for path in SPACES if data_of(path) is not None]
"""Those that say themselves what data they are for."""


def name(path):
    return path.relative_to(shipped()).with_suffix("").as_posix()


# What papers show on images is not for points.
ON = [
    pytest.param(path, data, id=f"{name(path)}-{data}")
    for path in SPACES
    for data in SHAPES
    if path not in OWN and not (data == "ring" and path.parent.name == "papers")
]


@pytest.mark.parametrize(("path", "data"), ON)
def test_a_shipped_space_draws_trials(path, data, asks):
    space = load(path, preset=preset_of({data: {}}), data={data: {}})
    check(space, asks, *SHAPES[data])


@pytest.mark.parametrize("path", OWN, ids=name)
def test_a_shipped_space_draws_trials_for_its_own_data(path, asks):
    data = data_of(path)
    space = load(path, preset=preset_of(data))
    check(space, asks, *of(space))


@pytest.mark.parametrize("path", BASES, ids=name)
def test_a_base_is_a_trial_once_its_data_is_named(path, asks):
    data = PAIRED if path.stem == "pix2pix" else {"digits": {"scale": 2}}
    space = load(path, preset=preset_of(data), data=data)
    assert not space.parameters
    check(space, asks, *of(space))


@pytest.mark.parametrize("path", PRESETS, ids=name)
def test_a_preset_makes_a_trial_of_its_data(path, asks):
    data = {path.stem: {}}
    space = load(shipped() / "base" / "dcgan.yaml", preset=preset_of(data), data=data)
    check(space, asks, *of(space))


def of(space):
    """The shape of a space's examples, and what is known of them."""
    example = plainest(space).data.make()[0]
    told = {"source": example.source, "mask": example.mask, "reference": example.style}
    channels = {key: 0 if array is None else len(array) for key, array in told.items()}
    return example.image.shape, Known(classes=2, paired=1, **channels)


def check(space, asks, shape, known):
    """Draws of a space fit, and their networks can be built."""
    fitting, built, misfits = 0, set(), list[Problem]()
    for ask in asks(50):
        try:
            trial = space.sample(ask)
            # Networks of the same layers need not be built twice.
            alike = {"optimizer": None, "freeze": ""}
            parts = [s.model_copy(update=alike) for s in (trial.generator, trial.discriminator)]
            layers = repr((trial.architecture, parts, trial.prior))
            same = "".join(c for c in layers if not c.isdigit())
            if same not in built:
                probe(trial, shape, known)
                built.add(same)
        except Misfit as misfit:
            misfits += misfit.problems
            continue
        fitting += 1
    assert fitting >= FEWEST if misfits else fitting == 50
    assert all(problem.path and problem.law for problem in misfits)
    for baseline in space.baselines:
        probe(space.baseline(baseline)[1], shape, known)
