"""MLflow holds what the ledger says: once, whole, whatever happened on the way."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.space.brought import note
from sweeper.space.source import InputError
from sweeper.sweep import views
from sweeper.sweep.mlflow_runs import Run, columns
from sweeper.sweep.sync import tracked
from sweeper.sweep.tracking import Tracker, default_uri
from tests.sweep import synthetic
from tests.sweep.synthetic import EVERY, HORIZON, PLAN

WRITES = ["create_run", "log_batch", "log_dict", "log_image", "set_terminated", "update_run"]


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


@pytest.fixture
def folder(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with MLflow's database beside it; the working directory is another one."""
    place = tmp_path / "results" / PLAN["name"]
    place.mkdir(parents=True)
    shutil.copy(migrated, place.parent / "mlflow.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return place


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    with Ledger(folder) as ledger:
        yield ledger


@pytest.fixture
def another(tmp_path: Path, migrated: Path) -> str:
    """A second database, for what an undisturbed run would have left."""
    (tmp_path / "another").mkdir()
    shutil.copy(migrated, tmp_path / "another" / "mlflow.db")
    return f"sqlite:///{tmp_path / 'another' / 'mlflow.db'}"


def held(uri: str) -> dict[str, Any]:
    """Everything that MLflow says about the sweep, without the ids that it made up."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("sweeper/ttur")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [r.info.run_id for r in runs if r.data.tags["sweeper.kind"] == "sweep"]
    assert len(parents) == 1
    found: dict[str, Any] = {}
    for run in runs:
        key = run.data.tags.get("sweeper.trial", "sweep")
        assert key not in found
        assert run.data.tags.pop("mlflow.parentRunId", parents[0]) == parents[0]
        found[key] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "inputs": sorted(
                (given.dataset.name, given.dataset.digest, *(tag.value for tag in given.tags))
                for given in (run.inputs.dataset_inputs if run.inputs else ())
            ),
            "tags": run.data.tags,
            "metrics": {
                key: [
                    (m.step, m.value, m.timestamp)
                    for m in client.get_metric_history(run.info.run_id, key)
                ]
                for key in run.data.metrics
            },
            "artifacts": sorted(
                re.sub(r"\+[0-9a-f-]{36}", "", file.path)
                for path in (None, "images")
                for file in client.list_artifacts(run.info.run_id, path)
            ),
        }
    return found


def track(ledger: Ledger, folder: Path, uri: str | None = None) -> int:
    tracker = Tracker(PLAN, ledger, folder, uri or default_uri(folder))
    behind = tracker.close()
    assert tracker.warnings == []
    return behind


def test_a_finished_sweep_is_told_in_full(ledger: Ledger, folder: Path) -> None:
    synthetic.fill(ledger, folder)
    assert track(ledger, folder) == 0
    runs = held(default_uri(folder))
    assert set(runs) == {"sweep", "0", "1", "2", "3", "4", "5"}
    assert [runs[str(n)]["status"] for n in range(6)] == ["FINISHED"] * 4 + ["FAILED"] * 2
    assert [runs[str(n)]["tags"]["sweeper.state"] for n in range(6)] == synthetic.ENDS
    assert runs["5"]["tags"]["sweeper.reason"] == "it was failed"
    assert runs["sweep"]["status"] == "FINISHED"
    assert runs["sweep"]["tags"]["sweeper.best_trial"] == "0"
    assert [v for _, v, _ in runs["sweep"]["metrics"]["sweep/fid_digits_best"]] == [
        synthetic.score(0, HORIZON)
    ] * 6
    assert list(Path().iterdir()) == []  # MLflow likes to leave its files in the working directory


def test_a_trial_is_told_with_its_own_times(ledger: Ledger, folder: Path) -> None:
    synthetic.fill(ledger, folder)
    track(ledger, folder)
    run, record = held(default_uri(folder))["1"], ledger[1]
    events = record.events
    assert run["times"] == (round(events[0].at * 1000), round(events[-1].at * 1000))
    assert run["metrics"]["eval/fid_digits"] == [
        (e.step, e.value, round(e.at * 1000)) for e in record.measured
    ]
    assert [v for _, v, _ in run["metrics"]["sweep/rung"]] == [1, 1, 2, 2, 2, 2, 2, 2, 3]
    assert run["metrics"]["eval/heldout"] == [
        (HORIZON, record.heldout, round(record.measured[-1].at * 1000))
    ]
    steps = [int(re.findall(r"step\+(\d+)", name)[0]) for name in run["artifacts"][1:-1:2]]
    assert sorted(steps) == [*PLAN["rungs"], HORIZON]
    assert run["artifacts"][-1] == "trial.json"


def test_names_and_parameters(ledger: Ledger, folder: Path) -> None:
    synthetic.fill(ledger, folder)
    track(ledger, folder)
    runs = held(default_uri(folder))
    sweep = runs.pop("sweep")
    assert sweep["params"]["rungs"] == "[3200, 9600]"
    assert len({frozenset(run["params"]) for run in runs.values()}) == 1
    assert runs["0"]["name"] == "t000 DCGAN default"
    assert runs["1"]["name"].startswith("t001 lr_g=1.9e-04 ")
    assert all(len(run["name"]) <= 60 for run in runs.values())
    assert runs["0"]["params"]["baseline"] == "DCGAN default"
    assert runs["1"]["params"]["baseline"] == "off"
    assert runs["0"]["params"]["regularizers.r1_penalty.gamma"] == "0"
    assert runs["0"]["params"]["log10.gamma"] == "-2.0000"
    for run in runs.values():
        assert {"lr_g", "log10.lr_g", "generator.optimizer.adam.lr", "loss"} <= set(run["params"])
        float(run["params"]["log10.gamma"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_killed_tracker_leaves_no_trace(
    ledger: Ledger, folder: Path, another: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.fill(ledger, folder)
    for life in (1, 1, 2, 3, 5, 8):
        with monkeypatch.context() as patched:
            _kill_after(life, patched)
            assert Tracker(PLAN, ledger, folder, default_uri(folder)).close() > 0
    assert track(ledger, folder) == 0
    assert track(ledger, folder, another) == 0
    assert held(default_uri(folder)) == held(another)
    assert track(ledger, folder) == 0
    assert held(default_uri(folder)) == held(another)


def _kill_after(life: int, patched: pytest.MonkeyPatch) -> None:
    """Let MLflow write so many times, and end the thread before it learns of the last."""
    from mlflow import MlflowClient

    left = [life]

    def mortal(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = write(*args, **kwargs)
            left[0] -= 1
            if left[0] <= 0:
                raise Killed
            return result

        return call

    for name in WRITES:
        patched.setattr(MlflowClient, name, mortal(getattr(MlflowClient, name)))


def test_an_interrupted_trial_is_killed_and_runs_again(
    ledger: Ledger, folder: Path, another: str
) -> None:
    uri = default_uri(folder)
    ledger.add_trial(synthetic.draw(0), {"seed": 3})
    tracker = Tracker(PLAN, ledger, folder, uri)
    tracker.observe(ledger.started(0))
    synthetic.measure(ledger, folder, 0, EVERY)
    tracker.observe(ledger.events[-1])
    assert _soon(lambda: "eval/fid_digits" in held(uri)["0"]["metrics"])
    assert held(uri)["0"]["status"] == held(uri)["sweep"]["status"] == "RUNNING"
    assert tracker.close() == 0
    assert held(uri)["0"]["status"] == held(uri)["sweep"]["status"] == "KILLED"
    assert held(uri)["0"]["tags"]["sweeper.state"] == "interrupted"

    ledger.lost(0, "the driver ended")
    ledger.started(0)
    tracker = Tracker(PLAN, ledger, folder, uri)
    assert _soon(lambda: held(uri)["0"]["status"] == "RUNNING")
    synthetic.measure(ledger, folder, 0, 2 * EVERY)
    tracker.observe(ledger.ended(0, "failed", "no more"))
    assert tracker.close() == 0
    assert track(ledger, folder, another) == 0
    assert held(uri) == held(another)
    assert held(uri)["0"]["params"]["seed"] == "3"
    assert held(uri)["sweep"]["status"] == "KILLED"  # the plan has five trials more


def _soon(holds: Callable[[], bool], patience: float = 120.0) -> bool:
    """Wait until something holds; what is not there yet does not hold."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if holds():
                return True
        except (AssertionError, KeyError):
            pass
        time.sleep(0.1)
    return False


def test_an_outage_delays_nothing_and_loses_nothing(
    ledger: Ledger, folder: Path, another: str
) -> None:
    synthetic.fill(ledger, folder)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # not listening: every call is refused
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
        begun = time.monotonic()
        tracker = Tracker(PLAN, ledger, folder, uri)
        for event in ledger.events:
            tracker.observe(event)
        assert time.monotonic() - begun < 5
        assert _soon(lambda: bool(tracker.warnings))
        begun = time.monotonic()
        assert tracker.close(deadline=10.0) == 7
        assert time.monotonic() - begun < 30
    (warning,) = tracker.warnings
    assert uri in warning
    assert "the sweep goes on" in warning
    assert track(ledger, folder) == track(ledger, folder, another) == 0
    assert held(default_uri(folder)) == held(another)


class Suspicious(BaseHTTPRequestHandler):
    """A server that knows nobody, and says whom it does not know."""

    shown: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.shown.append(str(self.headers["Authorization"]))
        body = f"who is {self.headers['Authorization']}?".encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_token_comes_from_the_environment_and_is_not_shown(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-t0ken-of-mlflow")
    synthetic.fill(ledger, folder)
    lines: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Suspicious) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_address[1]}"
        tracker = Tracker(PLAN, ledger, folder, uri, lines.append)
        assert tracker.close(deadline=8.0) == 7
        server.shutdown()
    assert set(Suspicious.shown) == {"Bearer a-t0ken-of-mlflow"}
    (warning,) = tracker.warnings
    assert "who is Bearer ***?" in warning
    assert lines == []


