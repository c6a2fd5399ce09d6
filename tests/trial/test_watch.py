"""What the watch makes of what each round shows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau  # type: ignore[import-untyped]

from sweeper.catalog.diagnostics.trends import steadiness
from sweeper.config import Trial
from sweeper.stream import Measurement, Window
from sweeper.trial.loop import Training, train
from sweeper.trial.watch import AT_MOST, DECAY, WINDOW, Watch, merged, summed

Tiny = Callable[..., dict[str, Any]]
numbers = st.floats(-1e3, 1e3, width=32)
rows = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=3 * WINDOW)


def watched(watch: Watch, values: list[tuple[float, float]], start: int = 0) -> None:
    """Note rounds of two quantities, of which the second is measured in every other round."""
    for i, (a, b) in enumerate(values, start):
        seen = {"generator.adversarial": torch.tensor(a)}
        watch.note(i + 1, seen | ({"real score": torch.tensor(b)} if i % 2 else {}))


@given(st.lists(numbers, min_size=1, max_size=WINDOW))
def test_a_series_says_what_its_values_are_like(values: list[float]) -> None:
    found = summed(values, 0.0, None)
    close = partial(pytest.approx, rel=1e-5, abs=1e-3)
    assert found.n == len(values)
    assert found.mean == close(np.mean(values))
    assert found.deviation == close(np.std(values))
    assert (found.low, found.high) == close((min(values), max(values)))
    tenth = math.ceil(len(values) / 10)
    assert found.p90 == close(sorted(values)[-tenth])


def test_spikes_and_changes_of_sign_are_counted() -> None:
    found = summed([1.0, -1.0] * 10 + [99.0], 0.0, 1.0)
    assert found.crossings == 20
    assert found.spikes == 1
    assert summed([1.0], 0.0, -1.0).crossings == 1


def test_a_window_is_a_hundred_rounds_and_its_average_goes_on() -> None:
    watch, average = Watch(), 0.0
    values = [float(i % 7) for i in range(250)]
    for i, value in enumerate(values[:200]):
        average = value if i == 0 else DECAY * average + (1 - DECAY) * value
    watched(watch, [(value, 0.0) for value in values])
    watch.look()
    first, second = watch.windows()
    assert [first.images, second.images] == [100, 200]
    assert second.series["generator.adversarial"].ema == pytest.approx(average, rel=1e-5)
    assert second.series["real score"].n == 50
    assert watch.windows() == ()
    assert watch.rounds == 50


@given(st.lists(numbers, min_size=4, max_size=200))
def test_merged_windows_are_the_window_of_all_their_rounds(values: list[float]) -> None:
    half = len(values) // 2
    parts = [
        Window(half, half, {"loss": summed(values[:half], 1.0, None)}),
        Window(
            len(values), len(values) - half, {"loss": summed(values[half:], 2.0, values[half - 1])}
        ),
    ]
    both = merged(parts)
    whole, close = summed(values, 2.0, None), partial(pytest.approx, rel=1e-4, abs=1e-2)
    assert (both.images, both.rounds) == (len(values), len(values))
    found = both.series["loss"]
    for name in ("n", "mean", "deviation", "low", "high", "ema", "crossings"):
        assert getattr(found, name) == close(getattr(whole, name))


def test_a_measurement_holds_few_windows_however_long_it_is() -> None:
    watch = Watch()
    watched(watch, [(1.0, 1.0)] * (WINDOW * (4 * AT_MOST + 1)))
    watch.look()
    found = watch.windows()
    assert 1 <= len(found) <= AT_MOST
    assert sum(window.rounds for window in found) == WINDOW * (4 * AT_MOST + 1)
    assert found[-1].images == WINDOW * (4 * AT_MOST + 1)


@given(rows, st.data())
def test_resuming_anywhere_gives_the_same_windows(
    values: list[tuple[float, float]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    whole, first, second = Watch(), Watch(), Watch()
    watched(whole, values)
    whole.look()
    watched(first, values[:cut])
    first.look()
    before = first.windows()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    watched(second, values[cut:], cut)
    second.look()
    assert (*before, *second.windows()) == tuple(whole.closed)
    assert second.losses() == whole.losses()
    assert second.state_dict() == whole.state_dict()


def test_the_first_value_that_is_not_finite_is_named() -> None:
    watch = Watch()
    watched(watch, [(1.0, math.inf), (1.0, math.inf), (math.nan, 1.0)])
    assert watch.look() == {"real score": math.inf}
    assert watch.look() == {}


def test_a_measurement_is_the_same_after_json(tiny: Tiny, cache: Path, tmp_path: Path) -> None:
    tree = tiny(batch={"size": 2}, horizon_kimg=0.3)
    tree["evaluation"]["every_kimg"] = 0.1
    measurements = list(train(Trial.read(tree), cache, tmp_path))
    assert any(m.windows for m in measurements)
    for m in measurements:
        assert Measurement.read(json.loads(json.dumps(m.plain()))) == m
        assert all(0 <= layer.zero_share <= 1 for layer in m.layers.values())
        assert m.variety is not None
        assert m.d_steps == m.images // 2
    (window,) = [w for m in measurements for w in m.windows]
    assert window.rounds == WINDOW
    assert {"discriminator gradient", "generator gradient"} <= window.series.keys()
    assert not (tmp_path / "start.json").exists()


def test_diagnostics_can_be_taken_out_and_never_touch_training(tiny: Tiny, cache: Path) -> None:
    out = tiny(diagnostics={"mode_collapse": False, "d_loss_zero": {"share": 0.1}})
    names = [pick.entry.name for pick in Trial.read(out).diagnostics]
    assert "d_loss_zero" in names
    assert "mode_collapse" not in names
    keen = tiny(diagnostics={"mode_collapse": {"ratio": 0.999, "action": "fail"}})
    plain, failed = Training(Trial.read(out), cache), Training(Trial.read(keen), cache)
    while not plain.finished:
        one, other = asdict(plain.advance()), asdict(failed.advance())
        assert one["score"] == other["score"]
        assert one["losses"] == other["losses"]
    assert {v.level for m in failed.measurements for v in m.verdicts} >= {"fail"}


def test_what_was_taken_of_a_starting_point_is_kept(
    tiny: Tiny, cache: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    list(train(Trial.read(tiny()), cache, first))
    second.mkdir()
    list(train(Trial.read(tiny(init_from={"checkpoint": str(first)})), cache, second))
    report = json.loads((second / "start.json").read_text())
    assert report["generator"]["taken"]
    assert report["generator"]["missing"] == []


@given(st.lists(numbers, min_size=2, max_size=30, unique=True))
def test_steadiness_is_kendalls_tau(values: list[float]) -> None:
    assert steadiness(values) == pytest.approx(kendalltau(range(len(values)), values).statistic)
