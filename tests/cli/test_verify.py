"""The conformance suite as users run it: what holds, what misses, and the contracts of their own
techniques."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeper.space.source import InputError
from sweeper.space.use import Used, registries
from sweeper.verify import run as suites
from sweeper.verify.claims import CHECKS, Claim
from sweeper.verify.run import Finding, suite, verify

HEAD = """
import random
import torch
from torch import nn
from sweeper.catalog.families import losses, tricks
from sweeper.game import Loss, Player, Trick
from sweeper.verify.claims import Claim, check
"""
HALVED = f"""{HEAD}
@losses.register()
class Halved(Loss):
    \"\"\"Half the Wasserstein loss.\"\"\"

    def discriminator(self, scores):
        return (scores.fake.mean() - scores.real.mean()) / 2

    def generator(self, scores):
        return -scores.fake.mean() / 2


@check("halved")
def halved():
    yield Claim("one half", 0.5, 0.5)
    yield Claim("another half", 0.25, 0.5)
"""
BAD = {
    "another draw every time": (
        "def latents(self, z, progress):\n        return z * random.random()",
        "values that differ when trained again from the seed",
    ),
    "what it remembers is in no buffer": (
        "seen = 0.0\n\n    def latents(self, z, progress):\n        self.seen += 1.0\n"
        "        return z + self.seen",
        "values that differ when stopped, saved and resumed",
    ),
    "the other player's weights": (
        "def weights(self, player, networks, progress):\n        other = networks['main']"
        ".generator if player is Player.D else networks['main'].discriminator\n"
        "        for p in other.parameters():\n            p.data.mul_(0.5)",
        "changes of a player in the other's moves",
    ),
}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[[str], Used]]:
    """Brings a file of techniques, which are gone afterwards."""
    before = {registry.family: set(registry) for registry in registries()}
    checks, made = dict(CHECKS), list[Used]()

    def bring(source: str) -> Used:
        made.append(Used(str(tmp_path / "own.py"), source))
        made[-1].load()
        return made[-1]

    yield bring
    for registry in registries():
        for name in set(registry) - before[registry.family]:
            registry.remove(name)
    CHECKS.clear()
    CHECKS.update(checks)
    for used in made:
        sys.modules.pop(used.module)


def findings(*names: str) -> list[Finding]:
    return list(verify(suite(names)))


def missed(*names: str) -> list[str]:
    return [f.claim.what if f.claim else f.error for f in findings(*names) if not f.ok]


def test_every_technique_is_checked() -> None:
    everything = suite()
    assert everything.unchecked == ()
    named = {name for task in everything.tasks for name in task.techniques}
    assert {e.name for r in registries() for e in r.values()} <= named


def test_closed_forms_of_the_catalog_hold() -> None:
    found = findings("hinge")
    assert len(found) > 3
    assert missed("hinge") == []


def test_a_technique_without_closed_forms_keeps_the_contracts() -> None:
    assert len(findings("digits")) == 4
    assert missed("digits") == []


def test_an_alias_has_the_checks_of_its_name_or_is_refused() -> None:
    assert suite(["update_order"]).tasks
    assert suite(["n_critic"]).tasks != suite(["update_order"]).tasks
    with pytest.raises(InputError, match=r"progress_axes is measurement\.images.* no checks"):
        suite(["progress_axes"])
    with pytest.raises(InputError, match="there is no 'hing' in the catalog; did you mean hinge"):
        suite(["hing"])


def test_a_users_technique_is_held_to_its_checks_and_the_contracts(
    own: Callable[[str], Used],
) -> None:
    own(HALVED)
    assert len(findings("halved")) == 2 + 4
    assert missed("halved") == ["another half"]


@pytest.mark.parametrize("fault", BAD)
def test_a_broken_contract_is_found(fault: str, own: Callable[[str], Used]) -> None:
    body, what = BAD[fault]
    text = f'class Own(Trick):\n    """Does wrong."""\n\n    {body}\n'
    own(f"{HEAD}\n@tricks.register(facts={{'stage': 60}})\n{text}")
    assert what in missed("own")


def test_what_a_technique_raises_is_a_miss_with_its_line(own: Callable[[str], Used]) -> None:
    used = own(
        HALVED.replace("-scores.fake.mean() / 2", "scores.fake.meen()").partition("@chec")[0]
    )
    (told,) = missed("halved")
    line = used.source[: used.source.index("meen")].count("\n") + 1
    assert told.startswith("loss.halved: AttributeError: ")
    assert told.endswith(f"({used.name}:{line})")


def test_lines_align_and_numbers_that_json_lacks_are_text() -> None:
    plan = suite(["digits"])
    finding = Finding("digits", Claim("what", float("inf"), 0.5))
    head, line = suites.heading(plan), suites.line(finding, plan)
    assert line.startswith("MISS  digits")
    assert line.index("what") == head.index("what")
    told = json.loads(suites.as_json(finding))
    assert (told["measured"], told["ok"], told["techniques"]) == ("inf", False, ["digits"])


def typed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sweeper.cli", "verify", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=300,
    )


def test_the_command_in_as_many_processes_as_there_are_cores(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(HALVED)
    done = typed(tmp_path, "hinge", "minimax", "wasserstein", "halved", "--use", "own.py", "--json")
    assert done.returncode == 1, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [t["what"] for t in told if not t["ok"]] == ["another half"]
    assert {"hinge", "minimax", "wasserstein", "halved"} <= {
        n for t in told for n in t["techniques"]
    }
    assert f"1 of {len(told)} claims about" in done.stderr


def test_the_command_ends_with_0_when_all_hold_and_with_2_for_an_unknown_name(
    tmp_path: Path,
) -> None:
    done = typed(tmp_path, "hinge")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(line.startswith("ok  ") for line in done.stdout.splitlines()[1:-1])
    assert done.stdout.splitlines()[-1].startswith("all ")
    assert typed(tmp_path, "hing").returncode == 2
