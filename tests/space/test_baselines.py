"""Baselines: any path may be set, and what is left open takes its plainest value."""

from __future__ import annotations

import pytest

from sweeper.config import Misfit
from sweeper.space.baselines import Baseline
from sweeper.space.holes import at

SPACE = """
trial:
  generator: {optimizer: {adam: {lr: {loguniform: [1e-4, 1e-2]}}}}
  discriminator:
    normalization: none
    optimizer: {adam: {lr: {ratio_of: generator.optimizer.adam.lr, loguniform: [0.25, 8]}}}
  loss: {choice: [non_saturating, {hinge: {margin: {uniform: [0.5, 2]}}}]}
  regularizers: {r1_penalty: {maybe: {gamma: {loguniform: [0.01, 10]}}}}
  tricks: {ema: {half_life_kimg: 1}}
"""
G, D = "generator.optimizer.adam.lr", "discriminator.optimizer.adam.lr"


def drawn(space, **given):
    params, trial = space(SPACE).baseline(Baseline("", given))
    return params, trial.plain()


def test_with_nothing_set_everything_is_at_its_plainest(space):
    params, plain = drawn(space)
    assert params == {
        G: 2e-4,
        f"{D}.ratio": pytest.approx(2**0.5),
        "loss": "non_saturating",
        "regularizers.r1_penalty": False,
    }
    assert plain["loss"] == {"non_saturating": {}}
    assert plain["tricks"] == {"ema": {"half_life_kimg": 1.0, "warmup": 0.0}}


@pytest.mark.parametrize(
    ("given", "params", "values"),
    [
        ({G: 1e-3}, {G: 1e-3}, {G: 1e-3}),
        ({G: 0.5}, {G: 0.5}, {G: 0.5}),  # outside of what is searched
        ({G: 1e-3, D: 4e-3}, {f"{D}.ratio": 4.0}, {D: 4e-3}),
        ({G: 1e-3, f"{D}.ratio": 2}, {f"{D}.ratio": 2}, {D: 2e-3}),
        (
            {"loss": "hinge"},
            {"loss": "hinge", "loss.hinge.margin": 1.0},
            {"loss.hinge.margin": 1.0},
        ),
        ({"loss.hinge.margin": 2}, {"loss": "hinge", "loss.hinge.margin": 2.0}, {}),
        ({"loss": {"hinge": {"margin": 2}}}, {"loss": "hinge", "loss.hinge.margin": 2.0}, {}),
        (
            {"loss": "least_squares"},
            {"loss": "least_squares"},
            {"loss.least_squares.coding": "zero_one"},
        ),
        (
            {"loss.least_squares.coding": "pearson"},
            {"loss": "least_squares"},
            {"loss.least_squares.coding": "pearson"},
        ),
        ({"regularizers.r1_penalty": True}, {"regularizers.r1_penalty": True}, {}),
        ({"regularizers.r1_penalty.gamma": 3}, {"regularizers.r1_penalty.gamma": 3.0}, {}),
        ({"regularizers": {"r1_penalty": {"every": 4}}}, {}, {"regularizers.r1_penalty.every": 4}),
        ({"tricks.ema": False}, {}, {"tricks": {}}),
        ({"tricks.ema": True}, {}, {"tricks.ema.half_life_kimg": 1.0}),
        ({"tricks.instance_noise.sigma": 0.2}, {}, {"tricks.instance_noise.sigma": 0.2}),
        (
            {"discriminator.constraint": "spectral_norm"},
            {},
            {"discriminator.constraint.spectral_norm.iterations": 1},
        ),
        ({"discriminator": {"optimizer": "sgd"}}, {}, {"discriminator.optimizer.sgd.lr": 0.01}),
        ({"batch.size": 8}, {}, {"batch.size": 8}),
    ],
)
def test_any_path_may_be_set(space, given, params, values):
    found, plain = drawn(space, **given)
    for name, value in params.items():
        assert found[name] == (pytest.approx(value) if isinstance(value, float) else value)
    for path, value in values.items():
        assert at(plain, path) == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("given", "law"),
    [
        ({"batch.sise": 8}, "there is no key 'sise' here"),
        ({"loss": "hing"}, "there is no 'hing' among the losses"),
        ({G: "fast"}, "lr must be a number, but got 'fast'"),
        ({G: -1}, "lr must be greater than 0"),
        ({"loss": "non_saturating", "loss.hinge.margin": 2}, "another setting rules that out"),
        ({"tricks.ema": False, "tricks.ema.half_life_kimg": 2}, "another setting rules that out"),
        ({"loss": "wasserstein"}, "wasserstein needs lipschitz"),
    ],
)
def test_what_is_no_trial_is_refused(space, given, law):
    with pytest.raises(Misfit, match=law):
        drawn(space, **given)


def test_what_a_baseline_came_to_can_be_asked_for_again(space):
    """A space is walked with the parameters of each trial, those outside of its choices too."""

    class Recall:
        def __init__(self, params):
            self.params = params

        def suggest_float(self, name, low, high, **_):
            return self.params[name]

        suggest_int = suggest_float

        def suggest_categorical(self, name, choices):
            return self.params[name]

    loaded = space(SPACE)
    for given in ({}, {"loss": "least_squares"}, {"regularizers.r1_penalty.gamma": 3}, {D: 1}):
        params, _ = loaded.baseline(Baseline("", given))
        loaded.walk(Recall(params))


def test_constraints_hold_for_baselines_too(refused):
    text = "constraints: [batch.size < 64]\nbaselines: [{name: plain}, {batch.size: 8}]\ntrial: {}"
    told = refused(text)
    assert "space.yaml:3:13: baselines.0: 'plain' is no trial: constraints.0" in told
    assert "baselines.1" not in told
