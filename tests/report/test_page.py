"""The page stands for every sweep there can be, and nothing in a sweep can act in it."""

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sweeper.ledger.ledger import Event, Record
from sweeper.ledger.tables import write_tables
from sweeper.report.page import write_report

from .folders import PLAN, Make, trial

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</title></style></svg><script>alert(2)</script>",
    "a\nb\tc\x00d\u202ee",
    "🦊 模型 $\\frac{1}{0}$ {{ 7 * 7 }} {% raw %}",
    "x" * 10_000,
]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a browser would see: balanced tags, attributes, ids, text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check(folder: Path) -> Page:
    """Write the report and hold it to what every report must be."""
    path = write_report(folder)
    assert path == folder / "report.html"
    assert not list(folder.glob(".report*"))
    return held(path)


def held(path: Path) -> Page:
    """A page, held to what every page must be: nothing in it acts or leads out of it."""
    page = Page(path)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:", "#")), f"{name}={value[:80]} leaves the page"
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {v[1:] for n, v in page.attributes if n == "xlink:href"}
    targets |= set(re.findall(r"url\(#([^)]*)\)", page.source))
    assert targets <= set(ids)
    return page


def test_a_usual_sweep(usual: Path):
    page = check(usual)
    assert page.tags.count("img") == 4 + 3  # best three and the baseline; the best as it trained
    for words in (
        "Trial t001 is best",
        "held out",
        "DCGAN default",
        "the loss was not finite",
        "OOM",
        "sweeper run search_spaces/ttur.yaml",
        "b7e21f4a90cd",
        "47 %",
    ):
        assert words in page.text


def test_the_drawing_says_how_far_it_is(usual: Path):
    told: list[tuple[str, int, int]] = []
    write_report(usual, lambda *step: told.append(step))
    ((what, total),) = {(what, total) for what, _, total in told}
    assert what == "drawing the report"
    assert [done for _, done, _ in told] == list(range(total + 1))


def test_the_same_input_gives_the_same_file(usual: Path):
    first = write_report(usual).read_bytes()
    assert write_report(usual).read_bytes() == first


@pytest.mark.parametrize(
    "trials",
    [
        pytest.param([], id="nothing yet"),
        pytest.param([trial(state="pending")], id="one waiting"),
        pytest.param([trial(state="running")], id="one begun"),
        pytest.param([trial(12.0, state="running")], id="one running"),
        pytest.param([trial(state="failed", reason="no memory")] * 3, id="only failures"),
        pytest.param([trial(9, 8, 7)], id="one trial, no baseline"),
        pytest.param([trial(9, baseline="DCGAN default")], id="only the baseline"),
        pytest.param(
            [trial(state="failed", baseline="DCGAN default"), trial(3.0)], id="baseline failed"
        ),
        pytest.param([trial(0.0), trial(0.0), trial(-1e-7)], id="scores of nothing"),
        pytest.param([trial(1e300), trial(5e-324)], id="absurd scores"),
        pytest.param([trial(5.0), trial(5.0)], id="equal scores"),
        pytest.param([trial(float("inf"), state="diverged")], id="no number"),
        pytest.param(
            [trial(5.0, params={}), trial(4.0, params={"unplanned": 3})], id="other parameters"
        ),
        pytest.param(
            [trial(5.0, params={"schedule.d_steps": "many"}), trial(4.0)], id="mixed types"
        ),
        pytest.param([trial(5.0, params={"generator.optimizer.adam.lr": 0.0})], id="log of 0"),
    ],
)
@pytest.mark.parametrize("samples", [True, False])
def test_every_odd_sweep(make: Make, trials: list[dict[str, Any]], samples: bool):
    check(make(trials, samples=samples))


def test_a_plan_with_little_in_it(make: Make):
    folder = make([trial(3.0)])
    (folder / "sweep.json").write_text(json.dumps({"horizon_kimg": 28.8}))
    check(folder)


def test_torn_samples_are_left_out(usual: Path):
    best = usual / "trials/00001/samples"
    (best / f"{3200 * 8:012d}.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    whole = (best / f"{3200:012d}.png").read_bytes()
    (best / f"{3200:012d}.png").write_bytes(whole[:40])
    assert check(usual).tags.count("img") == 3  # one sheet alone shows no growth


def test_large_samples_are_made_small(usual: Path):
    Image.effect_noise((3000, 3000), 80).save(usual / f"trials/00001/samples/{25600:012d}.png")
    assert write_report(usual).stat().st_size < 3_000_000


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_strings_are_only_text(make: Make, text: str):
    spec = {"name": text, "kind": "choice", "choices": [text, "b"]}
    number = {"name": f"{text}.lr", "kind": "float", "log": True, "low": 1e-4, "high": 1e-2}
    params = {text: text, f"{text}.lr": 1e-3}
    page = check(
        make(
            [
                trial(9, 8, baseline=text, params=params),
                trial(7, 6, params=params),
                trial(state="failed", params=params, reason=text, traceback=text),
            ],
            samples=True,
            parameters=[spec, number],
            baselines=[text],
            **dict.fromkeys(("name", "space", "metric", "method", "command", "engine"), text),
            version=text,
            data={"name": text, "examples": 1, "shape": [text], "digest": text},
            protocol={text: text, "nested": {text: [text]}},
            protocol_hash=text.replace("\x00", ""),
        )
    )
    assert ("{{ 7 * 7 }}" in page.text) == ("{{ 7 * 7 }}" in text)
    assert len(page.source) < 400_000


def test_lone_surrogates_do_not_stop_the_report(make: Make):
    check(make([trial(3.0)], name="\ud800", metric="fid \udfff"))


def test_protocols_are_not_mixed_and_the_old_page_stays(usual: Path):
    before = write_report(usual).read_bytes()
    table = usual / "trials.parquet"
    whole = pq.read_table(table)
    other = pa.array(["p", *whole["protocol"].to_pylist()[1:]])
    at = whole.schema.get_field_index("protocol")
    pq.write_table(whole.set_column(at, "protocol", other), table)
    with pytest.raises(ValueError, match="one protocol"):
        write_report(usual)
    assert (usual / "report.html").read_bytes() == before
    assert not list(usual.glob(".report*"))


def test_a_thousand_trials_of_fifty_measurements(tmp_path: Path):
    (tmp_path / "sweep.json").write_text(json.dumps(PLAN))
    write_tables(SimpleNamespace(records=[long(n) for n in range(1000)]), tmp_path, "p")
    begun = time.perf_counter()
    page = check(tmp_path)
    assert time.perf_counter() - begun < 60
    assert len(page.source) < 4_000_000
    assert "of 1000 trials are drawn" in page.text


def long(number: int) -> Record:
    """A trial of fifty measurements."""
    lr = 1e-4 * 1.005**number
    params = {"generator.optimizer.adam.lr": lr, "loss": "hinge", "schedule.d_steps": number % 3}
    record = Record(number, None, params, {}, 0.0)
    for i in range(50):
        value = 10 + number % 97 + 100 / (i + 1)
        data = {"best": value, "seconds": 1.0 * i, "images_per_second": 1.0, "losses": {}}
        step = 576 * (i + 1)
        record.add(Event(0, number, 1, "measured", step, value, "continue", data, 0.0))
    ended = {"reason": "horizon"}
    record.add(Event(0, number, 1, "ended", 28800, value, "completed", ended, 0.0))
    return record
