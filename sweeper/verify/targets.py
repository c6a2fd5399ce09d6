"""Losses that compare a fake with an image, at images whose distance is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.catalog.families import regularizers, tricks
from sweeper.catalog.regularizers.perception import BARE, LAYERS, Perceiving, Perception
from sweeper.catalog.regularizers.style_loss import gram
from sweeper.game import Batch, Context, Output, Pair, Player, Progress, Scores, Streams, Turn
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import Linear, examples, gap


class Times(nn.Module):
    """A generator that makes of its source so many times itself, and counts how often."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))
        self.calls = 0

    def forward(self, z: Tensor, context: Context) -> Tensor:
        self.calls += 1
        assert context.source is not None
        return self.factor * context.source


def turn_of(
    real: Batch,
    fake: Tensor,
    g: nn.Module | None = None,
    others: dict[str, nn.Module] | None = None,
) -> Turn:
    """G's turn: what the examples are, and what it has made of them."""
    d = Linear([0.0])

    def score(batch: Batch) -> Output:
        return Output(batch.image.flatten(1).sum(1))

    networks = {name: Pair(d, other) for name, other in (others or {}).items()}
    shown = real, real.showing(fake)
    return Turn(
        Player.G,
        *shown,
        torch.zeros(len(fake), 1),
        Scores(score, *shown),
        score,
        Pair(d, g or nn.Identity()),
        Progress(Streams(0), horizon=1000),
        "main",
        networks,
    )


def images(n: int = 4, channels: int = 3, side: int = 16, seed: int = 0) -> Tensor:
    return examples(n, channels, side, side, seed=seed).tanh()


def perceiving(name: str, example: Tensor, **knobs: Any) -> Perceiving:
    """A loss that looks through a network, ready."""
    made = regularizers[name].make(BARE, **knobs)
    assert isinstance(made, Perceiving)
    made.setup({}, Batch(example))
    return made


def through(body: nn.Module, loss: Perceiving, example: Tensor) -> Perceiving:
    """The same loss, looking through the first layer of a body."""
    name = next(body.named_children())[0]
    loss.perception = Perception(body, {name: 1.0}, lambda x: x, example)
    return loss


def pay(name: str, turn: Turn, **knobs: Any) -> Tensor:
    value: Tensor = regularizers[name].make(**knobs)(turn)
    return value


@check("reconstruction_loss")
def the_target() -> Iterator[Claim]:
    name, x = "reconstruction_loss", images()
    off = turn_of(Batch(x), x + 0.3)
    yield Claim("0.3 off, p = 1", pay(name, off).item(), 100 * 0.3)
    yield Claim("0.3 off, p = 2, weight 5", pay(name, off, p=2, weight=5.0).item(), 5 * 0.09)
    yield Claim("the target itself", pay(name, turn_of(Batch(x), x)).item(), 0)
    made, real = (x + images(seed=1)).requires_grad_(), x.clone().requires_grad_()
    value = pay(name, turn_of(Batch(real), made), weight=1.0)
    slope, toward = torch.autograd.grad(value, (made, real), materialize_grads=True)
    yield Claim("the gradient sign/numel", gap(slope, (made - real).sign() / x.numel()), 0)
    yield Claim("what the target is drawn by", float(toward.abs().max()), 0)
    mask = torch.zeros(4, 1, 16, 16, dtype=torch.float64)
    mask[:, :, :4] = 1
    masked = turn_of(Batch(x, mask=mask), x + 0.3)
    value = pay(name, masked, weight=1.0, inside=6.0)
    yield Claim("a quarter inside, counted six times", value.item(), 0.3 * (6 / 4 + 3 / 4))


@check("perceptual_loss")
def what_is_seen() -> Iterator[Claim]:
    name, x = "perceptual_loss", images().float()
    made = (x + 0.2 * images(seed=1).float()).requires_grad_()
    loss = perceiving(name, x)
    before = {k: v.clone() for k, v in loss.perception.stack[0][1].state_dict().items()}
    yield Claim("the target itself", loss(turn_of(Batch(x), x)).item(), 0)
    value = loss(turn_of(Batch(x), made))
    (slope,) = torch.autograd.grad(value, made)
    yield Claim("whether the fake is drawn", float(slope.abs().sum() > 0), 1)
    weights = [w for _, layer in loss.perception.stack for w in layer.parameters()]
    yield Claim("weights of the network that are trained", sum(w.requires_grad for w in weights), 0)
    after = loss.perception.stack[0][1].state_dict()
    moved = max(gap(after[k], v) for k, v in before.items())
    yield Claim("how far its weights move", moved, 0)
    yield Claim("weights that a checkpoint would hold", len(loss.state_dict()), 0)
    body = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False))
    matrix = body[0].get_parameter("weight")[:, :, 0, 0].detach()
    seen = torch.einsum("kc,nchw->nkhw", matrix, made - x).detach()
    for p, wanted in ((1, seen.abs().mean()), (2, seen.square().mean())):
        linear = through(body, perceiving(name, x, p=p, weight=3.0), x)
        paid = linear(turn_of(Batch(x), made)).item()
        yield Claim(f"a linear φ, p = {p}: 3 · mean|W(x̂ - x)|ᵖ", paid, 3 * wanted.item(), 1e-5)
    single = [perceiving(name, x, layers={k: 2.0}) for k in LAYERS["random_conv"]]
    parts = sum(each(turn_of(Batch(x), made)).item() for each in single)
    yield Claim("layers by themselves, twice each", parts, 2 * value.item(), 1e-5)
    again = perceiving(name, x)(turn_of(Batch(x), made)).item()
    yield Claim("the same weights every time", again, value.item(), 0)


