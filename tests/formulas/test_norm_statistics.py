"""Normalizations by statistics of the activations: their closed forms, and what each owes the
trainer at any input."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.families import activations, normalizations
from sweeper.catalog.normalizations.moments import Running, weighed
from sweeper.catalog.normalizations.sparse_switchable_norm import SparseSwitchableNorm
from sweeper.game import Context, Paced, Progress, Streams
from sweeper.registry import tags
from sweeper.verify import norm_statistics
from sweeper.verify.claims import Check
from sweeper.verify.norm_statistics import maps, norm, of
from sweeper.verify.toys import examples
from tests.formulas.claimed import claimed_in

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "switchable_norm": ("switchable_norm", {}),
    "switchable_norm of two": ("switchable_norm", {"with_batch": False}),
    "sparse_switchable_norm": ("sparse_switchable_norm", {}),
    "sync_batch_norm": ("sync_batch_norm", {}),
    "sync_batch_norm in two": ("sync_batch_norm", {"algorithm": "two_reduce"}),
    "region_norm": ("region_norm", {"threshold": 0.5}),
    "region_norm of a mask": ("region_norm", {"variant": "basic"}),
    "region_norm by sample": ("region_norm", {"stats": "sample"}),
    "local_context_norm": ("local_context_norm", {"window": 3}),
    "channel_norm": ("channel_norm", {}),
    "channel_norm, plain": ("channel_norm", {"affine": False}),
    "channel_l2_norm": ("channel_l2_norm", {}),
    "channel_l2_norm of degree 1": ("channel_l2_norm", {"norm_deg": 1}),
    "extended_batch_norm": ("extended_batch_norm", {}),
    "extended_batch_norm by channel": ("extended_batch_norm", {"center": "channel"}),
    "l1_batch_norm": ("l1_batch_norm", {}),
    "filter_response_norm": ("filter_response_norm", {}),
    "filter_response_norm, learnt": ("filter_response_norm", {"learnable_eps": True}),
    "pixel_norm": ("pixel_norm", {}),
    "instance_enhancement_batch_norm": ("instance_enhancement_batch_norm", {}),
    "attentive_norm": ("attentive_norm", {"components": 3}),
    "attentive_norm by group": ("attentive_norm", {"components": 3, "base": "group"}),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)
OWN = claimed_in(norm_statistics)


def entry(variant: str) -> Any:
    return normalizations[VARIANTS[variant][0]]


def made(variant: str, channels: int = 4) -> nn.Module:
    name, knobs = VARIANTS[variant]
    torch.manual_seed(0)
    return norm(name, channels, **knobs)


def told(x: Tensor) -> Context:
    """A mask of every example, its upper rows."""
    mask = torch.zeros(len(x), 1, 4, 4)
    mask[:, :, :2] = 1
    return Context(mask=mask)


def holds(variant: str, tag: str) -> bool:
    """Whether it provides a tag, as its knobs are set."""
    knobs = entry(variant).knobs(**VARIANTS[variant][1])
    return any(law.tag == tag and law.holds(knobs) for law in entry(variant).provides)


@pytest.mark.parametrize("check", OWN, ids=lambda check: check.__name__)
def test_closed_forms(check: Check) -> None:
    torch.manual_seed(0)
    missed = [claim for claim in check() if not claim.ok]
    assert missed == []


@every_variant
def test_shapes_and_gradients_of_any_order_it_promises(variant: str) -> None:
    shapes: list[tuple[int, ...]] = [(6, 4, 5, 5), (3, 4, 8, 8)]
    if "feature_maps" not in tags(entry(variant).needs):
        shapes.append((6, 4))
    for shape in shapes:
        module, x = made(variant), examples(*shape).requires_grad_()
        y = module(x, told(x))
        assert y.shape == x.shape
        parameters = list(module.parameters())
        found: list[Tensor] = [y.pow(3).sum()]
        for _ in range(2 if holds(variant, "no_third_derivative") else 3):
            leaves = [x, *parameters]
            slopes = torch.autograd.grad(
                found[-1], leaves, create_graph=True, allow_unused=len(found) > 1
            )
            assert all(slope is None or slope.isfinite().all() for slope in slopes)
            found.append(slopes[0].square().sum())


@every_variant
@pytest.mark.parametrize("kind", ["nothing", "flat", "one example", "a dead channel", "huge"])
def test_odd_activations_have_finite_slopes_first_and_second(variant: str, kind: str) -> None:
    x = maps().float()
    if kind == "nothing":
        x = torch.zeros_like(x)
    elif kind == "flat":
        x = torch.full_like(x, 3.0)
    elif kind == "one example":
        x = x[:1]
    elif kind == "a dead channel":
        x = x * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None, None]
    else:
        x = 1e4 * x
    module = made(variant).float()
    x.requires_grad_()
    y = module(x, told(x))
    leaves = [x, *module.parameters()]
    (slope, *others) = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
    seconds = torch.autograd.grad(slope.square().sum(), leaves, materialize_grads=True)
    assert all(found.isfinite().all() for found in (y, slope, *others, *seconds))


@every_variant
def test_state_and_copies(variant: str) -> None:
    module, x = made(variant), maps()
    module(x, told(x))
    other = made(variant)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    other.load_state_dict(module.state_dict())
    copy = deepcopy(module)
    expected = module.eval()(x, told(x))
    assert torch.equal(other.eval()(x, told(x)), expected)
    assert torch.equal(copy.eval()(x, told(x)), expected)


@every_variant
def test_in_evaluation_examples_are_apart_and_nothing_is_followed(variant: str) -> None:
    module, x = made(variant), maps()
    module(x, told(x))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    module.eval()
    together = module(x, told(x))
    alone = torch.cat([module(each[None], told(each[None])) for each in x])
    torch.testing.assert_close(together, alone)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key]), key


@every_variant
def test_examples_bear_on_each_other_in_training_where_it_says_so(variant: str) -> None:
    module, x = made(variant), maps().requires_grad_()
    (slope,) = torch.autograd.grad(module(x, told(x))[0].square().sum(), x)
    coupled = bool(slope[1:].abs().max() > 1e-12)
    assert coupled == holds(variant, "batch_coupled") == holds(variant, "batch_statistics")


@every_variant
def test_half_precision_is_normalised_in_single(variant: str) -> None:
    module = made(variant).float()
    # The mean is far from 0: in eight bits, its square would drown the variance.
    x = (maps() + 30).to(torch.bfloat16)
    y = module(x, told(x))
    assert y.dtype == torch.bfloat16
    expected = made(variant).float()(x.float(), told(x))
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.02)
    assert all(b.dtype == torch.float32 for b in module.buffers() if b.is_floating_point())
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x.float(), told(x)).isfinite().all()


@every_variant
def test_the_layout_of_memory_does_not_matter(variant: str) -> None:
    x = maps()
    y = made(variant)(x.contiguous(memory_format=torch.channels_last), told(x))
    torch.testing.assert_close(y, made(variant)(x, told(x)))


@every_variant
def test_built_and_run_without_numbers(variant: str) -> None:
    with torch.device("meta"):
        x = torch.zeros(6, 4, 5, 5, dtype=torch.float64)
        assert made(variant)(x, told(x)).shape == x.shape


def test_what_needs_no_space_takes_points() -> None:
    x = maps()[:, :, 0, 0]
    for name in ("extended_batch_norm", "l1_batch_norm", "sync_batch_norm"):
        square = of(name, x[..., None, None]).flatten(1)
        torch.testing.assert_close(of(name, x), square)


def test_filter_responses_of_one_place_need_a_learnt_eps() -> None:
    with pytest.raises(ValueError, match="several places of a channel, or learnable_eps"):
        of("filter_response_norm", torch.ones(2, 4, 1, 1).double())


@pytest.mark.parametrize(
    ("name", "knobs", "law"),
    [
        ("local_context_norm", {"channels_per_group": 3}, "channels_per_group of local"),
        ("attentive_norm", {"base": "group", "groups": 3}, "groups of attentive_norm divides"),
    ],
)
def test_groups_divide_the_channels(name: str, knobs: dict[str, Any], law: str) -> None:
    with pytest.raises(ValueError, match=f"{law}.* but got 3 and 4"):
        norm(name, **knobs)


def test_regions_of_a_mask_are_told_one() -> None:
    with pytest.raises(ValueError, match="told a mask for every example"):
        of("region_norm", maps(), variant="basic")


def test_a_mask_is_shrunk_and_of_several_planes_any_counts() -> None:
    x = maps()
    planes = torch.zeros(6, 2, 10, 10)
    planes[:, 0, :4] = 1
    planes[:, 1, :, :4] = 1
    whole = torch.zeros(6, 1, 5, 5)
    whole[:, :, :2] = 1
    whole[..., :2] = 1
    found, expected = (
        of("region_norm", x, Context(mask=mask), variant="basic") for mask in (planes, whole)
    )
    torch.testing.assert_close(found, expected)


def test_running_statistics_of_an_empty_region_stay_as_they_are() -> None:
    module, x = norm("region_norm", variant="basic"), maps()
    module(x, Context(mask=torch.ones(6, 1, 5, 5)))
    state = module.state_dict()
    assert torch.equal(state["outside.running.mean"], torch.zeros(4).double())
    assert torch.equal(state["outside.running.variance"], torch.ones(4).double())
    torch.testing.assert_close(state["inside.running.mean"], 0.1 * x.mean((0, 2, 3)))
    expected = 0.9 + 0.1 * x.var((0, 2, 3))
    torch.testing.assert_close(state["inside.running.variance"], expected)


def test_moments_under_weights_are_those_of_what_counts() -> None:
    x, weights = maps(), torch.zeros(6, 1, 1, 1).double()
    weights[:2] = 1
    found = weighed(x, weights, (0, 2, 3))
    torch.testing.assert_close(found.mean, x[:2].mean((0, 2, 3), keepdim=True))
    variance = x[:2].var((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(found.variance, variance)
    assert found.n.item() == 2 * 25


def test_running_statistics_are_frozen_where_they_are_evaluated() -> None:
    module, x = norm("switchable_norm"), maps()
    running = cast(Running, module.get_submodule("running")).eval()
    before = running.mean.clone()
    module(x, Context())
    assert torch.equal(running.mean, before)


def test_a_choice_is_saved_and_taken_up() -> None:
    progress = Progress(Streams(0), horizon=100, images=30)
    first = made("sparse_switchable_norm")
    assert isinstance(first, Paced)
    with torch.no_grad():
        for logits in (first.mean_logits, first.variance_logits):
            cast(Tensor, logits).copy_(torch.tensor([0.2, 0.1, 0.0]))
    first.pace(progress)
    again = made("sparse_switchable_norm")
    again.load_state_dict(first.state_dict())
    assert isinstance(first, SparseSwitchableNorm)
    assert isinstance(again, SparseSwitchableNorm)
    for a, b in zip(first.shares(), again.shares(), strict=True):
        assert torch.equal(a, b)
    assert first.radius.item() == pytest.approx(30 / 80 * (2 / 3) ** 0.5)


def test_equal_candidates_stay_equal_whatever_the_radius() -> None:
    module = made("sparse_switchable_norm")
    assert isinstance(module, SparseSwitchableNorm)
    module.pace(Progress(Streams(0), horizon=100, images=60))
    x = maps()
    module(x, Context()).pow(3).sum().backward()
    for shares, logits in zip(
        module.shares(), (module.mean_logits, module.variance_logits), strict=True
    ):
        torch.testing.assert_close(shares, torch.full((3,), 1 / 3).double())
        assert logits.grad is not None
        assert logits.grad.abs().max() < 1e4


def test_thresholds_begin_where_they_are_told() -> None:
    unit = activations["tlu"].make(3, initial=-0.5)
    x = torch.tensor([[-1.0, -0.25, 2.0]])
    assert torch.equal(unit(x), torch.tensor([[-0.5, -0.25, 2.0]]))
    assert unit(x.to(torch.bfloat16)).dtype == torch.bfloat16


COUPLED = [variant for variant in VARIANTS if holds(variant, "batch_coupled")]


def test_two_ranks_of_unequal_shares_are_one(tmp_path: Path) -> None:
    """Outputs, slopes and running statistics, over gloo."""
    cases, expected = list[dict[str, Any]](), list[dict[str, Any]]()
    for variant in COUPLED:
        name, knobs = VARIANTS[variant]
        x, module = maps(7).requires_grad_(), made(variant)
        if name == "attentive_norm":
            module.get_parameter("mixed.scales").data.uniform_(0.5, 1.5)
        masks, weights = (examples(len(x), 1, 5, 5) > 0).double(), examples(*x.shape, seed=3)
        state = {key: value.clone() for key, value in module.state_dict().items()}
        y = module(x, Context(mask=masks))
        (slope,) = torch.autograd.grad((y * weights).sum(), x)
        expected.append({"y": y.detach(), "slope": slope, "state": module.state_dict()})
        cut = {
            key: [part.clone() for part in (whole[:4], whole[4:])]
            for key, whole in (("shares", x.detach()), ("masks", masks), ("weights", weights))
        }
        cases.append({"name": name, "knobs": knobs, "state": state, **cut})
    torch.save(cases, tmp_path / "cases.pt")
    command = [sys.executable, "-W", "error", "-m", "tests.formulas.shards", str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in (0, 1)]
    try:
        assert [rank.wait(120) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for variant, one, *parts in zip(COUPLED, expected, *found, strict=True):
        for key in ("y", "slope"):
            joined = torch.cat([part[key] for part in parts])
            torch.testing.assert_close(joined, one[key], rtol=0, atol=1e-10, msg=variant)
        for part in parts:
            for key, value in one["state"].items():
                torch.testing.assert_close(part["state"][key], value, rtol=0, atol=1e-10)
