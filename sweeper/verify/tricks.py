"""What D is shown, what G is made of and what either one pays, on examples worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.catalog.families import losses, normalizations, optimizers, regularizers, tricks
from sweeper.config import Trial
from sweeper.game import (
    Batch,
    Context,
    Output,
    Player,
    Progress,
    Scores,
    Streams,
    Summary,
    Trick,
    Tricks,
)
from sweeper.trial.assemble import assemble
from sweeper.trial.round import Round
from sweeper.trial.step import play_round
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import Linear, Point, examples, game, gap, origin, turn_of


def at(images: int = 0) -> Progress:
    return Progress(Streams(0), horizon=1000, images=images)


def exact(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def summary_of(name: str, shape: tuple[int, ...], **knobs: Any) -> Summary:
    """The layer before D's head, in double precision, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = Tricks({name: tricks[name].make(**knobs)}).summary(shape)
    assert layer is not None
    return layer.double()


def trial(**parts: Any) -> Trial:
    side = {"normalization": "none", "optimizer": "sgd"}
    plain = {
        "data": "ring",
        "architecture": {"mlp_gan": {"hidden": 8}},
        "prior": {"gaussian_latent": {"size": 4}},
        "generator": side,
        "discriminator": side,
        "loss": "non_saturating",
        "schedule": "alternating_update",
        "batch": {"size": 8},
        "horizon_kimg": 1,
    }
    return Trial.read(plain | parts)


@check("minibatch_discrimination")
def of_closeness() -> Iterator[Claim]:
    for include_self, own in ((True, 1), (False, 0)):
        knobs = {"kernels": 4, "dims": 3, "include_self": include_self}
        layer, among = summary_of("minibatch_discrimination", (5,), **knobs), f"of {5 + own} ones"
        same, apart = examples(1, 5).repeat(6, 1), 1e4 * examples(6, 5)
        least = layer(same)[:, 5:].min().item()
        yield Claim(f"six equal examples: every sum is that {among}", least, 5 + own)
        most = layer(apart)[:, 5:].max().item()
        yield Claim(f"examples far apart, own {own}: every sum is", most, own)
    layer = summary_of("minibatch_discrimination", (1,), kernels=1, dims=2)
    with torch.no_grad():
        next(layer.parameters()).copy_(exact(1, -2)[:, None])
    said, expected = layer(exact(0, 0.5)[:, None])[:, 1], 1 + torch.exp(exact(-1.5, -1.5))
    yield Claim("o is 1 + exp(-‖M_1 - M_2‖₁), off by", gap(said, expected), 0)
    layer = summary_of("minibatch_discrimination", (3, 2, 2), kernels=4, dims=2)
    h, order = examples(6, 3, 2, 2), torch.tensor([3, 0, 5, 1, 4, 2])
    out = layer(h)
    yield Claim("A channels and B sums stand before the head", out.shape[1], 3 + 4)
    yield Claim("the first A are as they were, off by", gap(out[:, :3], h), 0)
    yield Claim("beside maps, a sum is the same all over", gap(out[:, 3:], out[:, 3:, :1, :1]), 0)
    yield Claim("in another order, the same sums, off by", gap(layer(h[order]), out[order]), 0)


@check("minibatch_stddev")
def of_deviation() -> Iterator[Claim]:
    images = exact(0, 0, 1, 1)[:, None, None, None].expand(4, 3, 2, 2)
    layer = summary_of("minibatch_stddev", (3, 2, 2))
    out = layer(images)
    yield Claim("two images of 0 and two of 1: the channel holds ½", out[:, 3].max().item(), 0.5)
    yield Claim("the first C channels are as they were, off by", gap(out[:, :3], images), 0)
    same = layer(examples(1, 3, 2, 2).repeat(4, 1, 1, 1))[:, 3].max().item()
    yield Claim("equal images: the channel holds √1e-8", same, 1e-4, 1e-12)
    # The even examples are equal; of the odd ones, two are 0 and two are 1.
    h = exact(7, 0, 7, 0, 7, 1, 7, 1)[:, None].expand(8, 2)
    strided = summary_of("minibatch_stddev", (2,), group=4)(h)[:, 2]
    yield Claim(
        "of two groups of 4, example i is in i mod 2: even", strided[::2].max().item(), 1e-4
    )
    yield Claim("of two groups of 4, example i is in i mod 2: odd", strided[1::2].min().item(), 0.5)
    whole = summary_of("minibatch_stddev", (2,), group=0)(
        exact(0, 0, 0, 2, 2, 2)[:, None].repeat(1, 2)
    )
    yield Claim("a group of all, half 0 and half 2: the channel holds 1", whole[0, 2].item(), 1)
    rest = summary_of("minibatch_stddev", (2,), group=4)(
        exact(0, 0, 0, 2, 2, 2)[:, None].repeat(1, 2)
    )
    yield Claim("6 do not divide into groups of 4: one of 6 it is", rest[0, 2].item(), 1)
    parts = summary_of("minibatch_stddev", (4,), channels=2)
    out = parts(torch.stack([exact(5, 5, 5, 5)] * 2 + [exact(0, 0, 1, 1)] * 2, 1))
    yield Claim("two parts of 4 channels make 4 + 2", out.shape[1], 6)
    yield Claim("the part that does not vary", out[0, 4].item(), 1e-4)
    yield Claim("the part that does", out[0, 5].item(), 0.5)


