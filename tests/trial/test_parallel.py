"""Several ranks that train one trial are one, in all but the time it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.config import Misfit, Trial, over
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import train
from sweeper.trial.parallel import RankFailedError, RankLostError, surroundings
from sweeper.verify.contracts import bases, cases, differences, tiny, trial_with
from tests.trial.ranks import State, apart, end, pair

Tree = dict[str, Any]

SGD = {"sgd": {"lr": 0.002}}
"""Where a gradient is nothing but rounding, Adam would make a step of it; at a high rate the game
is unstable, and any difference grows."""
BATCH_NORM = {"normalization": "batch_norm", "optimizer": SGD}
PLAIN = {"normalization": "none", "optimizer": SGD}
ADAM = {"normalization": "batch_norm", "optimizer": "adam"}

QUICK: dict[str, Tree] = {
    "batch norm on both sides, relativistic average, r1, ema, mixed": {
        "discriminator": BATCH_NORM,
        "loss": "relativistic_average",
        "regularizers": "r1_penalty",
        "tricks": ["ema", "instance_noise", "minibatch_stddev"],
        "batch": {"size": 8, "mixed": True},
    },
    "gradient penalty, accumulated, several steps of D, a pool, clipped": {
        "generator": ADAM,
        "discriminator": {"normalization": "layer_norm", "optimizer": "adam"},
        "loss": "wasserstein",
        "regularizers": "gradient_penalty",
        "tricks": ["image_pool", "lookahead", "gradient_clip_norm"],
        "schedule": {"alternating_update": {"d_steps": 2, "fresh_latents": True}},
        "batch": {"size": 16, "accumulate": 2},
    },
    "every draw for an example, top k": {
        "regularizers": ["lecam", "zero_centered_gp", "consistency_regularization"],
        "tricks": {
            "ada": {"start": 0.5, "interval": 1},
            "label_smoothing": {"spread": 1.0},
            "label_noise": {},
            "label_flipping": {"p": 0.4},
            "top_k": {},
            "generator_dropout": {},
            "generator_noise_injection": {},
        },
    },
    "one pass for both players, feature matching, weighed by itself, minibatch discrimination": {
        "generator": ADAM,
        "discriminator": {"normalization": "none", "optimizer": {"adam": {"eps": 1e-6}}},
        "regularizers": "feature_matching",
        "tricks": {
            "adversarial_loss_weight": {"automatic": True},
            "minibatch_discrimination": {},
            "moving_average": {},
            "diff_augment": {},
        },
        "schedule": {"simultaneous_update": {"shared_forward": True}},
    },
    "unrolled through batch norm": {
        "discriminator": BATCH_NORM,
        "loss": "hinge",
        "tricks": {"unrolled_gan": {"steps": 2, "rate": 0.01}, "minibatch_stddev": {"group": 8}},
    },
    "a schedule that reads the losses, dragan": {
        "regularizers": "dragan",
        "schedule": {"loss_statistics_balancing": {"d_limit": 1.3864, "g_limit": 0.6932}},
    },
}

MORE: dict[str, Tree] = {
    f"{loss}, {norm}, {penalty}, {schedule}": {
        "discriminator": {"normalization": norm, "optimizer": SGD},
        "loss": loss,
        "regularizers": penalty,
        "schedule": schedule,
        "batch": {"size": 8, "accumulate": parts},
    }
    for loss, norm, penalty, schedule, parts in [
        ("minimax", "batch_norm", "r1_penalty", "alternating_update", 1),
        ("minimax", "none", "dragan", "simultaneous_update", 2),
        ("non_saturating", "batch_norm", "r2_penalty", "simultaneous_update", 1),
        ("non_saturating", "none", "gradient_penalty", "alternating_update", 4),
        ("least_squares", "batch_norm", "zero_centered_gp", "one_step_joint_loss", 1),
        ("least_squares", "none", "balanced_consistency", "alternating_update", 2),
        ("hinge", "batch_norm", "r1_penalty", "one_step_joint_loss", 2),
        ("hinge", "group_norm", "gradient_penalty", "simultaneous_update", 1),
        ("wasserstein", "none", "gradient_penalty", "alternating_update", 1),
        ("relativistic", "batch_norm", "r1_penalty", "alternating_update", 2),
        ("relativistic_average", "none", "dragan", "simultaneous_update", 1),
        ("relativistic_average", "batch_norm", "lecam", "alternating_update", 1),
    ]
} | {
    "extragradient through batch norm": {
        "discriminator": BATCH_NORM,
        "tricks": ["extragradient", "ema"],
    },
    "unrolled in first order": {
        "discriminator": BATCH_NORM,
        "tricks": {"unrolled_gan": {"mode": "first_order", "steps": 2}},
    },
    "deviation of groups, mixed and accumulated": {
        "tricks": {"minibatch_stddev": {"group": 2}, "minibatch_discrimination": {}},
        "batch": {"size": 16, "accumulate": 2, "mixed": True},
    },
    "classes": {"regularizers": "auxiliary_classifier", "tricks": "ema"},
    "spectral norm, a pool": {
        "discriminator": PLAIN | {"constraint": "spectral_norm"},
        "tricks": ["image_pool", "instance_noise"],
    },
}

APART = {
    **{f"{side}.optimizer.optimistic_adam": 1e-3 for side in ("discriminator", "generator")},
    "architecture.resnet_gan": 3e-3,
    "tricks.minibatch_discrimination": 1e-4,
}
"""Of a gradient that is next to nothing, a direction of length one says how it was rounded; and a
gradient through many layers, or of distances, is itself known less well."""

BRIEF = {"architecture.resnet_gan", "architecture.sndcgan", "regularizers.cycle_consistency_loss"}
"""Deep networks, of which the first round is compared: what differs by rounding after it differs
by twenty times as much after the next."""


@pytest.fixture(scope="module")
def base(cache: Path) -> Tree:
    return bases(cache)[0] | {"generator": BATCH_NORM, "discriminator": PLAIN}


@pytest.fixture(scope="module")
def trial(base: Tree) -> Trial:
    return Trial.read(base | {"discriminator": BATCH_NORM, "tricks": "ema"})


@pytest.fixture(scope="module")
def whole(trial: Trial, cache: Path) -> State:
    """The state of one rank at the end of a trial."""
    return end(trial.plain(), cache)


def check(trees: dict[str, Tree], cache: Path, folder: Path, timeout: float = 250) -> list[str]:
    """Where two ranks differ from one, beyond rounding, and from each other, bit by bit."""
    numbered = {str(i): Trial.read(tree).plain() for i, tree in enumerate(trees.values())}
    pair(numbered, cache, folder, timeout)
    found = []
    for i, (name, tree) in enumerate(trees.items()):
        first, second = (
            torch.load(folder / f"{i}-{rank}.pt", weights_only=True) for rank in (0, 1)
        )
        one = end(Trial.read(tree).plain(), cache)
        assert one["measurements"], "the trial was trained and measured"
        found += [f"{name}, ranks{where}" for where in differences(first, second)]
        rtol = APART.get(name, 1e-5)
        found += [f"{name}{where}" for where in apart(first, one, rtol=rtol, atol=rtol / 10)]
    return found


def test_two_ranks_are_one(base: Tree, cache: Path, tmp_path: Path) -> None:
    """Parameters, optimizers, averages, statistics, losses, scores, and random states."""
    assert check({name: base | tree for name, tree in QUICK.items()}, cache, tmp_path) == []


@pytest.mark.slow
def test_two_ranks_are_one_in_many_trials(base: Tree, cache: Path, tmp_path: Path) -> None:
    assert check({name: base | tree for name, tree in MORE.items()}, cache, tmp_path) == []


def first_round(tree: Tree) -> Tree:
    """The same trial, of one round."""
    kimg = tree["batch"]["size"] / 1000
    return tree | {"horizon_kimg": kimg, "evaluation": tree["evaluation"] | {"every_kimg": kimg}}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_technique_is_exact_or_refused(cache: Path, tmp_path: Path) -> None:
    steady = [tree | {"generator": BATCH_NORM, "discriminator": PLAIN} for tree in bases(cache)]
    trees, refused = dict[str, Tree](), set[str]()
    for case in cases():
        found = trial_with(case, steady)
        try:
            over(found, 2)
        except Misfit:
            refused.add(str(case))
        else:
            plain = found.plain()
            trees[str(case)] = first_round(plain) if str(case) in BRIEF else plain
    assert refused == {"tricks.packing"}
    assert check(trees, cache, tmp_path, timeout=1200) == []


def test_packs_are_refused_with_the_reason() -> None:
    packed = Trial.read(tiny(tricks={"packing": {"m": 2}}))
    with pytest.raises(Misfit, match="packing does not go with 2 ranks: the examples of a pack"):
        over(packed, 2)
    over(packed, 1)
    over(Trial.read(tiny(tricks={"packing": {"m": 1}})), 2)


def test_a_batch_divides_among_the_ranks(cache: Path) -> None:
    uneven = Trial.read(tiny(batch={"size": 6, "accumulate": 2}))
    law = "batch.size: size must divide into ranks x accumulate equal parts, but got 6 and 2 x 2"
    with pytest.raises(Misfit, match=law):
        next(train(uneven, cache, ranks=2))


def test_a_trial_goes_on_with_other_ranks(
    trial: Trial, whole: State, cache: Path, tmp_path: Path
) -> None:
    begun = train(trial, cache, tmp_path, ranks=2)
    first = next(begun)
    (rank,) = followers()
    begun.close()
    assert not alive(rank), "who stops the first ends the others"
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["000000000016.png"]
    assert len(Checkpoints(tmp_path / "checkpoints").paths()) == 1, "the first alone saves"
    again = list(train(trial, cache, tmp_path))
    assert again[0] == first
    state = Checkpoints(tmp_path / "checkpoints").load()
    assert list(apart(state, whole)) == []


@pytest.mark.slow
def test_a_trial_of_one_goes_on_with_two_ranks(
    trial: Trial, whole: State, cache: Path, tmp_path: Path
) -> None:
    next(train(trial, cache, tmp_path))
    assert len(list(train(trial, cache, tmp_path, ranks=2))) == 3
    assert followers() == [], "they end with the trial"
    assert list(apart(Checkpoints(tmp_path / "checkpoints").load(), whole)) == []


def test_a_rank_that_dies_ends_the_trial(trial: Trial, cache: Path) -> None:
    training = train(trial, cache, ranks=2)
    next(training)
    (rank,) = followers()
    os.kill(rank, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(RankLostError, match=r"^rank 1 was killed by signal 9$"):
        list(training)
    assert time.monotonic() - began < 30


def test_a_rank_that_raises_says_why(trial: Trial, cache: Path) -> None:
    training = train(trial, cache, ranks=2, prepare=[partial(int, "none")])
    with pytest.raises(
        RankFailedError, match=r"^rank 1 failed: ValueError: invalid literal for int"
    ):
        next(training)
    assert followers() == []


ENDLESS = """
import json, sys
from pathlib import Path
from sweeper.config import Trial
from sweeper.trial.loop import train
trial = Trial.read(json.loads(sys.argv[1]))
for measured in train(trial, Path(sys.argv[2]), ranks=2):
    print("measured", flush=True)
"""


def test_the_others_end_with_the_first(trial: Trial, cache: Path) -> None:
    """Also where it was given no time to end them."""
    endless = trial.model_copy(update={"horizon_kimg": 1e6})
    command = [sys.executable, "-c", ENDLESS, endless.model_dump_json(), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "measured\n"
        (rank,) = followers(first.pid)
        first.kill()
    until = time.monotonic() + 120
    while alive(rank) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(rank)


def test_each_rank_sees_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert surroundings(1)["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert surroundings(1)["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert surroundings(1)["CUDA_VISIBLE_DEVICES"] == ""


def followers(of: int | None = None) -> list[int]:
    """The other ranks that a process has started, and that live."""
    tasks = Path(f"/proc/{of or os.getpid()}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [child for child in children if "sweeper.trial.follow" in commanded(child)]


def commanded(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    return "sweeper.trial.follow" in commanded(pid)