def test_where_a_sweep_was_tracked_is_remembered(folder: Path) -> None:
    """If it was written down here, and without a password."""

    def write(uri: str | None) -> None:
        (folder / "sweep.json").write_text(json.dumps(PLAN | {"tracking": uri}))

    write("http://mlflow:5000")
    assert tracked(folder, None) == default_uri(folder)
    note(folder, ["sweep.json"])
    assert tracked(folder, None) == "http://mlflow:5000"
    assert tracked(folder, "http://another") == "http://another"
    write("http://***@mlflow:5000")
    note(folder, ["sweep.json"])
    with pytest.raises(InputError, match="passwords are not kept"):
        tracked(folder, None)
    write(None)
    note(folder, ["sweep.json"])
    assert tracked(folder, None) == default_uri(folder)


def test_the_pages_of_a_server(ledger: Ledger, folder: Path) -> None:
    tracker = Tracker(PLAN, ledger, folder, "http://me:secret@127.0.0.1:9/")
    tracker.close(deadline=0.0)
    assert tracker.pages() == []
    tracker.experiment = "7"
    board, charts = tracker.pages()
    assert board.startswith("  leaderboard  http://127.0.0.1:9/#/experiments/7/runs?")
    assert charts.startswith("  charts       http://127.0.0.1:9/#/experiments/7/runs?")


