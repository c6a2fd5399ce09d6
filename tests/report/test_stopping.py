"""Whether it was right to stop trials, what that saved, and what else the page tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from sweeper.report import judged, sources
from sweeper.report.page import _costs
from sweeper.report.ranking import load
from sweeper.space.listing import references
from sweeper.space.space import shipped
from sweeper.sweep.environment import environment
from sweeper.sweep.plan import Settings, space_of

from .folders import Make, trial
from .test_page import check


def steady(first: float, last: float) -> tuple[float, ...]:
    return tuple(first + (last - first) * n / 8 for n in range(9))


def test_a_rung_that_kept_the_order(make: Make) -> None:
    """Four to the end, in the order that they had at both rungs, and five stopped at the first."""
    whole = [trial(*steady(50 + k, 10 + k)) for k in range(4)]
    first, second = judged.shown(
        load(make(whole + [trial(90.0 + k, state="stopped") for k in range(5)]))
    )
    assert (first["came"], first["stopped"], first["place"]) == (9, 5, 1)
    assert (second["came"], second["stopped"], second["trials"]) == (4, 0, 4)
    assert first["correlation"] == second["correlation"] == pytest.approx(1.0)


def test_a_rung_that_turned_it_round(make: Make) -> None:
    folder = make([trial(*steady(50 + k, 20 - k)) for k in range(4)])
    rows = judged.shown(load(folder))
    assert rows[0]["correlation"] == pytest.approx(-1.0)
    assert rows[0]["place"] == 4
    assert "Was stopping right?" in check(folder).text


def test_without_rungs_nothing_is_said_of_stopping(make: Make) -> None:
    folder = make([trial(*steady(50, 10))], rungs=[])
    assert judged.shown(load(folder)) == []
    assert "Was stopping right?" not in check(folder).text


def test_what_was_saved_is_what_training_would_have_gone_on_for(make: Make) -> None:
    folder = make(
        [
            trial(*steady(50, 10)),
            trial(60.0, 55.0, state="stopped"),
            trial(60.0, 55.0, state="stopped", config={"horizon_kimg": 14.4}),
            trial(70.0, state="running"),
        ]
    )
    costs = {row["state"]: row for row in _costs(load(folder))}
    assert costs["completed"]["saved_images"] == costs["running"]["saved_images"] == 0
    assert costs["stopped"]["saved_images"] == (28_800 - 6_400) + (14_400 - 6_400)
    assert costs["stopped"]["saved_seconds"] == pytest.approx(20 * (22.4 + 8.0) / 6.4)


PAPERS = [
    {"key": key, "of": [name], "says": f"{key} (2017). A title.", "bibtex": f"@misc{{{key},\n}}"}
    for key, name in (("lim2017", "hinge"), ("mao2017", "least_squares"), ("heusel2017", "fid"))
]


def test_the_papers_of_what_was_tried_are_cited_those_of_the_best_first(make: Make) -> None:
    config = {"loss": {"hinge": {}}, "regularizers": {"least_squares": False}}
    folder = make([trial(9.0, config=config)], papers=PAPERS)
    assert [p["key"] for p in sources.shown(load(folder))] == ["lim2017", "heusel2017"]
    page = check(folder)
    assert "@misc{lim2017," in page.text
    assert "mao2017" not in page.text


def test_the_environment_is_told(make: Make) -> None:
    page = check(make([trial(9.0)], environment={"python": "3.11.7", "device": "cpu <b>"}))
    assert "3.11.7" in page.text
    assert "cpu <b>" in page.text


def test_the_last_of_the_ranking_are_shown_and_pictures_beside_the_samples(make: Make) -> None:
    folder: Path = make([trial(9.0 + k, 8.0 + k) for k in range(8)], samples=True)
    pictures = folder / "pictures"
    pictures.mkdir()
    for kind in ("nearest", "interpolation"):
        Image.new("L", (120, 40), 90).save(pictures / f"t000_{kind}.png")
    (pictures / "t001_nearest.png").write_bytes(b"torn")
    page = check(folder)
    # Three best, the best at its rung and at its best, three last, and a picture of either kind.
    assert page.tags.count("img") == 3 + 2 + 3 + 2
    captions = page.text.split("The last of the ranking")[1]
    assert captions.index("t005") < captions.index("t006") < captions.index("t007")
    assert "Nearest training images" in captions
    assert "From latent to latent" in captions


def test_the_best_is_shown_where_it_was_judged(make: Make) -> None:
    """A trial that is measured beside a rung is judged at its next measurement."""
    folder = make([trial(*steady(50, 10))], samples=True, rungs=[3100, 9500])
    text = check(folder).text
    grown = text.split("the best, as it trained")[1]
    assert [f"{n} kimg" in grown for n in ("3.2", "9.6", "28.8")] == [True] * 3


def test_a_plan_holds_its_papers_and_its_environment() -> None:
    space, _ = space_of(Settings(shipped() / "ttur.yaml"))
    found = {row["key"]: row for row in references(space)}
    assert "hinge" in found["lim2017"]["of"]
    assert found["lim2017"]["bibtex"].startswith("@misc{lim2017,")
    told = json.loads(json.dumps(environment()))
    assert {"python", "torch", "ray", "optuna", "sweeper", "platform", "cores", "device"} <= set(
        told
    )