@check("packing")
def of_packs() -> Iterator[Claim]:
    packs, single = tricks["packing"].make(m=3), tricks["packing"].make(m=1)
    numbers = torch.arange(12.0)[:, None, None, None].expand(12, 2, 4, 4)
    packed = packs.images(Batch(numbers, label=torch.arange(12)), at()).image
    expected = torch.arange(12.0).reshape(4, 3).repeat_interleave(2, 1)[:, :, None, None]
    yield Claim("pack k holds examples 3k to 3k + 2, off by", gap(packed, expected), 0)
    yield Claim("12 examples make 4 packs", len(packed), 4)
    same = single.images(Batch(numbers), at()).image
    yield Claim("packs of one are the examples, off by", gap(same, numbers), 0)
    yield Claim("for as many packs, three times as many are drawn", packs.batch_size(8), 24)
    dcgan = trial(
        data="digits", architecture={"dcgan": {"channels": 2}}, tricks={"packing": {"m": 3}}
    )
    gan = assemble(dcgan, Batch(torch.zeros(8, 2, 8, 8)), at())
    wide = gan.parameters(Player.D)[0].shape[1]
    yield Claim("D's first layer takes 3 · 2 channels", wide, 6)
    # A linear D of slope 1 on 3 points of 3 numbers has a slope of √9 at a pack.
    d, real, fake = Linear([1.0] * 9), examples(6, 3), examples(6, 3, seed=1)
    turn = turn_of(d, real, fake, score=lambda batch: d(packs.images(batch, at())))
    yield Claim("6 examples have 2 scores", len(turn.scores.real), 2)
    slope = regularizers["gradient_penalty"].make(weight=1.0, target=1.0)(turn)
    yield Claim("a penalty takes the norm over all of a pack", slope.item(), (3 - 1) ** 2)


@check("image_pool")
def of_old_fakes() -> Iterator[Claim]:
    size, n, rounds = 10, 8, 500
    pool = Tricks({"pool": tricks["image_pool"].make(size=size)})
    pool.setup({}, Batch(torch.zeros(1, 1), label=torch.zeros(1, dtype=torch.int64)))
    progress, news, shown = at(), list[Tensor](), list[Tensor]()
    mislabelled = 0.0
    for i in range(rounds):
        label = torch.arange(i * n, (i + 1) * n)
        fakes = Batch(label[:, None].float(), label=label)
        said = pool.fakes(fakes, progress)
        assert said.label is not None
        mislabelled += float((said.image[:, 0] != said.label).sum())
        news.append(label)
        shown.append(said.label)
    new, old = torch.cat(news), torch.cat(shown)
    first = float((new[:size] != old[:size]).sum())
    yield Claim("until the pool is full, fakes that are not shown themselves", first, 0)
    share = (new[size:] != old[size:]).float().mean().item()
    yield Claim("afterwards, the share of older fakes", share, 0.5, within=0.02)
    yield Claim("fakes whose label did not stay with them", mislabelled, 0)
    again = float((old[size:] > new[size:]).sum())
    yield Claim("fakes shown before they were made", again, 0)
    # A fake that left the pool, or never entered it, is never seen again.
    last = torch.bincount(old[size:], minlength=len(new)).max().item()
    yield Claim("the most often that a fake is shown once the pool is full", last, 1)
    kept = len(new) - len(set(old[size:].tolist()))
    yield Claim("fakes that were not shown since are those in the pool", kept, size)
    g = torch.ones(n, 1, requires_grad=True)
    pool.fakes(Batch(g, label=torch.zeros(n, dtype=torch.int64)), progress)
    grads = sum(value.requires_grad for value in pool.state_dict(keep_vars=True).values())
    yield Claim("tensors of the pool that need a gradient", grads, 0)


