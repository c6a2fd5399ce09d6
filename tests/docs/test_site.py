"""The site is whole, leads nowhere outside but by links, and says of a technique what its signature
says."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sweeper.space.compile import recommended
from sweeper.space.listing import entries
from sweeper.space.papers import papers
from tests.docs.documents import ROOT
from tests.report.test_browser import CHROMIUM, DRIVER, browser

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.xdist_group("site")


@pytest.fixture(scope="module")
def catalog() -> Iterator[ModuleType]:
    """What makes the pages of the catalog, as mkdocs imports it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "site")
        yield import_module("catalog")
        for name in ("catalog", "links"):
            del sys.modules[name]


SHIPPED = [entry for entry in entries() if entry.shipped]


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: f"{e.family}.{e.name}")
def test_a_page_says_what_the_signature_says(
    entry: Any, catalog: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "uses", dict)
    text = "\n".join(catalog.technique(entry))
    for knob, field in entry.knobs.model_fields.items():
        (row,) = re.findall(rf"^\| `{knob}` \|.*$", text, re.MULTILINE)
        said = "required" if field.is_required() else catalog._default(field)
        assert row.split(" | ")[2] == said
        assert (row.split(" | ")[3] == "– |") == (recommended(field) is None)
    if entry.paper:
        assert papers()[entry.paper].bibtex in text
    assert inspect.getsource(inspect.unwrap(entry.target)).rstrip() in text
    for kind in ("needs", "conflicts", "warns", "provides"):
        for law in getattr(entry, kind):
            assert f"- {catalog.LAWS[kind]} `{law.tag}`" in text
    # Nothing of a docstring is lost when its formulas are set apart.
    shown = re.sub(
        r"</?(?:p|sub|sup|code)\b[^>]*>|\]\([^)]*\)|&#?\w+;", "", text.partition("## Knobs")[0]
    )
    left = iter(re.findall(r"[^\W_]", shown))
    assert all(letter in left for letter in re.findall(r"[^\W_]", inspect.getdoc(entry.target)))


def test_a_formula_stands_apart(catalog: ModuleType) -> None:
    page = "\n".join(catalog._documented({e.name: e for e in SHIPPED}["least_squares"]))
    assert '<p class="formula">L<sub>D</sub> = ½ E(r − b)² + ½ E(f − a)², L<sub>G</sub>' in page
    assert "the coding (a, b, c) is (0, 1, 1)" in page
    apart = [e.name for e in SHIPPED if 'class="formula"' in "\n".join(catalog._documented(e))]
    assert {"wasserstein", "gradient_penalty", "r1_penalty", "ema", "adam", "spade"} <= set(apart)
    assert len(apart) > 70


@pytest.mark.parametrize(
    ("paragraph", "first"),
    [
        ("y = γ x + β, where γ is learnt. So is β.", "y = γ x + β"),
        ("g ← 2 g with care; it grows.", "g ← 2 g"),
        ("The paper has a weight of 10, that is γ = 10.", ""),
        ("L_G = -E f.", "L_G = -E f"),
    ],
)
def test_where_a_formula_ends(catalog: ModuleType, paragraph: str, first: str) -> None:
    found, rest = catalog.split(paragraph)
    assert found == first
    assert rest in paragraph
    assert paragraph.startswith(found or rest)


def test_what_markdown_would_take_for_its_own_is_left_alone(catalog: ModuleType) -> None:
    said = catalog.prose("<b> a*b*c and x_i of ``my_knob`` | [1]")
    assert said == "&lt;b> a&#42;b&#42;c and x<sub>i</sub> of `my_knob` &#124; &#91;1]"
    assert catalog.prose("as ``r1_penalty`` has it") == (
        "as [`r1_penalty`](docs/catalog/regularizers/r1_penalty.md) has it"
    )


class Page(HTMLParser):
    """The anchors of a page, its links, and everything that it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links, self.loads = set[str](), list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attributes}
        self.anchors.add(held.get("id", ""))
        if tag == "a" and "href" in held:
            self.links.append(held["href"])
        elif tag == "link":
            self.loads.append(held["href"])
        self.loads += [held[name] for name in ("src", "data-index") if name in held]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(
        line, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_whole(site: Path) -> None:
    pages = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    made = [path for path in pages if path.is_relative_to(site / "catalog")]
    assert len(made) == len(SHIPPED) + 21
    for path, page in pages.items():
        for load in page.loads:
            assert load.startswith("data:") or (path.parent / load).is_file(), (path, load)
        for link in page.links:
            if re.match(r"https?://", link):
                continue
            file, _, anchor = link.partition("#")
            there = (path.parent / file).resolve() if file else path
            assert there.is_file(), (path, link)
            assert not anchor or anchor in pages[there].anchors, (path, link)
    style = (site / "style.css").read_text()
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not (CHROMIUM.exists() and DRIVER.exists()), reason="needs Debian's chromium")
def test_it_is_read_and_searched_from_disk(site: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    for width in (390, 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for name in ("index", "tutorial", "reliability", "catalog/index", "catalog/tricks/ada"):
            browser.get((site / f"{name}.html").as_uri())
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, (name, wide)
    field = browser.find_element(By.ID, "search")
    field.send_keys("hinge")
    WebDriverWait(browser, 20).until(lambda d: d.find_elements(By.CSS_SELECTOR, "#found a"))
    field.send_keys(Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda d: d.title == "hinge · sweeper")
    page, _, _ = browser.current_url.partition("#")
    assert page == (site / "catalog/losses/hinge.html").as_uri()
    assert browser.get_log("browser") == []
