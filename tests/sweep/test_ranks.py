"""Sweeps whose trials are trained by several processes each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.sweep.executor import InlineExecutor, Job, Sweep, work
from sweeper.sweep.plan import Settings, prepare
from sweeper.trial.parallel import RankFailedError
from sweeper.verify.contracts import tiny
from tests.sweep.plans import SMALL, SPACES
from tests.trial.ranks import end

TWO = ("resources.gpu=0", "resources.ranks=2")

LOSS = """
from torch import Tensor
from sweeper.catalog.families import losses
from sweeper.game import Loss, Scores

@losses.register(name="of_ranks")
class OfRanks(Loss):
    '''A critic's loss, for two ranks.'''

    def discriminator(self, scores: Scores) -> Tensor:
        if self.ranks.size != 2:
            raise ValueError(f"two ranks train, not {self.ranks.size}")
        if BROKEN and self.ranks.rank == 1:
            raise ValueError("this rank is out of order")
        return scores.fake.square().mean() - scores.real.mean()

    def generator(self, scores: Scores) -> Tensor:
        return -scores.fake.mean()
"""


@pytest.mark.parametrize("broken", [False, True])
def test_a_job_of_two_ranks(cache: Path, tmp_path: Path, broken: bool) -> None:
    """Techniques of one's own are in every rank, and its error is told in its own words."""
    use = [
        ("mine.py", LOSS.replace("BROKEN", str(broken)).replace("of_ranks", f"of_ranks_{broken}"))
    ]
    tree = tiny(loss=f"of_ranks_{broken}", horizon_kimg=0.016)
    job = Job(0, 1, tree, str(tmp_path / "trial"), str(cache), 2, use, ranks=2)
    reports: list[dict[str, Any]] = list(work(job))
    assert [report["kind"] for report in reports] == ["failed" if broken else "measured"]
    if broken:
        said = "rank 1 failed: ValueError: this rank is out of order"
        assert reports[0]["reason"] == f"{RankFailedError.__name__}: {said}"
        assert reports[0]["cause"] == "exception"


@pytest.mark.slow
def test_a_sweep_of_two_ranks_a_trial(tmp_path: Path) -> None:
    plan = prepare(Settings(SPACES / "ttur.yaml", "digits", (*SMALL, *TWO), 2, out=tmp_path))
    plan.write()
    with Ledger(plan.folder) as ledger:
        InlineExecutor().run(Sweep(plan, ledger))
        assert [record.state for record in ledger.records] == ["completed"] * len(ledger)
        record = ledger.records[0]
        alone = end(record.config, plan.cache)["measurements"][-1]["score"]
        assert record.measured[-1].value == pytest.approx(alone, rel=1e-4)


def test_a_space_that_no_ranks_can_train_is_refused(tmp_path: Path) -> None:
    uneven = (*SMALL, "resources.gpu=0", "resources.ranks=3")
    with pytest.raises(InputError) as refused:
        prepare(Settings(SPACES / "ttur.yaml", "digits", uneven, 2, out=tmp_path))
    assert "size must divide into ranks x accumulate equal parts" in str(refused.value)


@pytest.mark.parametrize(
    ("resources", "law"),
    [
        (("resources.gpu=1.5",), "whole above 1, but got 1.5"),
        (("resources.gpu=2", "resources.ranks=3"), "but got ranks 3 and gpu 2"),
    ],
)
def test_a_rank_has_a_gpu_of_its_own(tmp_path: Path, resources: tuple[str, ...], law: str) -> None:
    with pytest.raises(InputError, match=law):
        prepare(Settings(SPACES / "ttur.yaml", "digits", (*SMALL, *resources), 2, out=tmp_path))


def test_as_many_ranks_as_gpus(tmp_path: Path) -> None:
    plan = prepare(
        Settings(SPACES / "ttur.yaml", "digits", (*SMALL, "resources.gpu=2"), 2, out=tmp_path)
    )
    assert plan.space.resources.processes == 2
