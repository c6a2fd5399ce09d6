"""The page in a real browser, from a file, with nothing to fetch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.report.page import write_report

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


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_opens_offline_and_whole(browser: Any, usual: Path, width: int):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(write_report(usual).as_uri())
    assert browser.get_log("browser") == []
    assert browser.title == "ttur · sweep report"
    images = browser.execute_script(
        "return [...document.images].map(i => i.complete && i.naturalWidth > 0)"
    )
    assert len(images) == 7
    assert all(images)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    shown = "return [...document.querySelectorAll('svg')].filter(s => s.clientWidth > 0).length"
    assert browser.execute_script(shown) == 2 + 3  # budget and cost at one width, three parameters
    assert (
        browser.execute_script(
            "return performance.getEntriesByType('resource').filter("
            "r => !r.name.startsWith('data:')).length"
        )
        == 0
    )