def test_a_hung_mlflow_keeps_nobody(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.fill(ledger, folder)
    answers = threading.Event()
    monkeypatch.setattr(Tracker, "_tell", lambda *_: answers.wait())
    tracker = Tracker(PLAN, ledger, folder, default_uri(folder))
    begun = time.monotonic()
    assert tracker.close(deadline=0.2) == 7
    assert time.monotonic() - begun < 30
    answers.set()
    tracker.close()  # so that the thread ends before the test


def test_what_fails_is_tried_again(
    ledger: Ledger, folder: Path, another: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    synthetic.fill(ledger, folder)
    write, calls = MlflowClient.log_batch, iter(range(1000))

    def flaky(*args: Any, **kwargs: Any) -> Any:
        if next(calls) in (2, 5):
            raise ConnectionError("no route")
        return write(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", flaky)
    tracker = Tracker(PLAN, ledger, folder, default_uri(folder))
    assert tracker.close() == 0
    assert len(tracker.warnings) == 1
    assert track(ledger, folder, another) == 0
    assert held(default_uri(folder)) == held(another)


def test_one_bad_run_keeps_no_other_waiting(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.fill(ledger, folder)
    deliver = Tracker._deliver

    def refuse(self: Tracker, client: Any, run: Run) -> None:
        if run.key == "2":
            raise ValueError("not this one")
        deliver(self, client, run)

    monkeypatch.setattr(Tracker, "_deliver", refuse)
    assert Tracker(PLAN, ledger, folder, default_uri(folder)).close() == 1
    assert set(held(default_uri(folder))) == {"sweep", "0", "1", "3", "4", "5"}


def test_a_broken_sample_sheet_is_left_out(ledger: Ledger, folder: Path) -> None:
    synthetic.fill(ledger, folder)
    samples = folder / "trials" / "00002" / "samples"
    (samples / f"{EVERY:012d}.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (samples / f"{3 * EVERY:012d}.png").unlink()
    assert track(ledger, folder) == 0
    assert held(default_uri(folder))["2"]["artifacts"] == ["trial.json"]


def test_values_that_are_not_finite_are_left_out(ledger: Ledger, folder: Path) -> None:
    ledger.add_trial(synthetic.draw(0), {})
    ledger.started(0)
    losses = {"discriminator.adversarial": float("nan"), "generator.adversarial": 1.0}
    ledger.measured(0, 1, EVERY, float("inf"), "continue", {"losses": losses})
    ledger.ended(0, "diverged", "a loss is not finite")
    assert track(ledger, folder) == 0
    assert set(held(default_uri(folder))["0"]["metrics"]) == {
        "loss/generator.adversarial",
        "sweep/rung",
    }


def test_a_view_changed_by_hand_stays(ledger: Ledger, folder: Path) -> None:
    from mlflow import MlflowClient

    synthetic.fill(ledger, folder)
    track(ledger, folder)
    client = MlflowClient(default_uri(folder))
    experiment = client.get_experiment_by_name("sweeper/ttur")
    assert experiment is not None
    tags = [f"{views.TAG}{PLAN['id']}{view}" for view in views.VIEWS]
    assert set(tags) <= set(experiment.tags)
    client.set_experiment_tag(experiment.experiment_id, tags[0], "mine")
    track(ledger, folder)
    assert client.get_experiment(experiment.experiment_id).tags[tags[0]] == "mine"


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ({"kind": "int", "low": 1, "high": 5}, 3, "3"),
        ({"kind": "int", "low": 1, "high": 5}, None, "0"),
        ({"kind": "float", "low": 0.0, "high": 0.5}, None, "-0.05"),
        ({"kind": "choice", "choices": [1, 16]}, None, "0"),
        ({"kind": "choice", "choices": [0, 16]}, None, "-1.6"),
        ({"kind": "choice", "choices": [False, True]}, True, "true"),
        ({"kind": "choice", "choices": ["hinge", "wasserstein"]}, None, "off"),
        ({"kind": "choice", "choices": ["none", 64]}, 64, '"64"'),
    ],
)
def test_a_column_has_one_type(parameter: dict[str, Any], value: Any, expected: str) -> None:
    written = columns({"name": "a.b", **parameter}, "b", value)
    assert written == {"a.b": expected, "b": expected}


def test_a_logarithm_is_written_beside_its_value() -> None:
    lr = {"name": "lr", "kind": "float", "log": True, "low": 1e-4, "high": 1e-2}
    assert columns(lr, "lr", 0.001) == {"lr": "0.001", "log10.lr": "-3.0000"}
    assert columns(lr, "lr", None) == {"lr": "0", "log10.lr": "-5.0000"}


@pytest.mark.parametrize("make", [views.leaderboard, views.charts])
def test_a_view_survives_its_tag(make: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    tag = views.encode("ttur · a view", make(PLAN))
    assert views.decode(tag) == ("ttur · a view", make(PLAN))
    assert len(tag) < 5000  # MLflow takes 20,000


def test_links_open_the_views() -> None:
    links = views.links("http://127.0.0.1:5000/", "7", "0123456789ab")
    assert links["charts"] == (
        "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning"
        "&compareRunsMode=CHART&viewStateShareKey=0123456789abcharts"
    )
    assert set(links) == {"leaderboard", "charts"}
