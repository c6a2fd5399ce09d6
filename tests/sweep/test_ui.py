"""The pages of a sweep, through the links that are printed, in a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.sweep import ui, views
from sweeper.sweep.mlflow_runs import columns
from sweeper.sweep.tracking import Tracker, default_uri
from tests.sweep import synthetic
from tests.sweep.synthetic import PLAN

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=2200,1400",
]
PATIENCE = 120.0
SHOTS = Path(__file__).parents[2] / "results" / "screenshots"
"""Where the pages are kept as they were seen; git ignores it."""

browsing = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()), reason="Debian's chromium is not installed"
)

# The lines of a parallel plot are pixels. Just left of the last axis they are as far apart as the
# scores are, so bands of colour there are trials.
LINES = """
const canvas = document.querySelector("canvas.foreground");
const axes = [...document.querySelectorAll("g.dimension")].map(
    (axis) => axis.transform.baseVal.consolidate().matrix.e);
if (!canvas || !axes.length) return null;
const scale = canvas.width / canvas.clientWidth;
const x = Math.round((Math.max(...axes) - 4) * scale);
const pixels = canvas.getContext("2d").getImageData(x, 0, 1, canvas.height).data;
let bands = 0, inside = false;
for (let y = 0; y < canvas.height; y++) {
    const drawn = pixels[4 * y + 3] > 60;
    bands += drawn && !inside;
    inside = drawn;
}
return bands;
"""

# How many sample sheets have come, of those that are drawn as the page is scrolled to them.
SHEETS = """
const section = [...document.querySelectorAll("*")].find(
    (one) => one.children.length === 0 && one.textContent.trim() === "Samples");
if (section) section.scrollIntoView();
return [...document.images].filter(
    (one) => one.src.includes("samples") && one.naturalWidth > 0).length;
"""


def test_a_folder_without_mlflow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ui.PagesError, match=r"mlflow\.db beside its results folder, but"):
        ui.serve(tmp_path / "results" / "ttur")


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ui.PagesError, match=f"free port, but {port} is not"):
            ui.serve(tmp_path / "ttur", port)


@pytest.mark.slow
def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database " * 100)
    with pytest.raises(ui.PagesError, match="file is not a database"):
        ui.serve(tmp_path / "ttur", say=lambda line: None)


@pytest.fixture
def pages(tmp_path: Path, migrated: Path) -> Iterator[dict[str, str]]:
    """The links that are printed for a finished sweep, while its server runs."""
    folder = tmp_path / "results" / PLAN["name"]
    folder.mkdir(parents=True)
    shutil.copy(migrated, folder.parent / "mlflow.db")
    with Ledger(folder) as ledger:
        synthetic.fill(ledger, folder)
        assert Tracker(PLAN, ledger, folder, default_uri(folder)).close() == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        f"import pathlib; from sweeper.sweep.ui import serve; serve(pathlib.Path({str(folder)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=elsewhere,
        env=environment,
    ) as process:
        links = _printed(process)
        port = int(links["charts"].split("/")[2].partition(":")[2])
        yield links
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with pytest.raises(ConnectionRefusedError), socket.socket() as gone:
        gone.connect(("127.0.0.1", port))
    assert list(elsewhere.iterdir()) == []


def _printed(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    links = {}
    for line in process.stdout:
        match line.split():
            case [str(view), str(link)] if link.startswith("http"):
                links[view] = link
        if line.startswith("Ctrl-C"):
            break
    return links


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@browsing
@pytest.mark.browser
def test_every_trial_is_on_the_pages(pages: dict[str, str], browser: Any) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    assert set(pages) == {"leaderboard", "charts"}
    _close_the_assistant(browser, pages["charts"])

    browser.get(pages["leaderboard"])
    best = f"metrics.`{views.best(PLAN)}`"
    scores = [min(synthetic.score(n, step) for step in _steps(n)) for n in range(6)]
    _until(lambda: [float(text) for text in _cells(browser, best)] == pytest.approx(scores))
    assert _cells(browser, "tags.`sweeper.state`") == synthetic.ENDS
    for parameter in PLAN["parameters"]:
        name = parameter["name"]
        short = views.short(PLAN)[name]
        values = [columns(parameter, short, synthetic.draw(n).get(name))[short] for n in range(6)]
        assert _cells(browser, f"params.`{short}`") == values
    assert _cells(browser, "tags.`sweeper.reason`") == [f"it was {end}" for end in synthetic.ENDS]
    browser.save_screenshot(str(SHOTS / "mlflow-leaderboard.png"))

    browser.get(pages["charts"])
    _until(lambda: browser.execute_script(LINES) == 6)
    titles = browser.execute_script(
        "return [...document.querySelectorAll('g.dimension text.label')].map(t => t.textContent)"
    )
    assert titles[0] == "log10.lr_g"
    assert len(titles) == len(PLAN["parameters"]) + 1
    text = browser.find_element("tag name", "body").text
    assert "log10.lr_g vs. eval/fid_digits_best" in text
    browser.save_screenshot(str(SHOTS / "mlflow-charts.png"))

    _until(lambda: browser.execute_script(SHEETS) == 6)
    browser.save_screenshot(str(SHOTS / "mlflow-samples.png"))


def _steps(number: int) -> range:
    counts = {"completed": 9, "stopped": 3, "diverged": 2, "failed": 1}
    return range(
        synthetic.EVERY, synthetic.EVERY * counts[synthetic.ENDS[number]] + 1, synthetic.EVERY
    )


def _cells(browser: Any, column: str) -> list[str]:
    """The texts of a column, from the first row to the last."""
    texts: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.ag-row')].map(row => ["
        "Number(row.getAttribute('row-index')),"
        "[...row.querySelectorAll('[col-id]')].find("
        "cell => cell.getAttribute('col-id') === arguments[0])])"
        ".filter(([, cell]) => cell).sort(([a], [b]) => a - b).map(([, cell]) => cell.innerText)",
        column,
    )
    return [text.strip() for text in texts]


def _close_the_assistant(browser: Any, link: str) -> None:
    """Shut the panel that MLflow opens on a first visit, as somebody would by hand."""
    browser.get(link.partition("#")[0] + "health")
    browser.execute_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')"
    )


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.3)
