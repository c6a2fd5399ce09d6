"""Normalizations that are told something, and layers of cosines: their closed forms, and what they
are in a trial."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sweeper.catalog.families import normalizations
from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Context, Known, Pair, Player
from sweeper.registry import tags
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Training
from sweeper.trial.networks import build
from sweeper.trial.referring import Reference, ReferringDiscriminator, ReferringGenerator
from sweeper.trial.step import play_round
from sweeper.verify import norm_told
from sweeper.verify.claims import Check
from sweeper.verify.contracts import bases, differences
from sweeper.verify.norm_statistics import maps
from sweeper.verify.norm_told import norm, told
from tests.formulas.claimed import claimed_in
from tests.trial.ranks import apart, end, pair

Tiny = Callable[..., dict[str, Any]]
Tree = dict[str, Any]

OWN = claimed_in(norm_told)
KNOWN = Known(classes=10, source=1, reference=1, mask=1)
TOLD = sorted(name for name, entry in normalizations.items() if "told" in entry.facts)
REFERRING: Tree = {"virtual_batch_norm": {"examples": 5}}
SGD = {"sgd": {"lr": 0.002}}


@pytest.mark.parametrize("check", OWN, ids=lambda check: check.__name__)
def test_its_closed_forms(check: Check) -> None:
    for claim in check():
        assert claim.ok, claim


def side(normalization: Any, **more: Any) -> Tree:
    return {"normalization": normalization, "optimizer": "adam", **more}


def networks(tree: Tree, size: int = 16, known: Known = KNOWN) -> Pair:
    return build(Trial.read(tree), (1, size, size), known).networks["main"]


@pytest.fixture
def images(cache: Path) -> Tree:
    """Digits of 16 px, with labels."""
    return bases(cache)[0]


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in (*TOLD, "adaptive_instance_norm", "adaptive_convolution_norm")},
    "conditional_batch_norm by style": ("conditional_batch_norm", {"condition": "style"}),
    "adaptive_instance_norm of features": ("adaptive_instance_norm", {"mode": "feature"}),
    "adaptive_convolution_norm, local": ("adaptive_convolution_norm", {"window": 3}),
    "spade on instance": ("spade", {"base": "instance"}),
    "domain_specific_batch_norm by label": ("domain_specific_batch_norm", {"by": "label"}),
    "kalman_norm": ("kalman_norm", {"before": 8}),
    "virtual_batch_norm": ("virtual_batch_norm", {"examples": 2}),
    "virtual_batch_norm of all": ("virtual_batch_norm", {"examples": 2, "over": "whole_batch"}),
    "frozen_batch_norm": ("frozen_batch_norm", {}),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def variant_of(name: str) -> tuple[nn.Module, Context]:
    entry, knobs = VARIANTS[name]
    context = told(domain=torch.tensor([0, 1, 1, 0, 0, 1]))
    if entry == "kalman_norm":
        context.trail["kalman_norm"] = torch.zeros(8).double(), torch.ones(8).double()
    return norm(entry, **knobs), context


@every_variant
def test_first_and_second_derivatives_are_finite(variant: str) -> None:
    module, context = variant_of(variant)
    x = maps().requires_grad_()
    (slope,) = torch.autograd.grad(module(x, context).pow(3).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for parameter in module.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@every_variant
def test_it_is_what_was_saved(variant: str) -> None:
    module, context = variant_of(variant)
    module(maps(), context)
    again, _ = variant_of(variant)
    norm_told.other_than(again)
    again.load_state_dict(module.state_dict())
    torch.testing.assert_close(again.eval()(maps(), context), module.eval()(maps(), context))


@every_variant
def test_half_precision_stays(variant: str) -> None:
    module, context = variant_of(variant)
    held = {
        k: v.float() if v is not None and v.is_floating_point() else v for k, v in fields(context)
    }
    context = Context(**held)
    with torch.autocast("cpu", torch.bfloat16):
        y = module.float()(maps().bfloat16(), context)
    assert y.dtype == torch.bfloat16
    assert y.isfinite().all()


def fields(context: Context) -> list[tuple[str, Tensor | None]]:
    names = ("label", "style", "mask", "domain", "source", "reference")
    return [(name, getattr(context, name)) for name in names]


@pytest.mark.parametrize("name", ["conditional_batch_norm", "conditional_instance_norm"])
def test_a_g_that_is_told_by_its_layers_has_no_classes_beside_its_latents(
    name: str, tiny: Tiny
) -> None:
    classes = {"regularizers": "auxiliary_classifier"}
    plain = networks(tiny(**classes)).generator
    by_layers = networks(tiny(generator=side(name), **classes)).generator
    assert plain.get_submodule("network.first").in_channels == 18
    assert by_layers.get_submodule("first").in_channels == 8


def test_a_style_tells_the_class_only_with_it(tiny: Tiny) -> None:
    by_style = {"conditional_batch_norm": {"condition": "style"}}
    with pytest.raises(Misfit, match="conditional_batch_norm needs told class"):
        Trial.read(tiny(generator=side(by_style)))
    embedded = side(by_style, conditioning={"class_embedding_concat": {"size": 4}})
    g = networks(tiny(generator=embedded)).generator
    linear = g.get_submodule("network.norms.0.rows.linear")
    assert linear.in_features == 8 + 4


@pytest.mark.parametrize(("where", "name"), [
    ("discriminator", "adaptive_instance_norm"), ("discriminator", "sean"),
    ("discriminator", "adaptive_convolution_norm"),
])  # fmt: skip
def test_a_norm_of_g_is_refused_in_d(where: str, name: str, tiny: Tiny) -> None:
    with pytest.raises(Misfit, match=f"{name} is a technique of the generator"):
        Trial.read(tiny(**{where: side(name)}))


@pytest.mark.parametrize(("tree", "known", "why"), [
    ({"generator": side("spade")}, Known(classes=10), "spade needs masks"),
    ({"generator": side("sean")}, Known(classes=10), "sean needs masks"),
    ({"generator": side("conditional_instance_norm")}, Known(), "needs labels of two classes"),
    (
        {"generator": side({"adaptive_instance_norm": {"mode": "feature"}})},
        Known(classes=10), "needs images of a style",
    ),
    (
        {"generator": side({"domain_specific_batch_norm": {"by": "label"}})},
        Known(), "needs labels of two classes",
    ),
    (
        {"generator": side({"kalman_norm": {"transition": "identity"}})},
        KNOWN, "changes from 8 to 4 channels; transition: linear",
    ),
    ({"generator": side({"adaptive_convolution_norm": {"kernel": 2}})}, KNOWN, "odd kernel"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(
    tree: Tree, known: Known, why: str, tiny: Tiny
) -> None:
    with pytest.raises(Misfit, match=why):
        networks(tiny(**tree), known=known)


@pytest.mark.parametrize("tricks", [{"packing": {"m": 2}}, "minibatch_stddev"])
def test_a_reference_in_d_does_not_go_with_groups(tricks: Any, tiny: Tiny) -> None:
    with pytest.raises(Misfit, match="virtual_batch_norm does not go with"):
        Trial.read(tiny(discriminator=side("virtual_batch_norm"), tricks=tricks))
    Trial.read(tiny(generator=side("virtual_batch_norm"), tricks=tricks))


def test_classes_in_d_do_not_go_with_packs(tiny: Tiny) -> None:
    packs = {"packing": {"m": 2}}
    with pytest.raises(Misfit, match="the examples of a pack are of several classes"):
        Trial.read(tiny(discriminator=side("conditional_batch_norm"), tricks=packs))
    Trial.read(tiny(generator=side("conditional_batch_norm"), tricks=packs))


def test_penalties_want_examples_apart(tiny: Tiny) -> None:
    penalty = {"loss": "wasserstein", "regularizers": "gradient_penalty"}
    whole = {"virtual_batch_norm": {"over": "whole_batch"}}
    for name in ("domain_specific_batch_norm", "split_batch_norm", "kalman_norm", whole):
        with pytest.raises(Misfit, match="batch statistics make the score"):
            Trial.read(tiny(discriminator=side(name), **penalty))
    for name in ("virtual_batch_norm", {"frozen_batch_norm": {"at": 0.0}}):
        Trial.read(tiny(discriminator=side(name), **penalty))


def test_statistics_that_were_never_learnt_are_warned_of(tiny: Tiny) -> None:
    def warned(tree: Tree) -> set[str]:
        return {str(problem.path[-1]) for problem in Trial.read(tree).warnings()}

    frozen = side({"frozen_batch_norm": {"at": 0.0}})
    assert "frozen_batch_norm" in warned(tiny(generator=frozen))
    assert "frozen_batch_norm" not in warned(tiny(generator=side("frozen_batch_norm")))
    started = tiny(generator=frozen, init_from={"checkpoint": "trained.pt"})
    assert "frozen_batch_norm" not in warned(started)


def referring(images: Tree, **changes: Any) -> Trial:
    both = {"generator": side(REFERRING), "discriminator": side(REFERRING)}
    return Trial.read({**images, **both, **changes})


def references(training: Training) -> dict[Player, Reference]:
    return {player: training.gan.of(player)[0].reference for player in Player}


def test_a_reference_is_of_real_examples_and_latents_and_stays(
    images: Tree, cache: Path, tmp_path: Path
) -> None:
    trial = referring(images, tricks="ema")
    training = Training(trial, cache)
    kept = references(training)
    first = training.feed.peek(5)
    assert torch.equal(kept[Player.D].batch.image, first.image)
    assert kept[Player.G].batch.image.shape == (5, 8)
    assert torch.equal(kept[Player.G].batch.label, first.label)
    before = deepcopy({player: held.state_dict() for player, held in kept.items()})
    training.advance()
    Checkpoints(tmp_path).save(16, training.state_dict())
    for player, held in references(training).items():
        assert not list(differences(held.state_dict(), before[player]))
    shown = training.gan.eval_generator()
    assert isinstance(shown, ReferringGenerator)
    assert not list(differences(shown.reference.state_dict(), before[Player.G]))
    other = Training(Trial.read(trial.plain() | {"seed": 1}), cache)
    assert list(differences(references(other)[Player.G].state_dict(), before[Player.G]))
    state = Checkpoints(tmp_path).load()
    assert state is not None
    other.load_state_dict(state)
    for player, held in references(other).items():
        assert not list(differences(held.state_dict(), before[player]))


def test_what_is_said_of_an_example_does_not_hang_on_the_others(images: Tree, cache: Path) -> None:
    training = Training(referring(images), cache)
    d = training.gan.of(Player.D)[0]
    assert isinstance(d, ReferringDiscriminator)
    batch = training.draw(6)
    output = d(batch)
    assert output.scores.shape == (6,)
    assert all(len(features) == 6 for features in output.features)
    torch.testing.assert_close(d(batch.parts(2)[0]).scores, output.scores[:3])
    g = training.gan.of(Player.G)[0]
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    made = g(z, batch.context)
    assert made.shape == batch.image.shape
    torch.testing.assert_close(g(z[:2], batch.parts(3)[0].context), made[:2])


def test_a_reference_is_there_when_weights_stand_in(images: Tree, cache: Path) -> None:
    training = Training(referring(images), cache)
    d, batch = training.gan.of(Player.D)[0], training.draw(4)
    weights = {name: p.detach() for name, p in d.named_parameters()}
    said = functional_call(d, weights, (batch,)).scores
    assert torch.equal(said, d(batch).scores)


def test_a_reference_starts_from_a_checkpoint(images: Tree, cache: Path, tmp_path: Path) -> None:
    training = Training(referring(images), cache)
    pair = training.gan.networks["main"]
    file = tmp_path / "weights.pt"
    torch.save({str(player): pair.of(player).state_dict() for player in Player}, file)
    again = Training(referring(images, seed=3, init_from={"checkpoint": str(file)}), cache)
    for player, held in references(again).items():
        assert not list(differences(held.state_dict(), references(training)[player].state_dict()))


@pytest.mark.parametrize("changes", [
    {"tricks": {"unrolled_gan": {"steps": 2, "rate": 0.01}}},
    {"loss": "wasserstein", "regularizers": "gradient_penalty"},
    {"batch": {"size": 8, "mixed": True}, "tricks": ["ema", "image_pool"]},
    {"regularizers": "auxiliary_classifier", "batch": {"size": 8, "accumulate": 2}},
])  # fmt: skip
def test_a_reference_goes_with_the_rest_of_the_step(
    changes: Tree, images: Tree, cache: Path
) -> None:
    training = Training(referring(images, **changes), cache)
    losses = play_round(training.gan, training.draw, training.progress, {})
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.slow
def test_two_ranks_are_one(images: Tree, cache: Path, tmp_path: Path) -> None:
    def both(normalization: Any) -> Tree:
        each = {"normalization": normalization, "optimizer": SGD}
        return images | {"generator": each, "discriminator": each}

    of_class = both("conditional_batch_norm")
    of_class["generator"] |= {"normalization": "conditional_batch_norm"}
    whole = {"virtual_batch_norm": {"examples": 4, "over": "whole_batch"}}
    names = ("domain_specific_batch_norm", "split_batch_norm", "kalman_norm")
    trees = [*map(both, names), both(REFERRING), both(whole), of_class]
    plain = {str(i): Trial.read(tree).plain() for i, tree in enumerate(trees)}
    pair(plain, cache, tmp_path, 110)
    for name, tree in plain.items():
        ranks = [torch.load(tmp_path / f"{name}-{r}.pt", weights_only=False) for r in (0, 1)]
        alone = end(tree, cache)
        for rank in ranks:
            assert not list(apart(rank["gan"]["networks"], alone["gan"]["networks"], rtol=1e-4)), (
                name
            )


def test_d_is_told_which_are_real(images: Tree, cache: Path) -> None:
    tree = images | {"discriminator": side("domain_specific_batch_norm")}
    training = Training(Trial.read(tree), cache)
    d = training.gan.of(Player.D)[0]
    before = d.get_buffer("norms.0.split.mean").clone()
    seen = list[int]()
    d.register_forward_pre_hook(lambda _, given: seen.append(given[0].domain.unique().item()))
    play_round(training.gan, training.draw, training.progress, {})
    assert set(seen) == {0, 1}
    after = d.get_buffer("norms.0.split.mean")
    assert (after != before).any(1).all()
    play_round(training.gan, training.draw, training.progress, {})


def test_statistics_are_frozen_in_training(images: Tree, cache: Path) -> None:
    frozen = {"frozen_batch_norm": {"at": 0.4, "freeze_affine": True}}
    training = Training(Trial.read(images | {"generator": side(frozen)}), cache)
    moved = list[bool]()
    for _ in range(6):
        g = training.gan.of(Player.G)[0]
        before = {k: v.clone() for k, v in g.state_dict().items() if "norms." in k}
        play_round(training.gan, training.draw, training.progress, {})
        after = g.state_dict()
        moved.append(any(not torch.equal(after[k], v) for k, v in before.items()))
        g.eval()
        g.train()
    # 48 images in all, 8 a round: from 19.2 on, it is frozen.
    assert moved == [True, True, True, False, False, False]


def test_layers_of_cosines_are_found_by_others(tiny: Tiny) -> None:
    d = side("none", constraint="cosine_norm", freeze="first.*")
    tree = tiny(discriminator=d, regularizers="spectral_norm_regularization")
    found = networks(tree).discriminator
    layers = [m for m in found.modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) == 3
    assert all(type(layer).__name__ == "CosineConv" for layer in layers)
    frozen = [name for name, p in found.named_parameters() if not p.requires_grad]
    assert frozen == [n for n, _ in found.named_parameters() if n.startswith("first.")]
    said = deepcopy(found)(Batch(torch.randn(3, 1, 16, 16))).scores
    assert said.shape == (3,)


def test_a_critic_of_bare_cosines_is_warned_of(tiny: Tiny) -> None:
    for scale, said in (("one", True), ("learnt", False)):
        d = side("none", constraint={"cosine_norm": {"scale": scale}})
        tree = tiny(discriminator=d, loss="wasserstein", regularizers="gradient_penalty")
        warned = {str(problem.path[-1]) for problem in Trial.read(tree).warnings()}
        assert ("cosine_norm" in warned) == said


def test_every_told_norm_says_so() -> None:
    assert {"spade", "sean", "spatial_feature_transform"} <= set(TOLD)
    told_class = {n for n, e in normalizations.items() if "told_class" in tags(e.provides)}
    assert told_class == {
        "conditional_batch_norm",
        "conditional_instance_norm",
        "domain_specific_batch_norm",
    }