@check("style_loss")
def what_occurs_together() -> Iterator[Claim]:
    name, x = "style_loss", images().float()
    g = gram(x)
    yield Claim("a Gram matrix and its transpose", gap(g, g.transpose(1, 2)), 0, 1e-6)
    least = float(torch.linalg.eigvalsh(g.double()).min())
    yield Claim("its least eigenvalue, if negative", min(least, 0.0), 0, 1e-6)
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    moved = x.flatten(2)[:, :, order].reshape(x.shape)
    yield Claim("places in another order", gap(gram(moved), g), 0, 1e-6)
    yield Claim("twice the activations: 4 times", gap(gram(2 * x), 4 * g), 0, 1e-6)
    loss = perceiving(name, x)
    yield Claim("the target itself", loss(turn_of(Batch(x), x)).item(), 0)
    y = images(seed=1).float()
    body = nn.Sequential(nn.Identity())
    norms: tuple[tuple[int, Callable[[Tensor], Tensor]], ...] = (
        (1, lambda off: off.abs().mean()),
        (2, lambda off: off.square().sum((1, 2)).mean()),
    )
    for p, norm in norms:
        plain = through(body, perceiving(name, x, p=p, weight=1.0), x)
        paid = plain(turn_of(Batch(x), y)).item()
        yield Claim(f"p = {p}, by hand", paid, norm(gram(y) - g).item(), 1e-5)
    wanted = through(body, perceiving(name, x, of="reference", weight=1.0), x)
    turn = turn_of(Batch(x, style=y), y)
    yield Claim("the reference's style", wanted(turn).item(), 0)


@check("cycle_consistency_loss")
def there_and_back() -> Iterator[Claim]:
    name, a = "cycle_consistency_loss", images()
    g, f = Times(2.0), Times(0.5)
    turn = turn_of(Batch(2 * a, source=a), 2 * a, g, {"main": g, "back": f})
    yield Claim("inverse maps", pay(name, turn).item(), 0)
    f = Times(1.0)
    made = g(torch.zeros(4, 1), Context(source=a))
    turn = turn_of(Batch(a, source=a), made, g, {"main": g, "back": f})
    value = pay(name, turn)
    yield Claim("there times 2, back times 1", value.item(), 10 * a.abs().mean().item())
    there, back = torch.autograd.grad(value, (g.factor, f.factor))
    expected = 10 * a.abs().mean().item()
    yield Claim("what draws the way there", there.item(), expected)
    yield Claim("what draws the way back", back.item(), 2 * expected)
    other = replace(turn, pair="back", others={"back": turn.others["main"], "main": Pair(g, f)})
    share = pay(name, other, back=0.5).item()
    yield Claim("the other way, counted half", share, 5 * a.abs().mean().item())


@check("identity_loss")
def left_alone() -> Iterator[Claim]:
    name, x = "identity_loss", images()
    for factor, expected in ((1.0, 0.0), (3.0, 5 * 2 * x.abs().mean().item())):
        g = Times(factor)
        turn = turn_of(Batch(x, source=-x), x, g)
        yield Claim(f"G that makes {factor:g} times its source", pay(name, turn).item(), expected)
        yield Claim("passes through G", g.calls, 1)
    yield Claim("weight 0", pay(name, turn, weight=0.0).item(), 0)
    yield Claim("passes through G then", g.calls, 1)


@check("adversarial_loss_weight")
def beside_a_target() -> Iterator[Claim]:
    trick = tricks["adversarial_loss_weight"].make(weight=0.1, automatic=True)
    adversarial = torch.tensor(-4.0, requires_grad=True)
    content = {"reconstruction_loss": torch.tensor(30.0), "perceptual_loss": torch.tensor(10.0)}
    weighed = trick.total(Player.G, {"adversarial": adversarial, **content})["adversarial"]
    yield Claim("of the size of a tenth of all content", abs(weighed.item()), 0.1 * 40, 1e-5)
    (slope,) = torch.autograd.grad(weighed, adversarial)
    yield Claim("its slope, λ, through which nothing flows", slope.item(), 0.1 * 40 / 4, 1e-5)
