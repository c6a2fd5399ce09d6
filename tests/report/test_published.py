"""Ours beside a paper's numbers: which runs are compared, and how alike the orders are."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from sweeper.report.page import render
from sweeper.report.published import Line, correlation, has, kendall, tables
from sweeper.report.ranking import Sweep, load

from .folders import trial


def row(number, score, role="search", of=None, baseline=None, **more):
    config = {"loss": {"hinge": {}}, "regularizers": {}} | more.pop("config", {})
    whole = {"trial": number, "name": f"t{number}", "score": score, "role": role, "of": of}
    whole |= {"baseline": baseline, "heldout": None, "state": "completed"}
    return whole | {"config": json.dumps(config)} | more


def entry(name, value, metric="fid", data="mnist", **setting):
    whole = {"name": name, "value": value, "metric": metric, "data": data, "source": "a paper"}
    return whole | {"deviation": None, "setting": setting}


def read(tmp_path, trials, *entries):
    return tables(Sweep(tmp_path, {"published": list(entries)}, trials, []))


def line(theirs, *ours):
    return Line("a", theirs, None, "a paper", ours, len(ours), 0)


@given(
    st.integers(2, 9).flatmap(
        lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)
    )
)
def test_tau_is_kendalls(columns):
    ours, theirs = (np.array(column, float) for column in columns)
    mine, known = kendall(ours[None], theirs)[0], kendalltau(ours, theirs).statistic
    assert mine == pytest.approx(known, nan_ok=True)


def test_an_order_that_is_alike_and_one_that_is_reversed():
    alike = [line(theirs, theirs + 0.01, theirs - 0.01) for theirs in (1.0, 2.0, 3.0, 4.0)]
    found = correlation(alike)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    back = correlation([line(theirs, -theirs, -theirs) for theirs in (1.0, 2.0, 3.0)])
    assert back.value == back.low == -1


def test_the_interval_covers_what_more_seeds_would_say():
    """Of settings whose means are far apart for the spread of their seeds, τ is that of the means,
    and the interval has it as often as it says, at the least."""
    random, means, theirs = np.random.default_rng(0), [1.0, 1.5, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]
    hits = 0
    for _ in range(100):
        found = correlation(
            [line(t, *(m + random.normal(0, 0.5, 10))) for t, m in zip(theirs, means, strict=True)]
        )
        hits += found.low <= 1.0 <= found.high
    assert hits >= 93


def test_too_few_to_have_an_order(tmp_path):
    assert correlation([line(1, 1.0), line(2, 2.0)]) is None
    assert correlation([line(1, 1.0), line(2, 1.0), line(3, 1.0)]) is None
    once = correlation([line(1, 1.0), line(2, 2.0), line(3, 3.0)])
    assert once.value == 1
    assert once.low is None


def test_a_baseline_is_found_by_its_name_with_all_its_seeds(tmp_path):
    trials = [
        row(0, 3.0, "baseline", baseline="GAN"),
        row(1, 5.0, "repeat", of=0, baseline="GAN"),
        row(2, 1.0),
    ]
    (table,) = read(tmp_path, trials, entry("GAN", 6.3), entry("PacGAN2", 7.9))
    assert table.lines[0].ours == (3.0, 5.0)
    assert table.lines[0].mean == 4.0
    assert table.lines[0].spread == pytest.approx(math.sqrt(2))
    assert table.lines[1].runs == 0
    assert table.says == "too few were run to compare their order, of 1 that were run of 2"


def test_a_searched_setting_is_its_best_configuration_on_fresh_seeds(tmp_path):
    trials = [
        row(0, 4.0),
        row(1, 2.0),
        row(2, 1.0, config={"loss": {"wasserstein": {}}}),
        row(3, 3.0, "confirm", of=1),
        row(4, 9.0, "ablation", of=1),
    ]
    (table,) = read(tmp_path, trials, entry("hinge", 10, loss="hinge"))
    assert table.lines[0].ours == (3.0,)


def test_other_metrics_have_columns_of_their_own(tmp_path):
    trials = [row(0, 4.0, baseline="GAN", **{"metric.modes": 6}), row(1, 4.0, baseline="Pac")]
    entries = [entry(name, 1, metric="modes", data="ring") for name in ("GAN", "Pac")]
    (table,) = read(tmp_path, trials, *entries)
    assert [line.ours for line in table.lines] == [(6.0,), ()]


def test_the_distance_is_that_on_what_was_held_out(tmp_path):
    trials = [row(0, 4.0, baseline="GAN", heldout=5.0)]
    (table,) = read(tmp_path, trials, entry("GAN", 1))
    assert table.lines[0].ours == (5.0,)


@pytest.mark.parametrize(
    ("path", "value", "there"),
    [
        ("loss", "hinge", True),
        ("loss", "wasserstein", False),
        ("regularizers.r1_penalty", True, True),
        ("regularizers.dragan", False, True),
        ("regularizers.r1_penalty", False, False),
        ("regularizers.r1_penalty.gamma", 10, True),
        ("discriminator.constraint", False, True),
        ("batch.size", 32, False),
    ],
)
def test_what_a_trial_has(path, value, there):
    config = {
        "loss": {"hinge": {}},
        "regularizers": {"r1_penalty": {"gamma": 10.0}},
        "discriminator": {"constraint": None},
        "batch": {"size": 64},
    }
    assert has(config, path, value) is there


def test_the_report_has_theirs_beside_ours(make):
    folder = make(
        [trial(9.0, 5.0, baseline="NS GAN"), trial(9.0, 6.0)],
        published=[entry("NS GAN", 6.8), entry("VAE", 23.8)],
    )
    page = render(load(folder))
    assert "Beside the published numbers" in page
    assert "not run by us" in page
    assert "6.80" in page
