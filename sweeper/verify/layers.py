"""What layers compute: activations, convolutions, changes of size, blocks, and how weights are
drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, interpolate, pixel_unshuffle

from sweeper.catalog.architectures.multi_scale import PYRAMIDS, MultiScale
from sweeper.catalog.convolutions.conv import Conv
from sweeper.catalog.families import (
    activations,
    blocks,
    convolutions,
    downsampling,
    initializations,
    upsampling,
)
from sweeper.config import Trial
from sweeper.game import Batch, Context, Layers, Output
from sweeper.trial.networks import build
from sweeper.verify.claims import Claim, check
from sweeper.verify.contracts import tiny
from sweeper.verify.toys import examples, gap


class Plain(Layers):
    """Ordinary convolutions, with the weights that torch draws."""

    def conv(self, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True) -> nn.Module:
        return Conv(inputs, outputs, kernel, self, bias)


PLAIN = Plain()


def made(entry: Any, *given: object, **knobs: object) -> Any:
    """A layer of float64, whose weights are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = entry.make(*given, **knobs)
        layer = layer if isinstance(layer, nn.Module) else layer(*given)
    return cast(nn.Module, layer).double()


def fill(parameter: Any, value: float) -> None:
    with torch.no_grad():
        parameter.fill_(value)


def slopes(layer: Any, at: float) -> float:
    """The derivative of an activation of one number."""
    x = torch.full((1, 1), at, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x).sum(), x)
    return slope.item()


def distinct(x: Tensor) -> float:
    """How many values there are, two pixels away from the rim."""
    return float(len(torch.unique(x[..., 2:-2, 2:-2].detach())))


@check("relu")
def half_of_a_line() -> Iterator[Claim]:
    relu = made(activations["relu"])
    for at, slope in ((-1.0, 0.0), (1.0, 1.0)):
        yield Claim(f"slope at {at:g}", slopes(relu, at), slope)


@check("leaky_relu")
def never_flat() -> Iterator[Claim]:
    for slope in (0.01, 0.2):
        leaky = made(activations["leaky_relu"], slope=slope)
        yield Claim(f"slope {slope:g} at -1", slopes(leaky, -1.0), slope)
        yield Claim(f"slope {slope:g} at 1", slopes(leaky, 1.0), 1)


@check("prelu")
def a_slope_of_its_own() -> Iterator[Claim]:
    x, g = examples(7, 3, 4, 4), examples(7, 3, 4, 4, seed=1)
    prelu = made(activations["prelu"], 3)
    yield Claim("slopes, one a channel", float(prelu.weight.numel()), 3)
    yield Claim("slope at first", slopes(made(activations["prelu"], 1), -1.0), 0.25)
    prelu(x).backward(g)
    yield Claim(
        "gradient of a off Σ of xg where x < 0",
        gap(prelu.weight.grad, (x * g * (x < 0)).sum((0, 2, 3))),
        0,
    )
    fill(prelu.weight, 0.0)
    yield Claim("off a ReLU where a is 0", gap(prelu(x), x.relu()), 0)


@check("conv_transpose")
def checkerboards() -> Iterator[Claim]:
    x = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    for kernel, values in ((4, 1.0), (5, 3.0)):
        layer = made(upsampling["conv_transpose"], 1, 1, PLAIN, kernel=kernel)
        fill(layer.conv.weight, 1.0)
        y = layer(x, Context())
        yield Claim(f"kernel {kernel}: side of 8 px doubled", float(y.shape[-1]), 16)
        yield Claim(f"kernel {kernel}: values within, of ones by ones", distinct(y), values)
    y = conv_transpose2d(x, torch.ones(1, 1, 3, 3, dtype=torch.float64), stride=2, padding=1)
    yield Claim("kernel 3: values within, of ones by ones", distinct(y), 3)


@check("upsample_conv")
def no_checkerboard() -> Iterator[Claim]:
    x = examples(2, 3, 4, 4)
    for mode in ("nearest", "bilinear"):
        layer = made(upsampling["upsample_conv"], 3, 5, PLAIN, mode=mode)
        large = interpolate(x, scale_factor=2, mode=mode)
        expected = conv2d(large, layer.conv.conv.weight, padding=1)
        yield Claim(f"{mode}: off the formula", gap(layer(x, Context()), expected), 0)
        one = made(upsampling["upsample_conv"], 1, 1, PLAIN, mode=mode)
        fill(one.conv.conv.weight, 1.0)
        y = one(torch.ones(1, 1, 8, 8, dtype=torch.float64), Context())
        yield Claim(f"{mode}: side of 8 px doubled", float(y.shape[-1]), 16)
        yield Claim(f"{mode}: values within, of ones by ones", distinct(y), 1)


