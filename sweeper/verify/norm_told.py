"""Normalizations that are told something, against their formulas; and layers of cosines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, unfold

from sweeper.catalog.families import constraints, normalizations
from sweeper.catalog.normalizations.kalman_norm import KalmanNorm
from sweeper.game import Context, Known, Layers, Paced, Progress, Streams
from sweeper.verify.claims import Claim, check
from sweeper.verify.norm_statistics import in_parts, maps, of, standard
from sweeper.verify.toys import examples, gap

KNOWN = Known(classes=3, source=1, reference=2, mask=2, style=7)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


def norm(name: str, channels: int = 4, *, before: int = 0, **knobs: Any) -> nn.Module:
    """A normalization of a network that can be told anything, in double precision."""
    entry = normalizations[name]
    offered = {"channels": channels, "known": KNOWN, "layers": Layers(), "before": before}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: nn.Module = entry.make(*[offered[asked] for asked in entry.asks], **knobs)
    return made.double()


def regions() -> Tensor:
    """Masks of two planes: the upper left, and the lower right."""
    mask = torch.zeros(6, 2, 16, 16, dtype=torch.float64)
    mask[:, 0, :8, :8], mask[:, 1, 10:, 10:] = 1, 1
    return mask


def told(**changes: Any) -> Context:
    """What a network of 6 examples is told."""
    given = {
        "label": LABELS,
        "style": examples(6, 7, seed=3),
        "mask": regions(),
        "reference": examples(6, 2, 5, 5, seed=4),
    }
    return Context(**(given | changes))


def other_than(module: nn.Module, seed: int = 5) -> nn.Module:
    """The same with other parameters, so that none is 0 or 1."""
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(examples(*p.shape, seed=seed + i))
    return module


def emptied(module: nn.Module) -> nn.Module:
    """The same with all parameters 0."""
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    return module


@check("conditional_batch_norm", "conditional_instance_norm")
def rows_of_tables() -> Iterator[Claim]:
    x = maps()
    for name, same, over in (
        ("conditional_batch_norm", "batch_norm", (0, 2, 3)),
        ("conditional_instance_norm", "instance_norm", (2, 3)),
    ):
        module = norm(name)
        yield Claim(f"{name}: at first {same}, off by", gap(module(x, told()), of(same, x)), 0)
        scale, shift = (p[LABELS][:, :, None, None] for p in other_than(module).parameters())
        expected = standard(x, over) * scale + shift
        yield Claim(
            f"{name}: each example has its row, off by", gap(module(x, told()), expected), 0
        )
        swapped = LABELS[[1, 0, 2, 3, 4, 5]]
        moved = (module(x, told(label=swapped)) - expected).abs().amax((1, 2, 3)) > 1e-12
        yield Claim(
            f"{name}: examples that change as two labels are swapped", float(moved.sum()), 2
        )
    y, context = (
        norm("conditional_batch_norm"),
        [told().rows(slice(0, 3)), told().rows(slice(3, 6))],
    )
    parts = in_parts(other_than(y), x.chunk(2), context)
    yield Claim("conditional_batch_norm: two ranks are one, off by", gap(parts, y(x, told())), 0)
    module = other_than(norm("conditional_batch_norm", condition="style"))
    weight, bias = module.parameters()
    scale, shift = (told().style @ weight.T + bias).chunk(2, 1)  # type: ignore[operator]
    expected = standard(x, (0, 2, 3)) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    off = gap(module(x, told()), expected)
    yield Claim("conditional_batch_norm: by the style vector, off by", off, 0)


@check("adaptive_instance_norm")
def statistics_of_a_style() -> Iterator[Claim]:
    x, name = maps(), "adaptive_instance_norm"
    off = gap(emptied(norm(name))(x, told()), of("instance_norm", x))
    yield Claim("latent, γ = 1 and β = 0: instance_norm, off by", off, 0)
    module = norm(name, mode="feature")
    style = cast(nn.Conv2d, module.get_submodule("rows.conv"))(told().reference)
    y = module(x, told())
    for what, moment in (("means", torch.mean), ("deviations", torch.std)):
        off = gap(moment(y, (2, 3)), moment(style, (2, 3)))
        yield Claim(f"feature: {what} are those of the style, off by", off, 0, 1e-4)
    emptied(module)
    conv = cast(nn.Conv2d, module.get_submodule("rows.conv"))
    with torch.no_grad():
        for i in range(2):
            conv.weight[i, i, 1, 1] = 1
    both = x[:, :2]
    same = module(torch.cat([both, both], 1), told(reference=both))[:, :2]
    yield Claim(
        "feature: in its own style an image stays as it is, off by", gap(same, both), 0, 1e-4
    )


@check("adaptive_convolution_norm")
def kernels_of_a_style() -> Iterator[Claim]:
    x, name, local = (
        maps(),
        "adaptive_convolution_norm",
        emptied(norm("adaptive_convolution_norm", window=3)),
    )
    count = conv2d(torch.ones(1, 1, 5, 5).double(), torch.ones(1, 1, 3, 3).double(), padding=1)
    patches = unfold(x.flatten(0, 1)[:, None], 3, padding=1).reshape(6, 4, 9, 5, 5)
    inside = unfold(torch.ones_like(x[:1, :1]), 3, padding=1).reshape(1, 1, 9, 5, 5)
    mean = patches.sum(2) / count
    variance = ((patches - mean[:, :, None]).square() * inside).sum(2) / count
    expected = (x - mean) / (variance + 1e-5).sqrt()
    yield Claim("W = δ, window 3: standardised locally, off by", gap(local(x, told()), expected), 0)
    module = other_than(norm(name, kernel=1))
    ada = norm("adaptive_instance_norm")
    with torch.no_grad():
        for p, q in zip(
            ada.parameters(),
            zip(*(m.parameters() for m in module.children()), strict=True),
            strict=True,
        ):
            p.copy_(torch.cat(q))
    off = gap(module(x, told()), ada(x, told()))
    yield Claim("kernel 1, all of space: adaptive_instance_norm, off by", off, 0, 1e-5)
    module = other_than(norm(name, mixed=2))
    alone = torch.cat([module(x[i : i + 1], told().rows(slice(i, i + 1))) for i in range(6)])
    yield Claim("each example has its own kernels, off by", gap(module(x, told()), alone), 0)
    flat = standard(x, (2, 3))
    weight = module.get_buffer("identity") + cast(nn.Linear, module.get_submodule("filters"))(
        cast(Tensor, told().style)
    ).reshape(6, 4, 2, 3, 3)
    shift = cast(nn.Linear, module.get_submodule("shifts"))(cast(Tensor, told().style))
    expected = torch.cat(
        [conv2d(flat[i : i + 1], weight[i], shift[i], padding=1, groups=2) for i in range(6)]
    )
    yield Claim("a grouped convolution of each, off by", gap(module(x, told()), expected), 0)


@check("spade", "spatial_feature_transform")
def places_in_a_mask() -> Iterator[Claim]:
    x = examples(6, 4, 16, 16)
    for base, over in (("batch", (0, 2, 3)), ("instance", (2, 3))):
        module = emptied(norm("spade", base=base, hidden=8))
        off = gap(module(x, told()), standard(x, over))
        yield Claim(f"spade on {base}, all weights 0: x̂, off by", off, 0)
    off = gap(emptied(norm("spatial_feature_transform"))(x, told()), x)
    yield Claim("spatial_feature_transform, all weights 0: x, off by", off, 0, 0)
    for name, inside in (("spade", slice(2, 6)), ("spatial_feature_transform", slice(0, 8))):
        module = other_than(norm(name, hidden=8))
        # What is scaled is x, but for spade, which makes 0 of zeros.
        shift = module(torch.zeros_like(x), told())
        scale = (module(x, told()) - shift) / (standard(x, (0, 2, 3)) if name == "spade" else x)
        within = scale[:, :, inside, inside]
        yield Claim(
            f"{name}: the scale varies inside of a region, by",
            gap(within, within[:, :, :1, :1]),
            0,
            1e-5,
        )
        spread = (scale.amax((2, 3)) - scale.amin((2, 3))).min().item()
        yield Claim(f"{name}: and is another elsewhere", float(spread > 1e-3), 1)
    everywhere = told(mask=torch.ones(6, 2, 16, 16).double())
    shown = other_than(norm("spatial_feature_transform"))(torch.ones_like(x), everywhere)
    yield Claim("a constant mask: the same everywhere, off by", gap(shown, shown[:, :, :1, :1]), 0)


@check("sean")
def styles_of_regions() -> Iterator[Claim]:
    x, small = examples(6, 4, 16, 16), {"size": 5, "hidden": 6, "noise": False}
    module, spade = other_than(norm("sean", **small)), norm("spade", hidden=6)
    spade.load_state_dict(
        {k.replace("of_mask", "rows"): v for k, v in module.state_dict().items() if "of_mask" in k},
        strict=False,
    )
    blend, found = module.get_parameter("blend"), dict[float, Tensor]()
    for at in (-1e3, 0.0, 1e3):
        with torch.no_grad():
            blend.fill_(at)
            found[at] = module(x, told())
    yield Claim("a = 0: spade, off by", gap(found[-1e3], spade(x, told())), 0)
    off = gap(found[0.0], (found[-1e3] + found[1e3]) / 2)
    yield Claim("a = ½: the mean of both, off by", off, 0)
    yield Claim("the blend at first", norm("sean").get_parameter("blend").sigmoid()[0].item(), 0.5)
    before = found[1e3]
    with torch.no_grad():
        cast(nn.Linear, module.get_submodule("styles")).bias[:5] += 7  # of the first region
        changed = (module(x, told()) - before).abs().amax((0, 1)) > 1e-9
    yield Claim("another style changes its region", float(changed[:8, :8].all()), 1)
    yield Claim(
        "and no place more than two pixels from it",
        float((changed[10:] | changed[:, 10:].T).any()),
        0,
    )
    module = norm("sean", size=5, hidden=6)
    yield Claim("noise at first, by", gap(module(x, told()), module(x, told())), 0, 0)
    with torch.no_grad():
        module.get_parameter("noise.scale").fill_(1.0)
    yield Claim("and later", float(gap(module(x, told()), module(x, told())) > 0.01), 1)


@check("domain_specific_batch_norm", "split_batch_norm")
def statistics_of_each_distribution() -> Iterator[Claim]:
    x, domain = maps(), torch.tensor([0, 1, 1, 0, 1, 1])
    first = domain == 0
    name = "domain_specific_batch_norm"
    module = norm(name, momentum=0.25)
    y = module(x, told(domain=domain))
    for which, among in ((0, first), (1, ~first)):
        off = gap(y[among], standard(x[among], (0, 2, 3)))
        yield Claim(f"of distribution {which}: batch_norm of its examples, off by", off, 0)
    running = module.get_buffer("split.variance")
    expected = 0.75 + 0.25 * x[first].var((0, 2, 3))
    yield Claim("its running variance, unbiased, off by", gap(running[0], expected), 0)
    before = running.clone()
    module(x, told(domain=torch.zeros(6).long()))
    yield Claim(
        "of the other one, where there is none of it, changed by", gap(running[1], before[1]), 0, 0
    )
    alone = norm(name)(x, told())
    yield Claim("where nobody says which: batch_norm, off by", gap(alone, of("batch_norm", x)), 0)
    for by in ("real_fake", "label"):
        module, both = norm(name, by=by), told(domain=domain)
        parts = in_parts(module, x.chunk(2), [both.rows(slice(0, 3)), both.rows(slice(3, 6))])
        yield Claim(f"by {by}: two ranks are one, off by", gap(parts, module(x, both)), 0)
    module = other_than(norm("split_batch_norm"))
    shared, rows = module(x, told(domain=domain)), norm(name)
    with torch.no_grad():
        for own, one in zip(rows.parameters(), (module.weight, module.bias), strict=True):
            own.copy_(cast(Tensor, one).expand(2, -1))
    apart = rows(x, told(domain=domain))
    yield Claim(
        "split_batch_norm: that with equal scales and shifts, off by", gap(shared, apart), 0
    )
    shared.square().sum().backward()
    apart.square().sum().backward()
    for what, one, own in zip("γβ", module.parameters(), rows.parameters(), strict=True):
        assert one.grad is not None
        assert own.grad is not None
        off = gap(one.grad, own.grad.sum(0))
        yield Claim(f"split_batch_norm: the slope along {what}, the sum of theirs, off by", off, 0)


@check("kalman_norm")
def estimates_through_layers() -> Iterator[Claim]:
    x, later, q = maps(), maps() + 2 * examples(1, 4, 1, 1, seed=9), 0.3
    first = norm("kalman_norm", gain=q)
    yield Claim(
        "the first layer: batch_norm, off by", gap(first(x, Context()), of("batch_norm", x)), 0
    )
    for transition in ("identity", "linear"):
        layers = [norm("kalman_norm", before=b, gain=q, transition=transition) for b in (0, 4)]
        if transition == "linear":
            with torch.no_grad():
                layers[1].get_parameter("transition.noise").fill_(-1e3)
        context = Context()
        layers[0](x, context)
        y = layers[1](later, context)
        drawn = torch.cat([x.transpose(0, 1).flatten(1), later.transpose(0, 1).flatten(1)], 1)
        weights = torch.tensor([q, 1 - q]).double().repeat_interleave(150) / 150
        mean = (drawn * weights).sum(1)
        variance = ((drawn - mean[:, None]).square() * weights).sum(1)
        expected = (later - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        what = f"{transition}: by mean and variance of a mixture of both layers"
        yield Claim(f"{what}, off by", gap(y, expected), 0)
    context, plain = Context(), norm("kalman_norm", before=4, gain=0.0)
    first(x, context)
    off = gap(plain(later, context), of("batch_norm", later))
    yield Claim("q = 0: batch_norm, off by", off, 0)
    context = Context()
    first(100 * x, context)
    off = gap(norm("kalman_norm", before=4, gain=q)(later, context), of("batch_norm", later))
    yield Claim("a layer before of a hundred times the spread does not count, off by", off, 0)
    wider, context = cast(KalmanNorm, norm("kalman_norm", 8, before=4, gain=q)), Context()
    first(x, context)
    made = wider(examples(6, 8, 5, 5), context)
    yield Claim("a learnt transition takes 4 channels to 8", float(made.shape[1]), 8)


@check("virtual_batch_norm")
def beside_a_reference() -> Iterator[Claim]:
    x, n, name = maps(9), 5, "virtual_batch_norm"
    module = norm(name, examples=n)
    y = module(x, Context())
    yield Claim(
        "the reference by its own statistics, off by", gap(y[:n], standard(x[:n], (0, 2, 3))), 0
    )
    direct = torch.cat(
        [standard(torch.cat([x[:n], x[i : i + 1]]), (0, 2, 3))[n:] for i in range(n, 9)]
    )
    yield Claim("an example by those of the reference and itself, off by", gap(y[n:], direct), 0)
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(module(x, Context())[n].square().sum(), x)
    yield Claim("slope along the other examples", slope[n + 1 :].abs().max().item(), 0, 0)
    whole = norm(name, examples=n, over="whole_batch")
    expected = standard(x, (0, 2, 3))
    yield Claim("whole_batch: by those of all, off by", gap(whole(x, Context()), expected), 0)
    reference, rest = x[:n], x[n:]
    parts = [torch.cat([reference, part]) for part in rest.chunk(2)]
    found = in_parts(whole, parts)
    ranks = torch.cat([found[n : n + 2], found[2 * n + 2 :]])
    yield Claim("whole_batch: two ranks are one, off by", gap(ranks, expected[n:]), 0)
    off = gap(whole.eval()(x, Context()), y)
    yield Claim("whole_batch in evaluation: each by itself, off by", off, 0)


@check("frozen_batch_norm")
def frozen() -> Iterator[Claim]:
    x, module = maps(), norm("frozen_batch_norm", at=0.5, freeze_affine=True)
    plain = norm("batch_norm")
    progress = Progress(Streams(0), horizon=1000, images=499)
    cast(Paced, module).pace(progress)
    off = gap(module(x, Context()), plain(x, Context()))
    yield Claim("before its time: batch_norm, off by", off, 0, 0)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    progress.images = 500
    cast(Paced, module).pace(progress)
    module.train()
    for i in range(10):
        y = module(x + i, Context())
    after = module.state_dict()
    changed = sum(not torch.equal(after[k], v) for k, v in before.items())
    yield Claim("statistics that change in ten steps after it", float(changed), 0)
    yield Claim("then as in evaluation, off by", gap(y, plain.eval()(x + 9, Context())), 0)
    yield Claim("scale and shift have a slope", float(y.requires_grad), 0)
    free = norm("frozen_batch_norm", at=0.0)
    yield Claim("from 0 on, x by 0 and 1, off by", gap(free(x, Context()), x), 0, 1e-4)


@check("cosine_norm")
def cosines() -> Iterator[Claim]:
    x = examples(6, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain, conv = nn.Linear(8, 3, bias=False).double(), nn.Conv2d(4, 3, 3, 2, 1).double()
        up = nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False).double()
        grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False).double()
    made = constraints["cosine_norm"].make
    linear = made(scale="one")(plain)
    w = linear.weight.detach()
    expected = x @ w.T / (x.norm(dim=1)[:, None] * w.norm(dim=1))
    yield Claim("linear: cosines, off by", gap(linear(x), expected), 0)
    yield Claim("linear: of w and itself", linear(w[:1])[0, 0].item(), 1)
    yield Claim("linear: of 7x, off by", gap(linear(7 * x), linear(x)), 0)
    with torch.no_grad():
        linear.weight.mul_(5)
    yield Claim("linear: of 5w, off by", gap(linear(x), expected), 0)
    linear.centered = True
    expected = torch.stack([torch.corrcoef(torch.stack([a, b]))[0, 1] for a in x for b in w])
    yield Claim("centered: correlations, off by", gap(linear(x).flatten(), expected), 0)
    images, bias = maps(), cast(Tensor, conv.bias).detach()[:, None, None]
    patches = unfold(images, 3, padding=1, stride=2)
    inside = unfold(torch.ones_like(images), 3, padding=1, stride=2)
    rows = conv.weight.detach().flatten(1)[None, :, :, None]
    products = (rows * patches[:, None]).sum(2)
    lengths = (patches.norm(dim=1)[:, None]) * (rows * inside[:, None]).norm(dim=2)
    cosine = made(scale="one")(conv)
    off = gap(cosine(images) - bias, (products / lengths).reshape(6, 3, 3, 3))
    yield Claim("convolution: of each patch, as far as it is inside, off by", off, 0)
    for layer in (cosine, made(scale="one")(up), made(scale="one")(grouped)):
        for centered in (False, True):
            layer.centered = centered
            y = layer(images) - (0 if layer.bias is None else bias)
            kind = f"{type(layer).__name__}{', centered' * centered}"
            yield Claim(f"{kind}: largest, at most", max(1.0, y.abs().max().item()), 1)
    yield Claim("its weights stay what others find", float(isinstance(up, nn.ConvTranspose2d)), 1)
    learnt = made()(nn.ConvTranspose2d(4, 3, 4, 2, 1))
    yield Claim("scale at first: the root of 16 inputs of an output", learnt.scale.item(), 4)
