"""What nodes say of themselves, compared: what is refused, and what is only warned of."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sweeper.sweep.preflight import (
    BUSY,
    Facts,
    compare,
    gpus,
    leave_marker,
    look,
    marker_name,
    skew,
    unfit,
    visit,
)
from sweeper.sweep.storage import Storage
from sweeper.sweep.where import ClusterError

VERSIONS = {"python": "3.11", "sweeper": "0.1.0", "ray": "2.60.0", "torch": "2.8.0"}
HERE: Facts = {
    "node": "head",
    "versions": VERSIONS,
    "code": "12345678",
    "auth": "token",
    "cache": None,
    "gpus": [],
    "marker": "secret",
    "storage": None,
}


def there(**other: Any) -> Facts:
    return {**HERE, "node": "w1", "skew": 0.0, **other}


def test_nodes_that_are_alike_pass() -> None:
    found = compare(HERE, [there(), there(node="w2", skew=1.0)], "/mnt/shared")
    assert not found.refused
    assert not found.warned


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"unanswered": "it died"}, "every node runs a first task, but w1 does not: it died"),
        ({"marker": "old"}, "/mnt/x is not shared: what this driver wrote there is not seen on w1"),
        ({"storage": "read-only"}, "/mnt/x cannot be written on w1: read-only"),
        (
            {"versions": {**VERSIONS, "torch": "2.7.0"}},
            "one torch, but here it is 2.8.0, and 2.7.0",
        ),
        ({"auth": "disabled"}, "one RAY_AUTH_MODE, but here it is token, and disabled on w1"),
        ({"cache": "Permission denied"}, "cache of the results, but w1 cannot: Permission denied"),
    ],
)
def test_what_makes_a_sweep_impossible_is_refused(other: Facts, told: str) -> None:
    found = compare(HERE, [there(node="w2"), there(**other)], "/mnt/x")
    assert len(found.refused) == 1
    assert told in found.refused[0]


def test_a_storage_that_is_not_shared_comes_with_the_ways_that_work() -> None:
    apart = [there(node=f"w{n}", marker=None, storage="no such file") for n in range(1, 6)]
    (refused,) = compare(HERE, apart, "results").refused
    assert "not seen on w1, w2, w3 and 2 more" in refused
    assert "--out /mnt/shared/results" in refused
    assert "--storage s3://" in refused


def test_what_only_misleads_is_warned_of() -> None:
    gpu = {"name": "T4", "total": 16 * 2**30, "used": 6 * 2**30}
    busy = there(gpus=[{**gpu, "used": BUSY}, gpu], gpus_free=True)
    late, copied = there(node="w2", skew=61.2), there(node="w3", code="abcdefgh")
    taken = there(node="w4", gpus=[gpu], gpus_free=False)  # by other trials, as Ray knows
    found = compare(HERE, [busy, late, copied, taken], "/mnt/x")
    assert not found.refused
    assert found.warned == (
        "the files of sweeper 0.1.0 on w3 are not those here: copy them again",
        "the clock of w2 is 61 s off: times in its logs mislead",
        "GPU 1 of w1 (T4) is busy outside Ray: 6 of 16 GiB are in use; trials there may lack "
        "memory",
    )


@pytest.mark.parametrize(
    ("clock", "seconds"), [(100.0, 0.0), (104.0, 0.0), (90.0, 10.0), (125.0, 20.0)]
)
def test_a_clock_is_wrong_by_what_the_way_cannot_explain(clock: float, seconds: float) -> None:
    assert skew({"clock": clock}, 100.0, 105.0) == seconds


def test_a_node_answers_the_marker_of_the_driver(tmp_path: Path) -> None:
    place, cache = str(tmp_path / "shared"), str(tmp_path / "cache")
    mine = look(cache)
    leave_marker(place, "ttur", mine)
    facts = visit(place, "ttur", cache, "n1")
    assert not compare(mine, [{**facts, "skew": 0.0}], place).refused
    answer = tmp_path / "shared" / ".preflight-ttur-n1.json"
    assert answer.read_text() == mine["marker"]
    elsewhere = visit(str(tmp_path / "other"), "ttur", cache, "n1")
    (refused,) = compare(mine, [elsewhere], place).refused
    assert "is not shared" in refused


def test_a_driver_that_cannot_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match="results are kept where this driver can write"):
        leave_marker(str(tmp_path / "file"), "ttur", look(str(tmp_path)))


def test_a_node_that_joins_later_is_turned_away_with_the_reason(tmp_path: Path) -> None:
    place, cache = str(tmp_path), str(tmp_path / "cache")
    told = unfit(place, "ttur", cache)
    assert told is not None
    assert f"does not see {place}" in told
    leave_marker(place, "ttur", look(cache))
    assert unfit(place, "ttur", cache) is None
    marker = json.loads(Storage(place).read(marker_name("ttur")))
    marker["versions"]["ray"] = "1.0"
    Storage(place).write(marker_name("ttur"), json.dumps(marker).encode())
    told = unfit(place, "ttur", cache)
    assert told is not None
    assert "all nodes have one ray, but here it is 1.0, and" in told


def test_gpus_are_what_the_driver_of_the_cards_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card cut into instances has no numbers of its own, and is left out."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA T4, 15360, 20'\necho 'A100, [N/A], [N/A]'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert list(gpus()) == [{"name": "NVIDIA T4", "total": 15360 * 2**20, "used": 20 * 2**20}]
