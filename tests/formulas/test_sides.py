"""What is done to one side of the game: what D is shown and G is made of, in the step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.families import regularizers, tricks
from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Output, Player, Progress
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.gan import Term
from sweeper.trial.loop import Training
from sweeper.trial.networks import build
from sweeper.trial.step import play_round
from tests.contracts.same import differences
from tests.formulas.games import Linear, Point, draw, game, progress, turn_of

Tiny = Callable[..., dict[str, Any]]


def warned(trial: Trial) -> set[str]:
    return {str(problem.path[-1]) for problem in trial.warnings()}


@pytest.mark.parametrize("name", ["r1_penalty", "gradient_penalty"])
def test_a_penalty_counts_a_pack_once(name: str) -> None:
    # D scores ½‖pack‖², whose slope is the pack: with equal examples x, of norm √m ‖x‖.
    class Packs(nn.Module):
        def forward(self, batch: Batch) -> Output:
            packs = tricks["packing"].make(m=4).images(batch, progress()).image
            return Output(packs.flatten(1).square().sum(1) / 2)

    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64).expand(8, 2)
    knobs = {"r1_penalty": {"gamma": 2.0}, "gradient_penalty": {"weight": 1.0, "target": 1.0}}
    value = float(regularizers[name].make(**knobs[name])(turn_of(Packs(), x, x)).detach())
    assert value == pytest.approx({"r1_penalty": 100.0, "gradient_penalty": 81.0}[name])


def test_packs_in_the_step() -> None:
    seen = list[tuple[int, ...]]()

    class Watched(Linear):
        def forward(self, batch: Batch) -> Output:
            seen.append(tuple(batch.image.shape))
            return super().forward(batch)

    d, g, at = Watched([1.0, 2.0, 3.0]), Point([1.0]), progress()
    play_round(game(d, g, lr=0.0, tricks={"packing": tricks["packing"].make(m=3)}), draw, at, {})
    # 4 packs of 3 points each: of real examples and fakes for D, and of fakes for G.
    assert seen == [(4, 3)] * 3
    assert at.images == 12
    slope = g.place.grad
    assert slope is not None
    assert slope.item() == pytest.approx(-6.0)


def test_packs_have_no_labels_and_keep_masks() -> None:
    images = torch.arange(8.0).reshape(4, 2)
    batch = Batch(images, label=torch.arange(4), mask=-images)
    packed = tricks["packing"].make(m=2).images(batch, progress())
    assert packed.label is None
    assert torch.equal(packed.mask, -packed.image)
    assert tricks["packing"].make(m=1).images(batch, progress()) is batch


def test_packs_in_parts_of_the_batch(cache: Path, tiny: Tiny) -> None:
    tree = tiny(tricks={"packing": {"m": 3}}, batch={"size": 8, "accumulate": 4})
    training = Training(Trial.read(tree), cache)
    play_round(training.gan, training.draw, training.progress, {})
    assert training.progress.images == 24


def test_mixed_packs_are_all_real_or_all_fake(cache: Path, tiny: Tiny) -> None:
    losses = []
    for mixed in (False, True):
        tree = tiny(tricks={"packing": {"m": 2}}, batch={"size": 8, "mixed": mixed})
        training = Training(Trial.read(tree), cache)
        losses.append(play_round(training.gan, training.draw, training.progress, {}))
    paid = [float(loss["discriminator.adversarial"]) for loss in losses]
    assert paid[0] == pytest.approx(paid[1], rel=1e-5)


def pooled(size: int, example: Batch) -> Any:
    pool = tricks["image_pool"].make(size=size)
    pool.setup({}, example)
    return pool


def fakes(start: int, n: int) -> Batch:
    return Batch(torch.arange(start, start + n, dtype=torch.float64)[:, None])


def test_a_pool_goes_on_where_it_was_saved() -> None:
    first, at = pooled(5, fakes(0, 1)), progress()
    for i in range(4):
        first.fakes(fakes(8 * i, 8), at)
    again, then = pooled(5, fakes(0, 1)), progress()
    again.load_state_dict(first.state_dict())
    then.random.load_state_dict(at.random.state_dict())
    for i in range(4, 8):
        shown = [pool.fakes(fakes(8 * i, 8), p).image for pool, p in ((first, at), (again, then))]
        assert torch.equal(*shown)


def test_a_pool_resumes_in_training(cache: Path, tiny: Tiny, tmp_path: Path) -> None:
    trial = Trial.read(tiny(tricks={"image_pool": {"size": 10}}))
    whole = Training(trial, cache)
    whole.advance()
    Checkpoints(tmp_path).save(whole.progress.images, whole.state_dict())
    whole.advance()
    resumed, state = Training(trial, cache), Checkpoints(tmp_path).load()
    assert state is not None
    resumed.load_state_dict(state)
    resumed.advance()
    assert list(differences(resumed.state_dict(), whole.state_dict())) == []


def one_by_one(size: int, batches: list[Batch], at: Progress) -> list[Tensor]:
    """The pool as CycleGAN has it: one fake after another."""
    pool, shown, random = list[Tensor](), list[Tensor](), at.random["image_pool"]
    for batch in batches:
        swaps = torch.rand(len(batch), generator=random) < 0.5
        places = torch.randint(size, (len(batch),), generator=random)
        said = list[Tensor]()
        for image, swap, place in zip(batch.image, swaps, places.tolist(), strict=True):
            if len(pool) < size:
                pool.append(image)
                said.append(image)
            elif swap:
                said.append(pool[place])
                pool[place] = image
            else:
                said.append(image)
        shown.append(torch.stack(said))
    return shown


@pytest.mark.parametrize(("size", "n"), [(1, 4), (3, 8), (10, 4), (50, 7)])
def test_a_pool_at_once_is_a_pool_one_by_one(size: int, n: int) -> None:
    batches = [fakes(n * i, n) for i in range(30)]
    pool, at = pooled(size, batches[0]), progress()
    shown = [pool.fakes(batch, at).image for batch in batches]
    for ours, theirs in zip(shown, one_by_one(size, batches, progress()), strict=True):
        assert torch.equal(ours, theirs)


def test_g_learns_from_its_new_fakes() -> None:
    # The pool holds what G made at first; G's loss is of what it makes.
    d, g = Linear([1.0]), Point([1.0])
    gan, at = game(d, g, lr=0.0, tricks={"pool": tricks["image_pool"].make(size=4)}), progress()
    gan.tricks.setup(gan.networks, draw(1))
    play_round(gan, draw, at, {})
    with torch.no_grad():
        g.place.fill_(5.0)
    said = [play_round(gan, draw, at, {}) for _ in range(5)]
    assert {float(loss["generator.adversarial"]) for loss in said} == {-5.0}
    assert any(float(loss["discriminator.adversarial"]) < 5.0 for loss in said)


@pytest.mark.parametrize("other", [{"loss": "relativistic"}, {"schedule": "one_step_joint_loss"}])
def test_a_pool_is_refused(other: dict[str, Any], tiny: Tiny) -> None:
    with pytest.raises(Misfit, match="image_pool"):
        Trial.read(tiny(tricks=["image_pool"], **other))


@pytest.mark.parametrize(("n", "wanted", "size"), [
    (8, 4, 4), (8, 0, 8), (6, 4, 6), (10, 4, 5), (7, 4, 7), (12, 8, 12), (3, 8, 3), (1, 4, 1),
])  # fmt: skip
def test_groups_of_a_batch_that_does_not_divide(n: int, wanted: int, size: int) -> None:
    layer = tricks["minibatch_stddev"].make(group=wanted).summary((2,))
    h = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    said = layer(h)[:, 2]
    groups = n // size
    for i in range(groups):
        deviation = (h[i::groups].var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(said[i::groups], deviation.expand(size))


def test_channels_that_do_not_divide_are_refused(tiny: Tiny) -> None:
    tree = tiny(
        architecture={"dcgan": {"channels": 3}}, tricks={"minibatch_stddev": {"channels": 2}}
    )
    with pytest.raises(Misfit, match="channels of minibatch_stddev divides"):
        build(Trial.read(tree), (1, 8, 8))


def test_both_summaries_stand_one_upon_the_other(cache: Path, tiny: Tiny) -> None:
    both = {"minibatch_discrimination": {"kernels": 3, "dims": 2}, "minibatch_stddev": {}}
    d = build(Trial.read(tiny(tricks=both)), (1, 8, 8)).networks["main"].discriminator
    assert d.head.score.weight.shape[1] == 4 + 3 + 1
    assert d(Batch(torch.randn(4, 1, 8, 8))).scores.shape == (4,)


def test_the_closeness_is_trained_with_d(cache: Path, tiny: Tiny) -> None:
    training = Training(Trial.read(tiny(tricks=["minibatch_discrimination"])), cache)
    weight = dict(training.gan.of(Player.D)[0].named_parameters())["summary.all.0.project.weight"]
    before = weight.detach().clone()
    training.advance()
    assert not torch.equal(before, weight)


def test_summaries_of_a_mixed_batch_are_warned_of(tiny: Tiny) -> None:
    for name in ("minibatch_discrimination", "minibatch_stddev"):
        assert name not in warned(Trial.read(tiny(tricks=[name])))
        assert name in warned(Trial.read(tiny(tricks=[name], batch={"size": 8, "mixed": True})))


def test_packs_beside_a_minibatch_are_warned_of(tiny: Tiny) -> None:
    for m, said in ((1, False), (2, True)):
        trial = Trial.read(tiny(tricks={"packing": {"m": m}, "minibatch_stddev": {}}))
        assert ("packing" in warned(trial)) == said


def sides(normalization: str, optimizer: str) -> dict[str, Any]:
    side = {"normalization": normalization, "optimizer": optimizer}
    return {"generator": side, "discriminator": side}


def test_scales_that_an_optimizer_undoes_are_warned_of(tiny: Tiny) -> None:
    for name in ("discriminator_loss_scale", "adversarial_loss_weight"):
        assert name in warned(Trial.read(tiny(tricks=[name])))
        assert name not in warned(Trial.read(tiny(tricks=[name], **sides("none", "sgd"))))
    beside = tiny(tricks=["adversarial_loss_weight"], regularizers=["total_variation_loss"])
    assert "adversarial_loss_weight" not in warned(Trial.read(beside))


def test_an_automatic_weight_needs_something_to_balance(tiny: Tiny) -> None:
    automatic = {"adversarial_loss_weight": {"automatic": True}}
    with pytest.raises(Misfit, match="needs content"):
        Trial.read(tiny(tricks=automatic))
    Trial.read(tiny(tricks=automatic, regularizers=["total_variation_loss"]))


def test_an_automatic_weight_holds_the_ratio_of_lazy_terms() -> None:
    # A term of 8 in every fourth move is 2 a move; the mean sizes settle at 2 and 4.
    trick = tricks["adversarial_loss_weight"].make(weight=1.0, automatic=True)
    for move in range(2000):
        terms = {"adversarial": torch.tensor(4.0)}
        if move % 4 == 0:
            terms["content"] = torch.tensor(8.0)
        weighed = trick.total(Player.G, terms)
    assert float(weighed["adversarial"]) == pytest.approx(2.0, rel=0.05)


def test_an_automatic_weight_in_the_step() -> None:
    def content(turn: Any) -> Tensor:
        return turn.scores.fake.square().mean()

    trick = tricks["adversarial_loss_weight"].make(weight=0.5, automatic=True)
    term = Term("content", content, "generator", 1)
    gan = game(Linear([2.0]), Point([3.0]), lr=0.0, terms=(term,), tricks={"weight": trick})
    paid = play_round(gan, draw, progress(), {})
    assert float(paid["generator.content"]) == pytest.approx(36)
    assert float(paid["generator.adversarial"]) == pytest.approx(-18, rel=1e-6)


def test_dropout_after_batch_norm_is_warned_of_in_full_layers(tiny: Tiny) -> None:
    points = {"data": "ring", "architecture": "mlp_gan"}
    for more, said in (({}, False), (points, True), (points | sides("none", "sgd"), False)):
        trial = Trial.read(tiny(tricks=["generator_dropout"], **more))
        assert ("generator_dropout" in warned(trial)) == said


def test_learnt_noise_is_trained_with_g(cache: Path, tiny: Tiny) -> None:
    trial = Trial.read(tiny(tricks={"generator_noise_injection": {"sigma": None}}))
    training = Training(Trial.read(trial.plain()), cache)
    scales = [
        p for name, p in training.gan.of(Player.G)[0].named_parameters() if name.endswith(".scale")
    ]
    assert scales
    assert all(not scale.any() for scale in scales)
    training.advance()
    assert all(scale.any() for scale in scales)


def test_the_best_fakes_teach_g_and_all_teach_d() -> None:
    class Spread(Point):
        def forward(self, z: Tensor, context: Any) -> Tensor:
            return super().forward(z, context) + torch.arange(len(z)).double()[:, None]

    paid = []
    for trick in ({}, {"best": tricks["top_k"].make(final_share=0.5, until=0.5)}):
        gan = game(Linear([1.0]), Spread([0.0]), lr=0.0, tricks=trick)
        paid.append(play_round(gan, draw, progress(1000, 500), {}))
    d, g = "discriminator.adversarial", "generator.adversarial"
    assert [float(p[d]) for p in paid] == [1.5, 1.5]
    assert [float(p[g]) for p in paid] == [-1.5, -2.5]


def test_a_part_of_a_batch_has_its_own_best(tiny: Tiny) -> None:
    assert "top_k" in warned(Trial.read(tiny(tricks=["top_k"], batch={"size": 8, "accumulate": 2})))