@check("upsample_conv1x1")
def steps_that_commute() -> Iterator[Claim]:
    x = examples(2, 3, 4, 4)
    for mode in ("bilinear", "nearest"):
        layer = made(upsampling["upsample_conv1x1"], 3, 5, PLAIN, True, mode=mode)
        large = layer.conv(interpolate(x, scale_factor=2, mode=mode))
        yield Claim(f"{mode}: conv(up(x)) off up(conv(x))", gap(layer(x, Context()), large), 0)


@check("pixel_shuffle")
def channels_become_pixels() -> Iterator[Claim]:
    x = examples(2, 3, 4, 4)
    layer = made(upsampling["pixel_shuffle"], 3, 5, PLAIN, True, icnr=False)
    deep, y = layer.conv(x), layer(x, Context())
    yield Claim("pixel_unshuffle off what was shuffled", gap(pixel_unshuffle(y, 2), deep), 0)
    off = max(
        gap(y[:, c, i::2, j::2], deep[:, 4 * c + 2 * i + j])
        for c in range(5)
        for i in range(2)
        for j in range(2)
    )
    yield Claim("out[c, 2h+i, 2w+j] off in[4c+2i+j, h, w]", off, 0)
    y = made(upsampling["pixel_shuffle"], 3, 5, PLAIN, True)(x, Context())
    same = interpolate(y[..., ::2, ::2], scale_factor=2, mode="nearest")
    yield Claim("ICNR: differences within 2x2 px", gap(y, same), 0)


@check("strided_conv")
def every_second_place() -> Iterator[Claim]:
    x = examples(2, 3, 32, 32).requires_grad_()
    for kernel in (3, 4, 5):
        layer = made(downsampling["strided_conv"], 3, 5, PLAIN, kernel=kernel)
        y = layer(x, Context())
        yield Claim(f"kernel {kernel}: side of 32 px halved", float(y.shape[-1]), 16)
        (slope,) = torch.autograd.grad(y.sum(), x)
        yield Claim(f"kernel {kernel}: inputs without a gradient", float((slope == 0).sum()), 0)