@check("discriminator_loss_scale")
def of_a_scaled_loss() -> Iterator[Claim]:
    for name, ratio, of in (("sgd", 0.5, "halves a step of"), ("adam", 1.0, "leaves a step of")):
        steps = [step_of_d(name, scale) for scale in (1.0, 0.5)]
        yield Claim(f"scale ½ {of} {name}", steps[1] / steps[0], ratio)
    half = tricks["discriminator_loss_scale"].make(scale=0.5)
    terms = {"adversarial": exact(3.0), "penalty": exact(1.0)}
    yield Claim("penalties count half, too", half.total(Player.D, terms)["penalty"].item(), 0.5)
    yield Claim("G's loss stays", half.total(Player.G, terms)["adversarial"].item(), 3)


def step_of_d(optimizer: str, scale: float) -> float:
    """How far D's one weight goes in one round."""
    d, g = Linear([0.3]), Point([1.0])
    scaled: Trick = tricks["discriminator_loss_scale"].make(scale=scale)
    gan = game(d, g, lr=0.1, tricks={"scale": scaled})
    made = {p: optimizers[optimizer].make(gan.of(p)[0].named_parameters(), lr=0.1) for p in Player}
    play_round(replace(gan, optimizers=made), origin, at(), {})
    return d.weight.item() - 0.3


def layer_of(name: str, channels: int = 3, depth: int = 0, **knobs: Any) -> nn.Module:
    made = Tricks({name: tricks[name].make(**knobs)}).hidden(Player.G, channels, depth)
    return nn.Identity() if made is None else made


