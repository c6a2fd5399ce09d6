"""The driver of a sweep: each trial once, each decision from what came before, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from sweeper.ledger.ledger import Event, Ledger, LedgerError
from sweeper.ledger.tables import write_tables
from sweeper.sweep.executor import InlineExecutor, Sweep
from sweeper.sweep.plan import Plan, Settings, prepare, reopen
from sweeper.sweep.proposer import project
from sweeper.sweep.rungs import Rungs
from tests.sweep.plans import SMALL, Heard, Simulated, small


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small(tmp_path_factory.mktemp("out"), trials=12)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as opened:
        yield opened


def rows(ledger: Ledger) -> list[tuple[object, ...]]:
    return [(e.trial, e.kind, e.step, e.value, e.decision) for e in ledger.events]


def test_every_trial_ends_once(plan: Plan, ledger: Ledger) -> None:
    heard = Heard()
    sweep = Sweep(plan, ledger, [heard])
    Simulated().run(sweep)
    assert sweep.complete
    assert [r.number for r in ledger.records] == list(range(12))
    assert len({str(r.params) for r in ledger.records}) == 12
    assert [e for e in heard.events if e.kind == "ended"] == [
        e for e in ledger.events if e.kind == "ended"
    ]
    assert len([e for e in ledger.events if e.kind == "ended"]) == 12


def test_the_baseline_is_run_in_full_and_some_trials_are_stopped(
    plan: Plan, ledger: Ledger
) -> None:
    Simulated().run(Sweep(plan, ledger))
    assert ledger[0].baseline == "DCGAN default"
    assert ledger[0].state == "completed"
    states = [r.state for r in ledger.records]
    assert states.count("stopped") >= 4
    assert all(r.step == plan.horizon for r in ledger.records if r.state == "completed")


def test_a_stopped_trial_was_not_among_the_best(plan: Plan, ledger: Ledger) -> None:
    Simulated().run(Sweep(plan, ledger))
    replayed = Rungs(plan.rungs, plan.factor)
    for event in ledger.events:
        if event.kind == "measured":
            exempt = ledger[event.trial].baseline is not None
            go_on = replayed.judge(event.trial, event.step, event.data["best"], exempt=exempt)
            assert event.decision == ("continue" if go_on else "stop")


def test_a_driver_that_dies_anywhere_loses_nothing(plan: Plan, tmp_path: Path) -> None:
    """With one trial at a time, the ledger of a run cut anywhere equals an undisturbed one's."""
    (tmp_path / "whole").mkdir()
    with Ledger(tmp_path / "whole") as whole:
        Simulated(concurrency=1).run(Sweep(plan, whole))
        expected = [row for row in rows(whole) if row[1] != "started"]
    for cut in (1, 4, 9, 15, 22, 30):
        folder = tmp_path / str(cut)
        folder.mkdir()
        with Ledger(folder) as first:
            Simulated(concurrency=1, stop_after=cut).run(Sweep(plan, first))
        with Ledger(folder) as second:
            Simulated(concurrency=1).run(Sweep(plan, second))
            assert [row for row in rows(second) if row[1] != "started"] == expected


def test_a_lost_worker_costs_nothing_but_its_attempt(plan: Plan, ledger: Ledger) -> None:
    Simulated(faults={2: "lost"}).run(Sweep(plan, ledger))
    assert ledger[2].attempts == 2
    assert ledger[2].state in ("completed", "stopped")
    steps = [e.step for e in ledger[2].measured]
    assert steps == sorted(set(steps))


