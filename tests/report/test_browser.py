"""The page in a real browser, from a file, with nothing to fetch."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.report.beside import write_comparison
from sweeper.report.page import write_report

from .folders import Make, trial, write
from .test_page import HOSTILE

SHOTS = Path(__file__).parents[2] / "results" / "screenshots"
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM.exists() and DRIVER.exists()), reason="Debian's chromium is not installed"
    ),
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def look(browser: Any, page: Path, width: int, shot: str) -> None:
    """Open a page at a width, keep a picture of it, and hold it to what every page must be: no
    word on the console, every picture there, nothing fetched, nothing wider than the window."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    browser.get(page.as_uri())
    keep(browser, f"{shot}_{width}")
    assert browser.get_log("browser") == []
    images = browser.execute_script(
        "return [...document.images].map(i => i.complete && i.naturalWidth > 0)"
    )
    assert images
    assert all(images)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    fetched = "return performance.getEntriesByType('resource').map(r => r.name.slice(0, 5))"
    assert set(browser.execute_script(fetched)) <= {"data:"}


def keep(browser: Any, name: str) -> None:
    """A picture of the whole page, for people to look at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    (SHOTS / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def shown(browser: Any, selector: str) -> int:
    """How many elements have a place on the page."""
    found = f"[...document.querySelectorAll('{selector}')].filter(e => e.clientWidth > 0)"
    return int(browser.execute_script(f"return {found}.length"))


def test_the_page_opens_offline_and_whole_and_its_axis_is_switched(
    browser: Any, usual: Path
) -> None:
    page = write_report(usual)
    for width in (390, 1280):
        look(browser, page, width, "report")
        assert browser.title == "ttur · sweep report"
        assert shown(browser, "img") == 4 + 3  # three best and the baseline, the best as it trained
        assert shown(browser, ".curves") == shown(browser, ".parallel") == 1
        assert shown(browser, ".by-kimg svg") == 1
        browser.execute_script("document.querySelector('label[for=axis-seconds]').click()")
        assert shown(browser, ".by-seconds svg") == shown(browser, ".curves") == 1


def test_a_hostile_sweep_is_only_text(browser: Any, make: Make) -> None:
    hostile = "".join(HOSTILE)
    params = {hostile: hostile, f"{hostile}.lr": 1e-3}
    names = dict.fromkeys(("name", "space", "metric", "method", "command", "engine"), hostile)
    folder = make(
        [
            trial(9, 8, baseline=hostile, params=params),
            trial(7, 6, params=params | {hostile: "b"}, warnings=[hostile]),
            trial(8, 7, params=params | {f"{hostile}.lr": 2e-3}),
            trial(state="failed", params=params, reason=hostile, traceback=hostile),
        ],
        samples=True,
        parameters=[
            {"name": hostile, "kind": "choice", "choices": [hostile, "b"]},
            {"name": f"{hostile}.lr", "kind": "float", "log": True, "low": 1e-4, "high": 1e-2},
        ],
        version=hostile,
        data={"name": hostile, "examples": 1, "shape": [hostile], "digest": hostile},
        protocol={hostile: hostile},
        environment={hostile: hostile},
        papers=[{"key": hostile, "of": ["fid", hostile], "says": hostile, "bibtex": hostile}],
        **names,
    )
    for width in (390, 1280):
        look(browser, write_report(folder), width, "hostile")
        assert browser.execute_script("return document.scripts.length") == 0
        assert "<script>alert(1)</script>" in browser.title
        assert shown(browser, ".parallel") == 1


def test_two_sweeps_on_one_page(browser: Any, usual: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", [trial(30.0, 9.0), trial(30.0, 20.0)], samples=True)
    page = write_comparison([usual, other], 3)
    for width in (390, 1280):
        look(browser, page, width, "compare")
        assert shown(browser, ".curves") == 1
