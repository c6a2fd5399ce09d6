"""How much of a GPU a trial is given, and how many run at once: on paper, without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config import Trial
from sweeper.sweep.arrange import confined, share_of
from sweeper.sweep.autoscaler import at_most, config_file, largest
from sweeper.sweep.packing import (
    FRAGMENTED,
    Confined,
    Kind,
    Need,
    Resources,
    choose,
    confine,
    heaviest,
    kinds,
    on_one,
    portion,
    room,
    share,
)
from sweeper.trial.device import CONTEXT, allowed
from tests.sweep.plans import small

GIB = 2**30
needs = st.builds(
    Need,
    st.just("GPU"),
    st.integers(4 * GIB, 200 * GIB),
    st.integers(1, 200 * GIB),
    st.floats(0, 1),
)


@given(needs, st.floats(0, 64), st.integers(1, 8))
def test_trials_that_share_a_gpu_have_room_on_it(need: Need, per_gpu: float, cpus: int) -> None:
    """Memory, CPUs and time of the GPU are enough for all that are put on it."""
    part = share(need, per_gpu, cpus)
    k = on_one(part)
    assert 0 < part <= 1
    assert k >= 1
    assert k * part <= 1
    if k > 1:
        assert k * (need.memory * FRAGMENTED + CONTEXT) <= need.usable + k
        assert k * cpus <= per_gpu
        assert (k - 1) * need.busy < 1.001


@given(needs, st.floats(0, 64), st.integers(1, 8), st.integers(0, 50 * GIB))
def test_more_memory_never_means_a_smaller_share(
    need: Need, per_gpu: float, cpus: int, more: int
) -> None:
    larger = Need(need.gpu, need.usable, need.memory + more, need.busy)
    assert share(larger, per_gpu, cpus) >= share(need, per_gpu, cpus)


@given(needs, st.integers(1, 8))
def test_what_a_process_may_take_is_what_was_measured(need: Need, cpus: int) -> None:
    """The fraction of memory that is enforced holds a trial like the one that was measured, and all
    on a GPU, each with its context, hold no more than there is."""
    part = share(need, 64, cpus)
    fraction, k = allowed(part, need.usable), on_one(part)
    if k > 1:
        assert fraction * need.usable >= need.memory
        assert k * (fraction * need.usable + CONTEXT) <= need.usable + k
    else:
        assert fraction == 1


@given(st.integers(1, 64))
def test_so_many_shares_fill_a_gpu_and_no_more(k: int) -> None:
    part = portion(k)
    assert on_one(part) == k
    assert round(part * 10_000) * k <= 10_000


def test_a_trial_is_measured_on_each_type_and_the_share_does_for_all(tmp_path: Path) -> None:
    plan = small(tmp_path)
    nodes = {
        "a": {"CPU": 32.0, "GPU": 4.0, "accelerator_type:A100": 1.0},
        "b": {"CPU": 32.0, "GPU": 4.0, "accelerator_type:A100": 1.0},
        "c": {"CPU": 32.0, "GPU": 4.0, "accelerator_type:T4": 1.0},
        "head": {"CPU": 2.0},
    }
    usable, said = {"A100": 80 * GIB, "T4": 15 * GIB}, list[str]()
    asked: list[tuple[str, int]] = []

    def measure(kind: Kind | None, trials: Sequence[Trial]) -> Need:
        assert kind is not None
        asked.append((kind.name, len(trials)))
        return Need(kind.name, usable[kind.name], 5 * GIB, 0.1)

    assert on_one(choose(plan, nodes, measure, said.append)) == 2  # of 15 GiB, not 8 of 80
    assert asked == [("A100", 3), ("T4", 3)]
    assert said[1] == "a trial takes 5.0 of 15.0 GiB of a T4 and 10% of its time: 2 trials to a GPU"


def test_what_cannot_be_measured_has_a_gpu_to_itself(tmp_path: Path) -> None:
    said = list[str]()
    nodes = {"a": {"CPU": 8.0, "GPU": 1.0}}
    assert choose(small(tmp_path), nodes, lambda kind, trials: None, said.append) == 1
    assert said == ["no trial could be measured on a GPU: each has one to itself"]


def test_the_heaviest_of_many_draws_are_measured(tmp_path: Path) -> None:
    plan = small(tmp_path)
    found = heaviest(plan)
    assert len(found) == 3
    assert all(isinstance(trial, Trial) for trial in found)


def test_types_of_gpu_come_with_the_node_that_has_the_fewest_cpus_for_each() -> None:
    nodes = {
        "rich": {"CPU": 64.0, "GPU": 4.0, "accelerator_type:A100": 1.0},
        "poor": {"CPU": 8.0, "GPU": 4.0, "accelerator_type:A100": 1.0},
        "none": {"CPU": 8.0},
        "fake": {"CPU": 3.0, "GPU": 1.0},
    }
    assert kinds(nodes) == [Kind("A100", "poor", 2.0), Kind("GPU", "fake", 3.0)]


TWO, ONE, NONE = {"CPU": 16.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 3.0}


@pytest.mark.parametrize(
    ("cpus", "gpus", "trials"),
    [(1, 0.0, 20), (4, 0.0, 4), (1, 0.25, 9), (1, 1.0, 3), (3, 0.25, 5), (1, 2.0, 1), (2, 1.0, 2)],
)
def test_room_is_counted_node_by_node(cpus: int, gpus: float, trials: int) -> None:
    assert room([TWO, ONE, NONE], cpus, gpus) == trials


@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 8), min_size=1),
    st.integers(1, 20),
    st.integers(1, 8),
)
def test_no_more_gpus_than_allowed_can_be_held(nodes: dict[str, int], most: int, k: int) -> None:
    """However trials come to lie on the nodes that they are confined to, where each node fills a
    GPU before it opens another."""
    found = confine({n: {"CPU": 1000.0, "GPU": float(g)} for n, g in nodes.items()}, most, 1, 1 / k)
    if found.nodes is None:
        assert sum(nodes.values()) <= most
        return
    assert found.trials >= k
    chosen = [nodes[n] for n in found.nodes]
    held = sum(chosen) if len(chosen) > 1 else min(chosen[0], -(-found.trials // k))
    assert held <= most


def test_part_of_one_node_where_none_is_small_enough() -> None:
    nodes = {"a": {"CPU": 64.0, "GPU": 8.0}, "b": {"CPU": 64.0, "GPU": 4.0}}
    assert confine(nodes, 2, 1, 0.25) == Confined(frozenset({"b"}), 8)
    assert confine(nodes, 9, 1, 0.25) == Confined(frozenset({"a"}), 32)
    assert confine(nodes, 12, 1, 0.25).nodes is None


@pytest.mark.parametrize(
    ("most", "gpus", "trials"),
    [(1, 0.25, 4), (2, portion(3), 6), (3, 0.6, 3), (2, 1.0, 2), (5, 2.0, 2), (90, 0.25, 40)],
)
def test_on_a_cluster_that_grows_shares_make_up_no_more_gpus_than_allowed(
    most: int, gpus: float, trials: int
) -> None:
    found = confined({"head": {"CPU": 2.0}}, Confined(None, 40), most, 1, gpus, scales=True)
    assert found == Confined(None, trials)
    assert trials * gpus <= most


@pytest.mark.parametrize(("nodes", "gpus"), [([{"CPU": 8.0, "GPU": 2.0}], 2.0), ([], 0.0)])
def test_each_rank_has_a_gpu_of_its_own_or_none_has(
    nodes: list[Resources], gpus: float, tmp_path: Path
) -> None:
    """NCCL refuses two ranks on one GPU, so that nothing is measured, and nothing is shared."""
    plan = small(tmp_path)
    ranks = plan.space.resources.model_copy(update={"gpu": "auto", "ranks": 2})
    plan = replace(plan, space=replace(plan.space, resources=ranks))
    present = {str(n): node for n, node in enumerate(nodes)}
    assert share_of(plan, present, bool(nodes), pytest.fail) == gpus


HEAD = {"CPU": 2.0, "node:__internal_head__": 1.0}
SCALING = {
    "max_workers": 5,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 2}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 4},
        "cpu": {"resources": {"CPU": 4}, "max_workers": 4},
    },
}


def test_a_cluster_at_its_largest_is_what_its_configuration_says() -> None:
    nodes = largest(SCALING, [HEAD])
    assert len(nodes) == 6  # max_workers holds for all types together
    assert sum(node.get("GPU", 0) for node in nodes) == 4
    assert room(nodes, 1, 1.0) == 4
    assert room(nodes, 1, 0.0) == 2 + 4 * 8 + 4


def test_a_type_whose_resources_are_not_known_is_like_the_largest_present() -> None:
    local = {
        "max_workers": 2,
        "head_node_type": "head",
        "available_node_types": {"head": {}, "worker": {"resources": {}, "max_workers": 2}},
    }
    assert room(largest(local, [HEAD, {"CPU": 6.0}]), 1, 0.0) == 2 + 6 + 6


def test_machines_of_ones_own_are_all_of_the_heads_type() -> None:
    local = {
        "max_workers": 2,
        "head_node_type": "local.cluster.node",
        "available_node_types": {"local.cluster.node": {"resources": {}, "max_workers": 2}},
    }
    assert room(largest(local, [HEAD]), 1, 0.0) == 2 + 2 + 2


def test_the_autoscaler_is_found_by_the_address_that_it_serves(tmp_path: Path) -> None:
    config = tmp_path / "bootstrap.yaml"
    config.write_text(
        "max_workers: 1\navailable_node_types: {w: {resources: {CPU: 3}, max_workers: 1}}"
    )
    process = tmp_path / "4711"
    process.mkdir()
    words = [
        "python",
        "monitor.py",
        f"--autoscaling-config={config}",
        "--gcs-address=10.0.0.1:6379",
    ]
    (process / "cmdline").write_bytes("\0".join([*words, ""]).encode())
    assert config_file("10.0.0.1:6379", tmp_path) == config
    assert config_file("10.0.0.2:6379", tmp_path) is None
    assert at_most([HEAD], "10.0.0.2:6379") == [HEAD]
