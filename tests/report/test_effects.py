"""Effects: do their intervals hold the truth, though a search chose what to try?"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from sweeper.report.effects import (
    Effects,
    change,
    effects,
    effects_json,
    effects_lines,
    holm,
    shown,
)
from sweeper.report.ranking import Sweep
from tests.report.folders import trial as run
from tests.report.folders import write
from tests.report.synthetic import (
    NOISE,
    PARAMETERS,
    TRUTH,
    Params,
    applies,
    measurement,
    objective,
    sweep,
    trial,
    value,
)


def covered(found: list[Effects]) -> dict[str, float]:
    """How often intervals held the truth, those of all trials and those of the design."""
    held = defaultdict[str, list[bool]](list)
    for effect in (one for each in found for one in each.effects):
        truth = TRUTH[effect.name, effect.then, effect.instead]
        for kind in ("all", "balanced"):
            if (estimate := getattr(effect, kind)) is not None:
                held[kind].append(abs(estimate.difference - truth) <= estimate.half)
    assert all(len(each) > 5 * len(found) for each in held.values())
    return {kind: float(np.mean(each)) for kind, each in held.items()}


def falsely(found: Effects) -> bool:
    """Whether some effect is called one that is none, or is the other way round."""
    truths = ((e, TRUTH[e.name, e.then, e.instead]) for e in found.effects if e.sure)
    return any(e.estimate is None or e.estimate.difference * truth <= 0 for e, truth in truths)


def test_intervals_hold_the_truth_though_an_adaptive_search_chose_the_trials() -> None:
    found = [effects(sweep(seed, 60, 15)) for seed in range(150)]
    for kind, share in covered(found).items():
        assert 0.92 <= share <= 0.98, kind
    assert np.mean([falsely(each) for each in found]) <= 0.05
    # The objective has no interactions, so that few sweeps may name one.
    assert np.mean([bool(each.interactions) for each in found]) <= 0.1
    strong = [e for each in found for e in each.effects if e.name == "discriminator.normalization"]
    assert np.mean([e.sure for e in strong]) > 0.5  # and what there is, is found


@pytest.mark.slow
def test_intervals_hold_the_truth_under_optunas_tpe() -> None:
    found = [effects(tpe(seed, 60, 15)) for seed in range(150)]
    for kind, share in covered(found).items():
        assert 0.92 <= share <= 0.98, kind
    assert np.mean([falsely(each) for each in found]) <= 0.05


def tpe(seed: int, trials: int, design: int) -> Sweep:
    """A sweep that goes on from a balanced design with Optuna's TPE."""
    first = sweep(seed, design, design)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
    study, rng = optuna.create_study(sampler=sampler), np.random.default_rng(seed)
    rows, measured = list(first.trials), list(first.measurements)
    space = {s["name"]: distribution(s) for s in PARAMETERS}
    for row in rows:
        held = {n: v for n in space if (v := row[f"param.{n}"]) is not None}
        drawn = {name: space[name] for name in held}
        told = optuna.trial.create_trial(
            params=held, distributions=drawn, value=math.log(row["score"])
        )
        study.add_trial(told)
    for number in range(design, trials):
        asked = study.ask()
        params: Params = {}
        for name in space:
            if applies(name, params):
                params[name] = asked._suggest(name, space[name])
        log = objective(params) + NOISE * rng.normal()
        study.tell(asked, log)
        rows.append(trial(number, "search", params, log))
        measured.append(measurement(number, log))
    return replace(first, trials=rows, measurements=measured)


def distribution(spec: dict[str, Any]) -> optuna.distributions.BaseDistribution:
    if spec["kind"] == "choice":
        return optuna.distributions.CategoricalDistribution(spec["choices"])
    if spec["kind"] == "int":
        return optuna.distributions.IntDistribution(spec["low"], spec["high"])
    return optuna.distributions.FloatDistribution(spec["low"], spec["high"], log=True)


def test_an_effect_without_noise_is_found_exactly_in_its_branch_and_outside() -> None:
    found = effects(noiseless(64))
    for effect in found.effects:
        assert effect.all is not None
        truth = TRUTH[effect.name, effect.then, effect.instead]
        assert effect.all.difference == pytest.approx(truth, abs=1e-6)
        assert effect.all.percent[0] == pytest.approx(100 * math.expm1(truth), abs=1e-4)


def noiseless(n: int) -> Sweep:
    """Random trials of the objective without noise."""
    rng = np.random.default_rng(0)
    rows, measured = [], []
    for number in range(n):
        params: Params = {}
        for spec in PARAMETERS:
            if applies(spec["name"], params):
                params[spec["name"]] = value(spec, rng.random())
        rows.append(trial(number, "search", params, objective(params)))
        measured.append(measurement(number, objective(params)))
    return Sweep(
        Path(), {"metric": "fid", "horizon_kimg": 9, "parameters": PARAMETERS}, rows, measured
    )