def test_a_worker_lost_again_and_again_fails_its_trial(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(plan, ledger)
    for _ in range(plan.space.retries.worker + 1):
        job = sweep.next()
        assert job is not None
        assert job.number == 0
        sweep.lost(job, "gone")
    assert ledger[0].state == "failed"
    assert ledger[0].reason == "gone (4 times)"
    assert ledger[0].cause == "worker"


@pytest.mark.parametrize(("fault", "state"), [("nan", "diverged"), ("raise", "failed")])
def test_one_trial_cannot_end_the_sweep(plan: Plan, ledger: Ledger, fault: str, state: str) -> None:
    sweep = Sweep(plan, ledger)
    Simulated(faults={0: fault}).run(sweep)
    assert sweep.complete
    assert ledger[0].state == state
    assert sum(r.state == state for r in ledger.records) == 1
    if fault == "raise":
        assert ledger[0].events[-1].data["traceback"] == "Traceback: no"


def test_a_report_of_an_older_attempt_is_refused(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(plan, ledger)
    old = sweep.next()
    assert old is not None
    sweep.lost(old, "cut off")
    new = sweep.next()
    assert new is not None
    assert (new.number, new.attempt) == (old.number, old.attempt + 1)
    report = next(iter_reports(plan))
    assert sweep.report(old, report) is False
    assert ledger[0].measured == []
    assert sweep.report(new, report) is True


def iter_reports(plan: Plan) -> Iterator[dict[str, object]]:
    yield {
        "kind": "measured",
        "images": plan.every,
        "score": 5.0,
        "best": 5.0,
        "losses": {},
        "seconds": 1.0,
        "images_per_second": 1.0,
        "protocol": plan.protocol.hash,
    }


def test_a_listener_that_fails_is_ignored(plan: Plan, ledger: Ledger) -> None:
    class Broken:
        def observe(self, event: Event) -> None:
            raise OSError("no")

    heard = Heard()
    sweep = Sweep(plan, ledger, [Broken(), heard])
    Simulated().run(sweep)
    assert sweep.complete
    assert heard.events == ledger.events


def test_two_drivers_of_one_folder(tmp_path: Path) -> None:
    with Ledger(tmp_path), pytest.raises(LedgerError, match="held by process"):
        Ledger(tmp_path)
    Ledger(tmp_path).close()


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is not a database, it is a text" * 200)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite"):
        Ledger(tmp_path)


def test_the_study_has_no_zombies(plan: Plan, ledger: Ledger, tmp_path: Path) -> None:
    Simulated(faults={1: "nan", 2: "raise", 3: "lost"}).run(Sweep(plan, ledger))
    for _ in range(2):  # the second time it has nothing to add
        project(plan.space, ledger, tmp_path)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.sqlite'}")
    study = optuna.load_study(study_name=tmp_path.name, storage=storage)
    states = [t.state.name for t in study.trials]
    storage.engine.dispose()
    assert len(states) == 11
    assert set(states) == {"COMPLETE", "PRUNED"}


def test_a_sweep_is_extended(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "results"
    first = small(out, trials=3)
    with Ledger(first.folder) as ledger:
        Simulated().run(Sweep(first, ledger))
        before = rows(ledger)
    second = reopen(first.folder, 5)
    with Ledger(second.folder) as ledger:
        Simulated().run(Sweep(second, ledger))
        assert rows(ledger)[: len(before)] == before
        assert len(ledger.records) == 5
    assert second.id == first.id


def test_a_grid_ends_when_it_is_complete(tmp_path: Path) -> None:
    space = tmp_path / "grid.yaml"
    space.write_text(
        "extends: base/dcgan.yaml\n"
        "trial: {loss: {choice: [hinge, non_saturating]}, "
        "generator: {optimizer: {adam: {lr: {choice: [1e-3, 2e-3]}}}}}\n"
        "search: {method: grid, trials: 24}\nconfirm: {top: 0}\n"
    )
    plan = prepare(Settings(space, "digits", SMALL, out=tmp_path / "results"))
    plan.write()
    assert plan.trials == 4
    for cut in (3, None):
        with Ledger(plan.folder) as ledger:
            sweep = Sweep(plan, ledger)
            Simulated(stop_after=cut).run(sweep)
    assert sweep.complete
    assert len({str(r.params) for r in ledger.records}) == len(ledger.records) == 4


def test_a_real_sweep_in_this_process(tmp_path: Path) -> None:
    plan = small(tmp_path, trials=4)
    with Ledger(plan.folder) as ledger:
        sweep = Sweep(plan, ledger)
        InlineExecutor().run(sweep)
        write_tables(ledger, plan.folder, plan.protocol.hash)
        assert sweep.complete
        assert {r.state for r in ledger.records} <= {"completed", "stopped"}
        assert ledger[0].heldout is not None
        assert (plan.folder / "trials.parquet").exists()
        sheets = list((plan.folder / "trials" / "00000" / "samples").glob("*.png"))
        assert len(sheets) == len(ledger[0].measured)