@check("generator_noise_injection")
def of_noise() -> Iterator[Claim]:
    h = examples(20_000, 3)
    fixed = layer_of("generator_noise_injection", sigma=0.2)
    learnt = layer_of("generator_noise_injection", sigma=None)
    shared = layer_of("generator_noise_injection", sigma=0.2, shared_channels=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noises = [fixed(h) - h for _ in range(2)]
        yield Claim("σ = 0.2 adds a variance of", noises[0].var().item(), 0.04, within=1e-3)
        between = torch.corrcoef(torch.stack([noise.flatten() for noise in noises]))[0, 1]
        yield Claim("two passes are correlated by", between.item(), 0, within=0.02)
        across = torch.corrcoef(noises[0].T)[0, 1].item()
        yield Claim("two channels are correlated by", across, 0, within=0.02)
        yield Claim("learnt scales start at 0, noise of", gap(learnt(h), h), 0)
        with torch.no_grad():
            next(learnt.parameters()).copy_(torch.tensor([0.0, 0.5, 1.0]))
        variances = (learnt(h) - h).var(0)
        yield Claim("a scale of ½ adds to its channel", variances[1].item(), 0.25, within=1e-2)
        yield Claim("a scale of 0 adds nothing to its", variances[0].item(), 0)
        noise = shared(h) - h
        yield Claim("shared channels differ in their noise by", gap(noise, noise[:, :1]), 0)
        evaluated = (fixed.eval()(h) - h).var().item()
        yield Claim("in evaluation, σ = 0.2 adds", evaluated, 0.04, within=1e-3)
        torch.manual_seed(1)
        once = fixed(h)
        torch.manual_seed(1)
        yield Claim("of the same seed, two passes differ by", gap(fixed(h), once), 0)


@check("generator_dropout")
def of_dropped() -> Iterator[Claim]:
    ones = torch.ones(20_000, 3)
    always, training = (layer_of("generator_dropout", p=0.4, at_test=at) for at in (True, False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = always(ones)
        yield Claim("what is kept counts 1/(1 - p)", out.max().item(), 1 / 0.6)
        yield Claim("the share that is dropped is p", (out == 0).float().mean().item(), 0.4, 0.02)
        a, b = (always.eval()(ones) for _ in range(2))
        differ = (a != b).float().mean().item()
        yield Claim("evaluated twice, 2p(1 - p) differ", differ, 0.48, within=0.02)
        trained = (training(ones) == 0).float().mean().item()
        yield Claim("not at test: in training, the share dropped", trained, 0.4, within=0.02)
        yield Claim("not at test: changed by", gap(training.eval()(ones), ones), 0)
    several = [layer_of("generator_dropout", depth=i) for i in range(6)]
    drop = sum(not isinstance(layer, nn.Identity) for layer in several)
    yield Claim("of six layers, those that drop are the first", drop, 3)


@check("adversarial_loss_weight")
def of_two_terms() -> Iterator[Claim]:
    fixed = tricks["adversarial_loss_weight"].make(weight=0.1)
    weighed = fixed.total(Player.G, of_g(7.0, 3.0))
    yield Claim("L_G is L_content + λ L_adv", sum(term.item() for term in weighed.values()), 3.7)
    automatic = tricks["adversarial_loss_weight"].make(weight=0.5, automatic=True)
    terms = of_g(-7.0, 0.3)
    weighed = automatic.total(Player.G, terms)
    adversarial, content = weighed["adversarial"], weighed["feature_matching"]
    yield Claim("automatic: |λ L_adv| is weight · |L_content|", -adversarial.item(), 0.5 * 0.3)
    yield Claim("automatic: L_content stays", content.item(), 0.3)
    (slope,) = torch.autograd.grad(adversarial, terms["adversarial"])
    yield Claim("no gradient through λ: dλL_adv/dL_adv is λ", slope.item(), 0.5 * 0.3 / 7)
    later = automatic.total(Player.G, of_g(1.0, 0.9))["adversarial"].item()
    yield Claim("the sizes are smoothed: means at first", later, 0.5 * 0.6 / 4)
    for _ in range(1000):
        settled = automatic.total(Player.G, of_g(2.0, 5.0))["adversarial"].item()
    yield Claim("and follow what comes", settled, 0.5 * 5, within=1e-3)
    said = automatic.total(Player.D, of_g(2.0, 5.0))["adversarial"].item()
    yield Claim("D's loss stays", said, 2)


def of_g(adversarial: float, content: float) -> dict[str, Tensor]:
    named = {"adversarial": adversarial, "feature_matching": content}
    return {name: torch.tensor(v, requires_grad=True) for name, v in named.items()}


@check("top_k")
def of_the_best() -> Iterator[Claim]:
    trick = tricks["top_k"].make(final_share=0.25, until=0.5)
    scores = exact(3, 0, 7, 5, 1, 6, 2, 4)
    for images, k in ((0, 8), (250, 4), (500, 2), (1000, 2)):
        said = trick.fake_scores(scores, at(images))
        yield Claim(f"at {images / 1000:.0%} of the horizon, G learns from", len(said), k)
    fake = scores.clone().requires_grad_()
    select = Scores(
        lambda batch: Output(batch.image),
        Batch(scores),
        Batch(fake),
        select=lambda scores: trick.fake_scores(scores, at(250)),
    )
    loss = losses["hinge"].make().generator(select)
    yield Claim("which are the best 4, of mean score", -loss.item(), (4 + 5 + 6 + 7) / 4)
    (slope,) = torch.autograd.grad(loss, fake)
    expected = -exact(0, 0, 1, 1, 0, 1, 0, 1) / 4
    yield Claim("the others have no gradient, off by", gap(slope, expected), 0)


@check("separate_real_fake_batches")
def of_mixed_batches() -> Iterator[Claim]:
    apart, mixed = (logits("none", mixed) for mixed in (False, True))
    yield Claim(
        "without batch statistics, logits of a mixed batch are off by", gap(mixed, apart), 0
    )
    apart, mixed = (logits("batch_norm", mixed) for mixed in (False, True))
    differ = ((apart - mixed).abs() > 1e-4).float().mean().item()
    yield Claim("with batch norm, the share of logits that differ", differ, 1)
    # All real examples are 3, all fakes are -1: on its own, either side is standardised to 0.
    real, fake = Batch(exact(3, 3, 3)[:, None]), Batch(exact(-1, -1, -1)[:, None])
    for together, lead in ((False, 0.0), (True, 2.0)):
        said = Scores(normalised, real, fake, mixed=together)
        between = (said.real.mean() - said.fake.mean()).item()
        shown = "one batch" if together else "two batches"
        yield Claim(f"batch norm of {shown}: real leads by", between, lead, within=1e-5)


def normalised(batch: Batch) -> Output:
    norm = normalizations["batch_norm"].make(1).double()
    return Output(norm(batch.image, Context()).flatten())


def logits(normalization: str, mixed: bool) -> Tensor:
    """What D says in its first move, of real examples and then of fakes."""
    side = {"normalization": normalization, "optimizer": "sgd"}
    chosen = trial(discriminator=side, batch={"size": 8, "mixed": mixed})
    real, progress = Batch(examples(8, 2).float()), at()
    gan = assemble(chosen, real, progress)
    scores = (
        Round(gan, lambda n: real, progress, gan.moves(progress, {})).turn(Player.D, "main").scores
    )
    return torch.cat([scores.real, scores.fake])