def test_what_depends_on_another_choice_is_named() -> None:
    def crossed(params: Params) -> float:
        both = params["tricks.ema"] and params["discriminator.normalization"] == "batch_norm"
        return objective(params) - 0.8 * both

    found = effects(sweep(1, 96, 48, crossed))
    first = found.interactions[0]
    assert {first.first, first.second} == {"tricks.ema", "discriminator.normalization"}
    assert first.times == pytest.approx(math.exp(-0.8), rel=0.4)
    said = first.says({spec["name"]: spec["name"] for spec in PARAMETERS})
    assert "tricks.ema true" in said
    assert "times as large with" in said


def test_trials_are_compared_where_all_of_them_came_to() -> None:
    whole = sweep(0, 40, 20)
    early = [measurement(t["trial"], 5.0, images=3000) for t in whole.trials]
    rows = [
        t | {"images": 3000, "state": "stopped"} if t["trial"] == 3 else t for t in whole.trials
    ]
    late = [m for m in whole.measurements if m["trial"] != 3]
    measured = sorted([*early, *late], key=lambda m: (m["trial"], m["images"]))
    found = effects(replace(whole, trials=rows, measurements=measured))
    assert found.share == pytest.approx(1 / 3)
    differences = [e.all.difference for e in found.effects if e.all is not None]
    assert differences == pytest.approx([0.0] * len(differences), abs=1e-9)  # all were alike then


def test_a_broken_trial_counts_among_the_failures_of_its_options_alone() -> None:
    whole = sweep(0, 60, 40)
    name = "param.discriminator.normalization"
    rows = [t | {"state": "diverged"} if t[name] == "none" else t for t in whole.trials]
    found = effects(replace(whole, trials=rows))
    assert found.trials == sum(t[name] != "none" for t in whole.trials)
    worst = found.failing[0]
    assert (worst.name, worst.option) == ("discriminator.normalization", "none")
    assert worst.broken == worst.trials
    assert worst.adjusted < 1e-6
    assert 0.7 < worst.low < worst.high == 1.0
    assert not any(e.name == "discriminator.normalization" for e in found.effects)


def test_seeds_of_one_configuration_count_as_one() -> None:
    whole = sweep(0, 40, 20)
    again = trial(40, "repeat", {}, 9.0, of=0)
    both = replace(
        whole,
        trials=[*whole.trials, again],
        measurements=[*whole.measurements, measurement(40, 2 * 9.0 - 3.0)],
    )
    alone = effects(whole)
    found = effects(both)
    assert found.trials == alone.trials == 40
    moved = [math.log(whole.trials[0]["score"]), 15.0]
    assert np.mean(moved) != moved[0]
    assert [e.all for e in found.effects] != [e.all for e in alone.effects]


def test_too_few_trials_are_not_enough_evidence(tmp_path: Path) -> None:
    folder = write(tmp_path / "few", [run(9.0, 8.0), run(9.0, 7.0)])
    assert effects_lines(folder) == [
        "Not enough evidence: these effects take 10 trials of the search that did not break, or 8 "
        "of a balanced design (search.balanced), but there are 2."
    ]
    assert json.loads(effects_json(folder))["effects"] == []


def test_the_trials_that_are_missing_shrink_with_the_effect() -> None:
    found = effects(sweep(3, 60, 15))
    unsure = [e for e in found.effects if not e.sure]
    assert unsure
    for effect in unsure:
        assert effect.says.startswith("not enough evidence")
    sizes = sorted((abs(e.all.difference) / e.all.error, e.all.more) for e in unsure if e.all)
    assert [more for _, more in sizes] == sorted((more for _, more in sizes), reverse=True)


def test_the_report_shows_each_effect_on_one_scale() -> None:
    whole = sweep(2, 60, 15)
    seen = shown(whole)
    assert seen is not None
    assert seen["design"]
    found = effects(whole).found
    assert [row["name"] for row in seen["rows"]] == [effect.name for effect in found]
    for row, effect in zip(seen["rows"], found, strict=True):
        assert effect.estimate is not None
        low, middle, high = row["bar"]
        assert 0 <= low <= middle <= high <= 120
        assert (high < 60 or low > 60) == (effect.estimate.chance < 0.05)
        assert row["all"] == change(effect.estimate)
        assert (row["colour"] == "grey") != effect.sure
    assert shown(replace(whole, trials=[])) is None


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