@check("avg_pool", "max_pool", "adaptive_avg_pool", "blur_pool")
def a_convolution_that_is_pooled() -> Iterator[Claim]:
    x = examples(2, 3, 16, 16)
    for name in ("avg_pool", "max_pool", "adaptive_avg_pool", "blur_pool"):
        for kernel in (3, 5):
            layer = made(downsampling[name], 3, 5, PLAIN, True, kernel=kernel)
            y = layer(x, Context())
            yield Claim(f"{name}, kernel {kernel}: side of 16 px", float(y.shape[-1]), 8)
            pooled = layer.pool(
                conv2d(x, layer.conv.conv.weight, layer.conv.conv.bias, padding=kernel // 2)
            )
            yield Claim(f"{name}, kernel {kernel}: off pool(W * x + b)", gap(y, pooled), 0)


@check("avg_pool", "adaptive_avg_pool", "blur_pool")
def a_constant_stays_one() -> Iterator[Claim]:
    one, x = torch.ones(1, 2, 8, 8, dtype=torch.float64), examples(2, 3, 8, 8)
    for name, windows in (("avg_pool", (2, 3)), ("blur_pool", (3, 5))):
        for window in windows:
            layer = made(downsampling[name], 2, 2, PLAIN, window=window)
            yield Claim(
                f"{name}, window {window}: off 1", gap(layer.pool(one), one[..., :4, :4]), 0
            )
    for side in (8, 7):
        layer = made(downsampling["adaptive_avg_pool"], 2, 2, PLAIN)
        y = layer.pool(one[..., :side, :side])
        yield Claim(f"adaptive_avg_pool, {side} px: off 1", gap(y, one[..., :4, :4]), 0)
    yield Claim("adaptive_avg_pool off means of 2x2 px", gap(layer.pool(x), avg_pool2d(x, 2)), 0)


@check("max_pool")
def one_gradient_a_window() -> Iterator[Claim]:
    x = examples(2, 3, 8, 8).requires_grad_()
    (slope,) = torch.autograd.grad(made(downsampling["max_pool"], 3, 3, PLAIN).pool(x).sum(), x)
    windows = slope.unfold(2, 2, 2).unfold(3, 2, 2)
    each = (windows != 0).sum((-1, -2)).double()
    yield Claim("inputs with a gradient, fewest in a window", each.min().item(), 1)
    yield Claim("inputs with a gradient, most in a window", each.max().item(), 1)


@check("blur_pool")
def shifts_matter_less() -> Iterator[Claim]:
    x = examples(4, 3, 32, 32)
    for window in (3, 5):
        layer = made(downsampling["blur_pool"], 3, 3, PLAIN, window=window)
        yield Claim(f"window {window}: sum of weights", layer.filter.sum().item(), 1)
        moved = (layer.pool(x.roll(1, -1)) - layer.pool(x))[..., 2:-2, 2:-2].norm()
        left_out = (x.roll(1, -1) - x)[..., ::2, ::2][..., 2:-2, 2:-2].norm()
        yield Claim(
            f"window {window}: change by a shift, beside every second pixel's, at most",
            max(0.5, (moved / left_out).item()),
            0.5,
        )


@check("gated_conv")
def gates() -> Iterator[Claim]:
    x = examples(2, 3, 6, 6)
    for act, formula in (
        ("elu", nn.functional.elu),
        ("leaky_relu", lambda f: nn.functional.leaky_relu(f, 0.2)),
    ):
        layer = made(convolutions["gated_conv"], 3, 5, 3, PLAIN, act=act)
        f, g = (conv2d(x, c.weight, c.bias, padding=1) for c in (layer.feature, layer.gate))
        expected = formula(f) * g.sigmoid()
        yield Claim(f"{act}: off the formula", gap(layer(x, Context()), expected), 0)
        fill(layer.gate.weight, 0.0)
        for bias, share in ((40.0, 1.0), (0.0, 0.5)):
            fill(layer.gate.bias, bias)
            off = gap(layer(x, Context()), share * formula(f))
            yield Claim(f"{act}: off {share:g} φ, gate bias {bias:g}", off, 0)


@check("partial_conv")
def what_is_known() -> Iterator[Claim]:
    x = examples(2, 3, 9, 9)
    layer = made(convolutions["partial_conv"], 3, 5, 3, PLAIN)
    fill(layer.bias, 0.7)
    whole = torch.zeros(2, 1, 9, 9, dtype=torch.float64)
    plain = conv2d(x, layer.conv.weight, layer.bias, padding=1)
    y = layer(x, Context(mask=whole))
    off = gap(y[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])
    yield Claim("all is known: off a convolution, but for the rim", off, 0)
    hole = whole.clone()
    hole[..., 2:7, 2:7] = 1
    context = Context(mask=hole)
    y = layer(x, context)
    other = layer(x + 100 * hole, Context(mask=hole))
    yield Claim("change by other values in the hole", gap(y, other), 0)
    yield Claim("where no window knows anything", y[..., 3:6, 3:6].abs().max().item(), 0)
    window = (x * (1 - hole))[0, :, 1:4, 1:4]
    one = (layer.conv.weight * window).sum((1, 2, 3)) * 9 / 5 + layer.bias
    yield Claim("a window of 5 known pixels: off the formula", gap(y[0, :, 2, 2], one), 0)
    same = made(convolutions["partial_conv"], 5, 5, 3, PLAIN)
    for depth, left in enumerate((9, 1, 0), start=1):  # of 5x5, a pixel less on every side
        unknown = (same.known(y, context) == 0).sum().item() / len(x)
        yield Claim(f"unknown pixels of 25 after {depth} layers", unknown, left)
        y = same(y, context)


@check("asymmetric_conv_1xn")
def lines_for_squares() -> Iterator[Claim]:
    x = examples(2, 4, 9, 9)
    for n in (3, 5, 7):
        layer = made(convolutions["asymmetric_conv_1xn"], 4, 4, 3, PLAIN, False, n=n)
        row, column = layer.lines
        weights = sum(p.numel() for p in layer.parameters())
        yield Claim(f"n {n}: weights", float(weights), 2 * n * 4**2)
        # Kernels of rank 1, V_oc(i) H_cd(j), summed over the channels between.
        square = torch.einsum("ocix,cdyj->odij", column.weight, row.weight)
        whole = conv2d(x, square, padding=n // 2)
        yield Claim(f"n {n}: off one convolution", gap(layer(x, Context()), whole), 0)
    for form, line in (("row", (1, 3)), ("col", (3, 1))):
        layer = made(convolutions["asymmetric_conv_1xn"], 4, 5, 3, PLAIN, form=form)
        height, width = layer.lines[0].kernel_size
        yield Claim(f"{form}: kernels, and their sides", float(len(layer.lines)), 1)
        yield Claim(f"{form}: height", float(height), line[0])
        yield Claim(f"{form}: width", float(width), line[1])


@check("acnet_block")
def three_that_are_one() -> Iterator[Claim]:
    x = examples(4, 3, 8, 8)
    for norm in ("none", "batch"):
        for kernel in (3, 5):
            layer = made(convolutions["acnet_block"], 3, 5, kernel, PLAIN, branch_norm=norm)
            for _ in range(3):  # which the running statistics follow
                trained = layer(examples(16, 3, 8, 8, seed=1), Context())
            for each in layer.norms:
                fill(each.bias, 0.3)
            layer.eval()
            branches = [branch(x) for branch in layer.branches]
            if norm == "batch":
                branches = [
                    n.eval()(h, Context()) for n, h in zip(layer.norms, branches, strict=True)
                ]
            apart = sum(branches) + layer.bias[:, None, None]
            where = f"{norm}, kernel {kernel}"
            yield Claim(f"{where}: off the sum of branches", gap(layer(x, Context()), apart), 0)
            yield Claim(f"{where}: fused off the sum of branches", gap(layer.fused()(x), apart), 0)
            if norm == "none":
                layer.train()
                yield Claim(f"{where}: training off it", gap(layer(x, Context()), apart), 0)
            del trained


@check("self_attention")
def places_that_look_at_places() -> Iterator[Claim]:
    x, places = examples(2, 8, 4, 4), torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for reduction in (4, 8):
        layer = made(blocks["self_attention"], 8, 4, PLAIN, at=4, reduction=reduction)
        yield Claim(f"reduction {reduction}: off the input at first", gap(layer(x), x), 0)
        fill(layer.gamma, 0.7)
        seen = layer.attention(x)
        yield Claim(f"reduction {reduction}: rows off 1", gap(seen.sum(2), torch.ones(2, 16)), 0)
        moved = x.flatten(2)[..., places].reshape_as(x)
        y = layer(x).flatten(2)[..., places].reshape_as(x)
        yield Claim(f"reduction {reduction}: permuted off permuted", gap(layer(moved), y), 0)
        f, g, h = (c(x).flatten(2) for c in (layer.query, layer.key, layer.value))
        scores = torch.einsum("nci,ncj->nij", f, g)
        shares = scores.exp() / scores.exp().sum(2, keepdim=True)
        expected = x + 0.7 * torch.einsum("nij,ncj->nci", shares, h).reshape_as(x)
        yield Claim(f"reduction {reduction}: off the formula", gap(layer(x), expected), 0)
    entry: Any = blocks["self_attention"]
    elsewhere = entry.make(at=8)(8, 4, PLAIN)
    yield Claim("blocks at another size", float(elsewhere is not None), 0)


@check("squeeze_excitation")
def channels_that_are_weighed() -> Iterator[Claim]:
    x = examples(2, 32, 4, 4)
    layer = made(blocks["squeeze_excitation"], 32, 4, PLAIN, reduction=16)
    inner = (x.mean((2, 3)) @ layer.squeeze.weight.T + layer.squeeze.bias).relu()
    scale = (inner @ layer.excite.weight.T + layer.excite.bias).sigmoid()
    yield Claim("off the formula", gap(layer(x), scale[:, :, None, None] * x), 0)
    yield Claim("numbers between", float(inner.shape[1]), 2)
    points = x[..., 0, 0]
    yield Claim("points: off the formula", gap(layer(points), points * layer.scale(points)), 0)
    fill(layer.excite.weight, 0.0)
    fill(layer.excite.bias, 40.0)
    yield Claim("off the input where the gates are open", gap(layer(x), x), 0)


KINDS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(400, 600),
    "convolution": lambda: nn.Conv2d(100, 150, 3),
    "transposed convolution": lambda: nn.ConvTranspose2d(100, 150, 4, 2, 1),
}


@check("output_conv", "tanh_output", "sigmoid_output")
def how_a_generator_ends() -> Iterator[Claim]:
    for pixel_range, low in (("tanh", -1.0), ("unit", 0.0)):
        for kernel in (1, 3, 7, 9):
            tree = tiny(feed={"pixel_range": pixel_range})
            tree["generator"]["output_conv"] = kernel
            g = build(Trial.read(tree), (1, 16, 16)).generator
            y = g(1e4 * examples(4, 8).float(), Context())
            what = f"{pixel_range}, kernel {kernel}"
            yield Claim(f"{what}: side of 16 px", float(y.shape[-1]), 16)
            yield Claim(f"{what}: largest, at most 1", max(y.max().item(), 1), 1)
            yield Claim(f"{what}: smallest, at least {low:g}", min(y.min().item(), low), low)
            last = [m for m in g.modules() if isinstance(m, nn.Conv2d)][-1]
            yield Claim(f"{what}: side of the last kernel", float(last.kernel_size[0]), kernel)


@check("xavier_uniform", "xavier_normal", "he_normal", "orthogonal", "dcgan_normal", "weight_init")
def weights_as_they_are_drawn() -> Iterator[Claim]:
    for kind, make in KINDS.items():
        for name in ("xavier_uniform", "xavier_normal", "he_normal", "dcgan_normal"):
            layer: Any = drawn(name, make())
            rows = matrix(layer)
            area = layer.weight[0, 0].numel()
            inputs, outputs = rows.shape[1], len(rows) * area
            variance = {"he_normal": 2 / inputs, "dcgan_normal": 0.02**2}.get(
                name, 2 / (inputs + outputs)
            )
            ratio = rows.var().item() / variance
            yield Claim(f"{name}, {kind}: variance over the formula's", ratio, 1, 0.02)
            yield Claim(f"{name}, {kind}: largest bias", layer.bias.abs().max().item(), 0)
        for gain in (0.5, 2.0):
            values = torch.linalg.svdvals(matrix(drawn("orthogonal", make(), gain=gain)))
            off = gap(values, torch.full_like(values, gain))
            yield Claim(f"orthogonal, {kind}, gain {gain:g}: singular values off it", off, 0, 1e-5)
    for name in ("xavier_uniform", "xavier_normal", "he_normal"):
        once, twice = (matrix(drawn(name, nn.Linear(9, 9), gain=g)) for g in (1.0, 2.0))
        yield Claim(f"{name}: gain 2 off twice as much", gap(twice, 2 * once), 0)
        norm: Any = drawn(name, nn.BatchNorm2d(4))
        yield Claim(f"{name}: scales of a norm off 1", gap(norm.weight, torch.ones(4)), 0)


def drawn(name: str, layer: nn.Module, **knobs: float) -> nn.Module:
    """A layer whose weights are drawn by an initialization, the same every time."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        initializations[name].make(**knobs)(layer)
    return layer


def matrix(layer: Any) -> Tensor:
    """The weights of a layer, a row per output channel."""
    turned = isinstance(layer, nn.ConvTranspose2d)
    weight: Tensor = layer.weight.detach()
    return (weight.transpose(0, 1) if turned else weight).flatten(1)


class Patches(nn.Module):
    """A discriminator that scores every window of 4 px, by one number or by one a patch."""

    width = 1

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.conv, self.whole = nn.Conv2d(3, 1, 4, 4).double(), whole

    def forward(self, batch: Batch) -> Output:
        h = self.conv(batch.image)
        return Output(h.mean((1, 2, 3)) if self.whole else h.flatten(1), (h,), h.mean((2, 3)))


@check("multi_scale_discriminator")
def scales_that_count_equally() -> Iterator[Claim]:
    x = examples(2, 3, 32, 32)
    level = torch.full_like(x, 0.3)
    for name, shrunk in PYRAMIDS.items():
        yield Claim(f"{name}: side of 32 px", float(shrunk(x).shape[-1]), 16)
        yield Claim(f"{name}: a constant off itself", gap(shrunk(level), level[..., :16, :16]), 0)
    halved = interpolate(x, scale_factor=0.5, mode="bilinear")
    yield Claim("bilinear off torch's", gap(PYRAMIDS["bilinear"](x), halved), 0)
    for whole in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            networks = [Patches(whole=whole) for _ in range(3)]
        d, what = MultiScale(networks, "average"), "one score" if whole else "patches"
        output, pyramid = d(Batch(x)), [x]
        for _ in range(2):
            pyramid.append(PYRAMIDS["average"](pyramid[-1]))
        each = [n(Batch(image)) for n, image in zip(networks, pyramid, strict=True)]
        losses = torch.stack([(o.scores - 1).square().mean() for o in each])
        yield Claim(
            f"{what}: loss off the mean of three",
            gap((output.scores - 1).square().mean(), losses.mean()),
            0,
        )
        yield Claim(f"{what}: hidden activations", float(len(output.features)), 3)
        weights = sum(p.numel() for p in d.parameters())
        yield Claim(f"{what}: weights", float(weights), 3 * (3 * 16 + 1))
