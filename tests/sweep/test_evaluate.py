"""Measuring generators and images after training, and what follows from own data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sweeper.catalog.datasets.digits import load
from sweeper.catalog.datasets.store import pack
from sweeper.catalog.families import datasets
from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.sweep.derive import Kind, derived, features, kind_of
from sweeper.sweep.evaluate import Asked, evaluate
from sweeper.sweep.executor import InlineExecutor, Sweep
from sweeper.sweep.plan import Settings, choose_data, prepare
from tests.sweep.plans import SMALL, SPACES

TTUR = SPACES / "ttur.yaml"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two trials, each measured in full at its end."""
    out = tmp_path_factory.mktemp("swept")
    overrides = (*SMALL, "evaluation.metrics=[kid]", "evaluation.full_samples=300")
    plan = prepare(Settings(TTUR, "digits", overrides, 2, 0, None, out))
    plan.write()
    with Ledger(plan.folder) as ledger:
        InlineExecutor().run(Sweep(plan, ledger))
    return plan.folder


def asked(*what: Path, **changes: object) -> Asked:
    known: dict[str, object] = {
        "data": None,
        "protocol": "full",
        "metrics": None,
        "features": None,
        "weights": None,
        "samples": None,
        "best": 1,
        "out": what[0].resolve().parent,
    }
    return Asked(what, **{**known, **changes})  # type: ignore[arg-type]


def quiet(what: str, done: int, total: int) -> None:
    pass


def measured(*what: Path, **changes: object) -> list[dict[str, object]]:
    lines = evaluate(asked(*what, **changes), quiet, json_lines=True)
    return [json.loads(line) for line in lines]


def folder_of(images: np.ndarray, folder: Path, labels: np.ndarray | None = None) -> Path:
    for i, image in enumerate(images):
        place = folder if labels is None else folder / str(labels[i])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(place / f"{i:05d}.png")
    return folder


def test_what_a_trial_measured_at_its_end_is_measured_again(swept: Path) -> None:
    with_score = sorted(
        (r for r in Ledger(swept, write=False).records if r.heldout is not None),
        key=lambda r: r.score,
    )
    plain = json.loads((swept / "sweep.json").read_text())
    (row,) = measured(swept)
    best = with_score[0]
    assert row["name"] == best.name
    assert row["score"] == pytest.approx(best.heldout, rel=1e-6)
    assert row["metric.kid"] == pytest.approx(best.metrics["kid"], rel=1e-4)
    assert row["protocol"] == plain["full_protocol_hash"] == best.full_protocol
    (same,) = measured(swept / "trials" / f"{best.number:05d}")
    assert (same["name"], same["score"]) == (row["name"], row["score"])


def test_images_of_another_model_stand_in_the_same_table(swept: Path, tmp_path: Path) -> None:
    images, _ = load()
    real = folder_of(images[:300], tmp_path / "real")
    noise = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    noisy = folder_of(noise, tmp_path / "noise")
    rows = measured(swept, noisy, real, samples=300, best=2)
    assert [row["samples"] for row in rows] == [300] * 4
    assert len({row["protocol"] for row in rows}) == 1
    scores = {Path(str(row["what"])).name: row["score"] for row in rows}
    assert scores["real"] < scores["noise"]
    text = list(evaluate(asked(noisy, real, data="digits", samples=300), quiet, json_lines=False))
    assert [line.split()[:2] for line in text[1:3]] == [["1", str(real)], ["2", str(noisy)]]
    assert any(line.startswith("protocol ") for line in text[3:]) or "\nprotocol" in text[3]
    kept = pq.read_table(swept.parent / "evaluations.parquet").to_pylist()
    assert [row["name"] for row in kept if row["samples"] == 300][-2:] == ["noise", "real"]


def test_too_few_images_are_refused_with_what_would_do(swept: Path, tmp_path: Path) -> None:
    images, _ = load()
    few = folder_of(images[:10], tmp_path / "few")
    with pytest.raises(InputError, match=r"holds 10: --samples 10 compares as many"):
        measured(swept, few)


def test_what_cannot_be_measured_is_refused_by_name(swept: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean fid50k"):
        measured(swept, protocol="fid50")
    with pytest.raises(InputError, match="which --data names"):
        measured(tmp_path)
    with pytest.raises(InputError, match="there is no 'kidd' among the metrics"):
        measured(swept, metrics=("kidd",))
    with pytest.raises(InputError, match="Inception"):
        measured(swept, protocol="fid10k", weights=tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("length", "shape", "classes", "expected"),
    [
        (1000, (3, 32, 32), 0, "random_conv"),
        (1000, (3, 32, 32), 10, "classifier"),
        (499, (3, 32, 32), 10, "random_conv"),
        (1000, (2,), 8, "classifier"),
    ],
)
def test_features_follow_from_the_labels(
    length: int, shape: tuple[int, ...], classes: int, expected: str
) -> None:
    assert features(Kind(length, shape, classes)) == expected


def test_a_preset_for_own_images_is_derived(tmp_path: Path) -> None:
    images, labels = load()
    large = images.repeat(2, 2).repeat(2, 3)
    folder = folder_of(large[:1200], tmp_path / "own", labels)
    source = datasets["folder"].make(path=str(folder), size=16, channels=1)
    store = pack(source, tmp_path / "packed")
    assert kind_of({"packed": {"path": str(store.path)}}) == (1200, (1, 16, 16), 10)
    tree = derived(choose_data(str(store.path), Path())).tree
    assert tree["trial"]["architecture"] == {"dcgan": {"channels": 32}}
    assert tree["trial"]["batch"] == {"size": 32}
    assert tree["trial"]["evaluation"]["features"] == "classifier"
    assert tree["budget"] == {"max": 30.0}
    overrides = ("evaluation.features=random_conv", "evaluation.samples=16")
    plan = prepare(Settings(TTUR, str(store.path), overrides, out=tmp_path / "results"))
    assert "architecture.dcgan.channels: 32  (derived from the data)" in plan.filled
    assert plan.protocol.features == "random_conv"


def test_weights_of_no_use_are_refused(swept: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weights are Inception's, but features is random_conv"):
        measured(swept, weights=tmp_path / "any.pth")


def test_a_generator_that_heeds_no_label_has_classes_by_vote(swept: Path) -> None:
    (row,) = measured(swept, metrics=("class_fid",), features="classifier", samples=300)
    heard = {k: v for k, v in row.items() if k.startswith("metric.class_fid")}
    # By vote, a generator that is hardly trained makes too few of most classes to tell.
    assert heard["metric.class_fid_unknown"] or heard["metric.class_fid_worst"] is None
