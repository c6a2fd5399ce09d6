"""The seeded studies: each run is kept, none is made twice, and the table says what the runs do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sweeper.catalog.metrics.mode_coverage import near_centres
from sweeper.config import Trial
from sweeper.verify import science
from sweeper.verify.science import Study, conduct, run_one, studies, summary, table, verdict

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


@pytest.mark.parametrize("name", studies())
def test_every_run_is_a_trial(name: str) -> None:
    study = studies()[name]
    for arm in study.arms:
        trial = Trial.read(study.tree(arm, 3))
        drawn = trial.batch.size * study.tree(arm, 3).get("tricks", {}).get("packing", {}).get(
            "m", 1
        )
        assert round(trial.horizon_kimg * 1000) == study.d_steps * drawn
        assert study.d_steps <= 20_000
    assert len({study.key(arm, seed) for arm in study.arms for seed in range(study.seeds)}) == (
        len(study.arms) * study.seeds
    )


def test_a_study_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = replace(studies()["ring_packing"], seeds=2, d_steps=2, arms={"plain": {}, "same": {}})
    made = list[tuple[str, int]]()

    class Here:
        """Runs what it is given, in this process."""

        def __init__(self, workers: int, mp_context: object) -> None: ...

        def submit(self, function, name, arm, seed, cache):  # type: ignore[no-untyped-def]
            made.append((arm, seed))
            return science_future(run_one(name, arm, seed, cache))

        def shutdown(self, *, cancel_futures: bool) -> None: ...

    monkeypatch.setattr(science, "studies", lambda: {"ring_packing": study})
    monkeypatch.setattr(science, "ProcessPoolExecutor", Here)
    (first,) = conduct([], tmp_path, lambda line: None)
    kept = (tmp_path / "reference" / "ring_packing.jsonl").read_text()
    assert len(made) == 4
    assert len(kept.splitlines()) == 4
    lines = kept.splitlines()
    (tmp_path / "reference" / "ring_packing.jsonl").write_text("\n".join(lines[:3]) + "\n")
    (again,) = conduct(["ring_packing"], tmp_path, lambda line: None)
    assert len(made) == 5
    assert again["rows"] == first["rows"]
    plain, same = first["rows"]
    assert plain["modes"] == same["modes"], "arms that differ in nothing find the same"
    assert "no more modes than the control could be shown" in first["table"]


def science_future(result: object) -> object:
    from concurrent.futures import Future

    future: Future[object] = Future()
    future.set_result(result)
    return future


def made_up(modes: dict[str, list[int]]) -> tuple[Study, list[dict[str, object]]]:
    study = replace(studies()["ring_packing"], arms={arm: {} for arm in modes})
    records = [
        {"arm": arm, "seed": i, "modes": n, "quality": 0.5, "reverse_kl": 0.1}
        for arm, found in modes.items()
        for i, n in enumerate(found)
    ]
    return study, records


def test_a_difference_is_tested_and_its_absence_said() -> None:
    study, records = made_up(
        {"plain": [4, 5, 4, 6, 5] * 4, "better": [8, 7, 8, 8, 7] * 4, "worse": [3, 5, 4, 4, 5] * 4}
    )
    plain, better, worse = summary(study, records)
    assert plain["p"] is None
    assert better["p"] < 1e-6
    assert worse["p"] > 0.5
    assert plain["low"] < 4.8 < plain["high"]
    assert "finds more modes" in verdict(better)
    assert "no more modes" in verdict(worse)
    text = table(study, [plain, better, worse])
    assert study.protocol in text
    assert "| better | 20 | 7.6 (" in text


def test_modes_are_counted_as_pacgan_does() -> None:
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    points = torch.tensor([[0.0, 0.02], [0.0, -0.02], [1.0, 0.0], [0.5, 0.5]])
    seen = near_centres(points, centres, 0.01)
    assert seen.modes == 2
    assert seen.quality == 0.75
    share = [2 / 3, 1 / 3]
    assert seen.reverse_kl == pytest.approx(sum(p * math.log(4 * p) for p in share))
    assert near_centres(points[3:], centres, 0.01) == (0, 0.0, math.inf)


@pytest.mark.parametrize("name", studies())
def test_the_reference_tables_follow_from_their_runs(name: str) -> None:
    study, file = studies()[name], REFERENCE / f"{name}.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    runs = {(r["arm"], r["seed"]): r for r in records}
    assert runs.keys() == {(arm, seed) for arm in study.arms for seed in range(study.seeds)}
    assert all(r["key"] == study.key(r["arm"], r["seed"]) for r in records)
    ordered = [runs[arm, seed] for seed in range(study.seeds) for arm in study.arms]
    assert (REFERENCE / f"{name}.md").read_text() == table(study, summary(study, ordered))
