"""The catalog, told: a line a technique, one of them whole, and the papers of a search space."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.catalog import families
from sweeper.catalog.aliases import ALIASES
from sweeper.cli import app, refuse
from sweeper.registry import Registry
from sweeper.space.papers import papers, unicode
from sweeper.space.source import InputError

TTUR = Path(__file__).parents[2] / "search_spaces" / "ttur.yaml"
REGISTRIES = [r for r in vars(families).values() if isinstance(r, Registry)]


def typed(*words: str | Path) -> str:
    """What a command that succeeds prints."""
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def test_every_technique_has_its_line() -> None:
    lines = typed("catalog").splitlines()
    for registry in REGISTRIES:
        assert not registry or f"{registry.family}:" in lines
        for entry in registry.values():
            (line,) = (x for x in lines if x.split()[:1] == [entry.name])
            assert line.startswith("  ")
            assert line.endswith(entry.summary)
            assert str(len(entry.knobs.model_fields)) in line.split()
            assert entry.paper in line
    for alias in ALIASES:
        assert any(line.startswith(f"  {alias} ") for line in lines)


def test_one_family_by_itself() -> None:
    lines = typed("catalog", "--family", "losses").splitlines()
    assert lines[0] == "losses:"
    assert [line.split()[0] for line in lines[1:]] == list(families.losses)
    assert refused("catalog", "--family", "loss").startswith("--family is one of activations, ")


def test_a_family_whole() -> None:
    pages = typed("catalog", "normalization")
    assert pages == typed("catalog", "normalizations")
    for entry in families.normalizations.values():
        assert f"{entry.name}, of the normalizations\n" in pages
        assert entry.summary in pages
    assert "of the losses" in typed("catalog", "loss")


def test_one_technique_whole() -> None:
    shown = typed("catalog", "r1_penalty")
    assert shown.startswith("r1_penalty, of the regularizers\n")
    assert "(γ/2) E‖∇D(x)‖²" in shown
    assert "Mescheder, Geiger and Nowozin (2018). Which Training Methods" in shown
    assert "knob      gamma: float > 0, default 10.0, auto is {loguniform: [0.01, 100]}" in shown
    assert "knob      every: int ≥ 1, default 1, auto is {choice: [1, 4, 16]}" in shown
    assert "provides  lipschitz" in shown


def test_laws_come_with_their_reason_and_condition() -> None:
    shown = " ".join(typed("catalog", "wasserstein").split())
    assert "needs lipschitz, which spectral_norm, weight_clipping, gradient_penalty" in shown
    assert "provides  momentum, when beta1 > 0" in typed("catalog", "adam")


def test_an_alias_says_where_it_is_set() -> None:
    shown = typed("catalog", "n_critic")
    assert "it is schedule.alternating_update.d_steps, schedule.alternating_update.g_steps" in shown
    assert "Arjovsky, Chintala and Bottou (2017)" in shown
    assert "schedule.alternating_update.d_steps: int ≥ 1, default 1" in shown
    assert "measurement.losses" in typed("catalog", "loss_curves")


def refused(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert refuse(caught.value) == 2
    return str(caught.value)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    words = refused("catalog", "r1_penlty")
    assert words.startswith("there is no 'r1_penlty' in the catalog; did you mean r1_penalty or ")
    assert "sweeper catalog lists all" in refused("catalog", "qqqqq")
    assert "in the losses" in refused("catalog", "hing", "--family", "losses")


def test_all_of_it_as_json() -> None:
    known = json.loads(typed("catalog", "--json"))
    names = {item["name"] for item in known}
    assert names == {name for r in REGISTRIES for name in r} | set(ALIASES)
    by_name = {item["name"]: item for item in known}
    penalty = by_name["gradient_penalty"]
    assert penalty["paper"] == "gulrajani2017"
    assert {k["name"] for k in penalty["knobs"]} >= {"weight", "every"}
    rate = next(k for k in by_name["adam"]["knobs"] if k["name"] == "lr")
    assert rate["type"] == "float > 0"
    assert rate["default"] == pytest.approx(2e-4)
    assert rate["range"] == {"loguniform": [1e-5, 1e-3]}
    assert by_name["wasserstein"]["needs"][0]["tag"] == "lipschitz"
    assert by_name["ttur"]["alias"] == list(ALIASES["ttur"].paths)
    assert json.loads(typed("catalog", "adam", "--json")) == [by_name["adam"]]


def test_a_space_cites_what_any_of_its_draws_uses(tmp_path: Path) -> None:
    shown = typed("cite", TTUR)
    keys = [line.partition("{")[2].rstrip(",") for line in shown.splitlines() if line[:1] == "@"]
    assert keys == sorted(set(keys))
    assert {"lim2017", "mao2017", "alpaydin1998", "heusel2017", "mescheder2018"} <= set(keys)
    for key in keys:
        assert papers()[key].bibtex in shown
    trial = tmp_path / "trial.yaml"
    trial.write_text("extends: base/dcgan.yaml\ntrial: {loss: hinge, data: ring}\n")
    shown = typed("cite", trial)
    assert "lim2017" in shown
    assert "alpaydin1998" not in shown


def test_papers_are_read_aloud() -> None:
    assert (
        unicode(r"Bal{\'a}zs {\o}re Yaz{\i}c{\i} {\v S} \'{\i} {GAN}")
        == "Balázs øre Yazıcı Š í GAN"
    )
    for paper in papers().values():
        assert not set(str(paper)) & set("{}\\"), paper.key
    assert str(papers()["lim2017"]) == "Lim and Ye (2017). Geometric GAN. arXiv 1705.02894."


def test_the_command_ends_with_2_and_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.cli", "catalog", "hing"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean hinge" in done.stderr
    assert "Traceback" not in done.stderr
