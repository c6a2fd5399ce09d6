"""The simulator of whole sweeps on a recorded table, on a table that a formula made."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.space.points import sobol
from sweeper.sweep.executor import Sweep
from sweeper.sweep.plan import Settings, prepare
from tests.sweep.plans import SMALL, SPACES, Simulated

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CONFIGS, SEEDS, PARTS = 24, 4, 9


@pytest.fixture(scope="module")
def simulate() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import simulate  # type: ignore[import-not-found, unused-ignore]

        return simulate
    finally:
        sys.path.remove(str(BENCHMARKS))


def rows(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials that are better near a learning rate of 5e-3, whose third always diverges."""
    chance, found = random.Random(0), []
    for number in range(CONFIGS * SEEDS):
        config = number % CONFIGS
        params = points[config]
        floor = 20 + 60 * abs(math.log10(params["generator.optimizer.adam.lr"] / 5e-3))
        floor *= math.exp(0.1 * chance.gauss(0, 1))
        state = "diverged" if config == 2 else "completed"
        fixed = {"trial": number, "config": config, "seed": number, "state": state}
        fixed |= {f"param.{name}": value for name, value in params.items()}
        for part in range(1, 4 if config == 2 else PARTS + 1):
            score = floor * (1 + 9 * math.exp(-part / 2))
            heldout = score if part == PARTS else None
            measured = {"images": 1200 * part, "seconds": 0.5 * part, "heldout": heldout}
            found.append({**fixed, **measured, "score": score, "best": score})
    return found


@pytest.fixture(scope="module")
def table(simulate: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    points = []
    for point, _ in zip(sobol(simulate.space(()).tree, 0), range(CONFIGS), strict=False):
        simulate.space(()).walk(point)
        points.append(point.params)
    simulate.search.write(path, rows(points), {})
    return simulate.Table.read(path)


def guided(simulate: Any, table: Any, *overrides: str) -> Any:
    sweep = simulate.Guided(table, simulate.space(overrides), 0, 12, 3)
    sweep.run()
    return sweep


def test_without_rungs_each_trial_costs_what_it_was_recorded_to(simulate: Any, table: Any) -> None:
    sweep = guided(simulate, table, "budget.rungs=none", "confirm.top=0")
    assert len(set(sweep.configs)) == len(sweep.records) == 12
    firsts = [
        table.runs[config][sweep.orders[config][0]].seconds for config in sorted(set(sweep.configs))
    ]
    assert sweep.cost == pytest.approx(sum(firsts))


def test_the_best_are_confirmed_on_seeds_that_are_fresh(simulate: Any, table: Any) -> None:
    sweep = guided(simulate, table)
    again = [record for record in sweep.records if record.role == "confirm"]
    assert len(again) == 15
    assert all(record.state == "completed" for record in again)
    for number in {record.of for record in again}:
        of = [record for record in again if record.of == number]
        runs = table.runs[sweep.configs[number]]
        scores = {
            run.score for k, run in enumerate(runs) if k != sweep.orders[sweep.configs[number]][0]
        }
        assert {record.score for record in of} == scores
    states = [record.state for record in sweep.records]
    assert states.count("stopped") >= 4
    found = sweep.found()
    assert found["guided_worth"] <= found["unconfirmed_worth"] * 1.2
    assert found["guided_best"] >= found["table_best"] == min(table.worth)


def test_a_configuration_is_nearest_to_itself_until_it_is_used(simulate: Any, table: Any) -> None:
    parameters = simulate.space(()).parameters
    for config, params in enumerate(table.params):
        assert table.nearest(parameters, params, set()) == config
        assert table.nearest(parameters, params, {config}) != config


def test_one_that_broke_is_worth_the_worst_and_random_search_pays_in_full(
    simulate: Any, table: Any
) -> None:
    assert table.worth[2] == max(table.worth)
    found = simulate.at_random(table, 0, CONFIGS)
    whole = 3 * ((CONFIGS - 1) * 0.5 * PARTS + 0.5 * 3)
    assert found["random_seconds"] == pytest.approx(whole)
    assert found["random_best"] == min(table.worth)


def test_intervals_of_means_are_students(simulate: Any) -> None:
    said = simulate.say("it", [1.0, 1.1, 1.2])
    assert said == "it: 10.00 % (-14.84 to 34.84; at most 26.86)"


def test_sweeps_that_were_run_are_put_beside_it(simulate: Any, tmp_path: Path) -> None:
    overrides = (*SMALL, "confirm.top=2", "confirm.seeds=3", "search.balanced=0")
    folders = []
    for seed in (0, 1):
        settings = Settings(SPACES / "ttur.yaml", "digits", overrides, 6, seed, None, tmp_path)
        plan = prepare(settings)
        plan.write()
        with Ledger(plan.folder) as ledger:
            Simulated().run(Sweep(plan, ledger))
        folders.append(plan.folder)
    lines = list(simulate.fresh(folders, [{"random_worth": 20.0}, {"random_worth": 30.0}]))
    assert [line.split(":")[0] for line in lines[:2]] == ["ttur", "ttur-2"]
    assert lines[2].startswith("compute, as a share of random search: ")
    assert lines[3].startswith("worse than what random search picks: ")
