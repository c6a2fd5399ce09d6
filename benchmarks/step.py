#!/usr/bin/env python
"""The training step beside those of others: textbook, by hand, torchgan and torch-mimicry.

All learn from the same images, in one process and one thread, in turns of so many rounds, in CPU
seconds. Sweeper's is the trainer's own loop, which composes a trial from techniques and watches
losses and gradients; it is never evaluated.

``textbook`` is the loop of PyTorch's DCGAN tutorial over plain nn.Sequential networks that have as
many parameters as sweeper's: real and fake pass D apart, each with its own backward, every loss and
mean score is read in every step, Adam is as it comes, G's step goes through a D that gathers
gradients, too, and a DataLoader shuffles a TensorDataset. ``by hand`` has the trainer's own
networks, optimizers, examples and latents, makes fakes once a round, and looks at one loss a turn;
first both must train alike. What the trainer's loop takes more than that is what composing costs.

torchgan is its Trainer's train_iter on its own DCGAN, of the same widths and loss, without writing
to TensorBoard; its D has no bias in its last layer, one parameter less. torch-mimicry is the
train_step of its D and its G, as its Trainer calls them, on networks of its own residual blocks and
base classes in sweeper's widths, since its ready-made ones are as wide at every size, which the
catalog does not have. Its first layer has a bias for every pixel where sweeper's has one for every
channel, 15 more for each; in G it enlarges skips along lines, too, and in D it rectifies what a
skip is given. The package as a whole cannot be imported with this PyTorch (it asks for TensorFlow
and for torch._six, which is gone), so its files are imported without their packages' __init__.
Both are installed into a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from pairs import Row, Times, in_turns, told
from torch import Tensor, nn, optim
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.utils.data import DataLoader, TensorDataset

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.datasets.store import normalise, pack
from sweeper.config import Trial
from sweeper.game import Batch, Context, Player
from sweeper.trial.loop import Training

Loop = Callable[[int], float]
"""So many rounds, and D's last loss."""

TORCHGAN, MIMICRY = "torchgan==0.1.0", "torch-mimicry==0.1.16"
CPU = torch.device("cpu")
BETAS = {"dcgan": (0.5, 0.999), "resnet_gan": (0.0, 0.9)}
RATE = 2e-4


@dataclass(frozen=True)
class Case:
    """What is trained, on which images, and in how many rounds a turn: on digits at 8 px, else on
    random images. ``promised`` is how much faster than the textbook it is at least."""

    px: int
    channels: int
    batch: int
    rounds: int
    promised: float = 1.0
    architecture: str = "dcgan"
    d_steps: int = 1
    spectral: bool = False

    @property
    def name(self) -> str:
        """What it is called in tables."""
        found = {"dcgan": "DCGAN", "resnet_gan": "SNGAN" if self.spectral else "ResNet"}
        data = "digits" if self.px == 8 else "random images"
        steps = f", {self.d_steps} steps of D" if self.d_steps > 1 else ""
        return (
            f"{found[self.architecture]}, {data}, {self.px} px, {self.channels} channels, "
            f"batch {self.batch}{steps}"
        )


CASES = {
    "8": Case(8, 16, 32, rounds=128),
    "16": Case(16, 32, 64, rounds=32),
    "32": Case(32, 32, 64, rounds=16, promised=1.3),
    "64": Case(64, 32, 64, rounds=4),
    "resnet": Case(32, 16, 64, rounds=4, architecture="resnet_gan"),
    "sngan": Case(32, 16, 64, rounds=1, architecture="resnet_gan", d_steps=5, spectral=True),
}


class Noise(Synthetic):
    """2,048 random images in colour."""

    name = "noise"
    classes: tuple[str, ...] = ()

    def __init__(self, px: int) -> None:
        self.px = px

    def fingerprint(self) -> str:
        return f"2048 random images of {self.px} px"

    def __len__(self) -> int:
        return 2048

    def __getitem__(self, index: int) -> Example:
        random = np.random.default_rng(index)
        return Example(random.integers(0, 256, (3, self.px, self.px), dtype=np.uint8))


def trial_of(case: Case, cache: Path) -> Trial:
    """The preset ``base/dcgan.yaml``, or ``base/sngan_resnet.yaml`` with or without what bounds D,
    never evaluated."""
    data: dict[str, Any] = {"digits": {}}
    if case.px > 8:
        data = {"packed": {"path": str(pack(Noise(case.px), cache / "data").path)}}
    beta1, beta2 = BETAS[case.architecture]
    adam = {"optimizer": {"adam": {"lr": RATE, "beta1": beta1, "beta2": beta2}}}
    g = d = {"normalization": "batch_norm", **adam}
    if case.architecture == "resnet_gan":
        g = {**g, "upsampling": {"upsample_conv": {"mode": "bilinear"}}}
        d = {"normalization": "none", **adam}
    return Trial.read(
        {
            "data": data,
            "architecture": {case.architecture: {"channels": case.channels}},
            "prior": {"gaussian_latent": {"size": 64}},
            "generator": g,
            "discriminator": d | ({"constraint": "spectral_norm"} if case.spectral else {}),
            "loss": "hinge" if case.spectral else "non_saturating",
            "schedule": {"alternating_update": {"d_steps": case.d_steps}},
            "batch": {"size": case.batch},
            "horizon_kimg": 1e6,
            "evaluation": {"features": "random_conv", "samples": 16},
        }
    )


def composed(training: Training, d_steps: int) -> Loop:
    """The trainer's loop."""

    def loop(rounds: int) -> float:
        images = rounds * d_steps * training.gan.batch_size
        training._train_until(training.progress.images + images)
        return training._losses["discriminator.adversarial"].item()

    return loop


def by_hand(made: Training) -> Loop:
    """The same training, written down for this one trial."""
    d, g = made.gan.networks["main"]
    d_optimizer, g_optimizer = made.gan.optimizers[Player.D], made.gan.optimizers[Player.G]
    data, n = made.store.all(), made.gan.batch_size
    prior, random = made.gan.prior, made.progress.random["latents"]
    ones, zeros = torch.ones(n), torch.zeros(n)
    order, at = made.feed.rows.index, 0

    def loop(rounds: int) -> float:
        nonlocal at
        for _ in range(rounds):
            real = normalise(data[order(at, n)])
            at += n
            fake = g(prior(n, random), Context())

            d_optimizer.zero_grad()
            d_loss = bce(d(Batch(real)).scores, ones) + bce(d(Batch(fake.detach())).scores, zeros)
            d_loss.backward()
            d_optimizer.step()

            g_optimizer.zero_grad()
            g_loss = bce(d(Batch(fake)).scores, ones)
            g_loss.backward()
            g_optimizer.step()
        return float(d_loss.item())

    return loop


def usual(made: Training) -> Iterator[list[Tensor]]:
    """Images and labels of a trial's data by a DataLoader, epoch after epoch."""
    store = made.store
    labels = torch.zeros(len(store), dtype=torch.long) if store.labels is None else store.labels
    loader = DataLoader(
        TensorDataset(normalise(store.all()), labels),
        batch_size=made.gan.batch_size,
        shuffle=True,
        drop_last=True,  # a round is as many images for everyone
    )
    while True:
        yield from loader


def sequential(
    shape: Sequence[int], latent: int, channels: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """D and G as the tutorial has them, with biases where the paper's first and last layers do
    without normalization."""
    colours, px, _ = shape
    wide = [channels << k for k in range((px // 4).bit_length() - 1)]
    g: list[nn.Module] = [
        nn.ConvTranspose2d(latent, wide[-1], 4, 1, 0, bias=False),
        nn.BatchNorm2d(wide[-1]),
        nn.ReLU(True),
    ]
    for a, b in pairwise(wide[::-1]):
        g += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]
    g += [nn.ConvTranspose2d(channels, colours, 4, 2, 1), nn.Tanh()]
    d: list[nn.Module] = [nn.Conv2d(colours, channels, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    for a, b in pairwise(wide):
        d += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b)]
        d += [nn.LeakyReLU(0.2, inplace=True)]
    d += [nn.Conv2d(wide[-1], 1, 4, 1, 0), nn.Sigmoid()]
    return nn.Sequential(*d), nn.Sequential(*g)


def dcgan_weights(layer: nn.Module) -> None:
    """How the tutorial's weights start."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.constant_(layer.bias, 0)


def textbook(made: Training, channels: int) -> Loop:
    """The tutorial's loop, line by line, without what it prints."""
    nz = made.gan.prior.size
    d, g = (net.apply(dcgan_weights) for net in sequential(made.gan.shape, nz, channels))
    assert parameters(d, g) == parameters(*made.gan.networks["main"]), "as many parameters as ours"
    criterion = nn.BCELoss()
    d_optimizer, g_optimizer = adam(d, "dcgan"), adam(g, "dcgan")
    batches = usual(made)
    g_losses, d_losses = list[float](), list[float]()

    def loop(rounds: int) -> float:
        for real, _ in islice(batches, rounds):
            d.zero_grad()
            n = real.size(0)
            label = torch.full((n,), 1.0)
            output = d(real).view(-1)
            d_loss_real = criterion(output, label)
            d_loss_real.backward()
            output.mean().item()
            fake = g(torch.randn(n, nz, 1, 1))
            label.fill_(0.0)
            output = d(fake.detach()).view(-1)
            d_loss_fake = criterion(output, label)
            d_loss_fake.backward()
            output.mean().item()
            d_loss = d_loss_real + d_loss_fake
            d_optimizer.step()

            g.zero_grad()
            label.fill_(1.0)
            output = d(fake).view(-1)
            g_loss = criterion(output, label)
            g_loss.backward()
            output.mean().item()
            g_optimizer.step()

            g_losses.append(g_loss.item())
            d_losses.append(d_loss.item())
        return d_losses[-1]

    return loop


def parameters(*networks: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(p.numel() for network in networks for p in network.parameters())


def adam(network: nn.Module, architecture: str) -> optim.Adam:
    """PyTorch's, as it comes."""
    return optim.Adam(network.parameters(), lr=RATE, betas=BETAS[architecture])


def torchgan(made: Training, channels: int, folder: Path) -> Loop:
    """What torchgan's Trainer does with every batch."""
    install(TORCHGAN, folder)
    with patch.dict(os.environ, TENSORBOARD_LOGGING="0"):  # read when it is imported
        models, losses, trainers = (
            import_module(f"torchgan.{name}") for name in ("models", "losses", "trainer")
        )
    latent, (colours, px, _) = made.gan.prior.size, made.gan.shape
    optimizer = {"name": optim.Adam, "args": {"lr": RATE, "betas": BETAS["dcgan"]}}
    shared = {"step_channels": channels}
    trainer = trainers.Trainer(
        {
            "generator": {
                "name": models.DCGANGenerator,
                "args": {
                    **shared,
                    "encoding_dims": latent,
                    "out_size": px,
                    "out_channels": colours,
                    "nonlinearity": nn.ReLU(),
                },
                "optimizer": optimizer,
            },
            "discriminator": {
                "name": models.DCGANDiscriminator,
                "args": {
                    **shared,
                    "in_size": px,
                    "in_channels": colours,
                    "last_nonlinearity": nn.Identity(),
                },
                "optimizer": optimizer,
            },
        },
        [losses.MinimaxGeneratorLoss(), losses.MinimaxDiscriminatorLoss()],
        device=CPU,
        checkpoints=str(folder / "checkpoints" / "gan"),
        recon=str(folder / "images"),
    )
    trainer.batch_size = made.gan.batch_size
    theirs = parameters(trainer.discriminator, trainer.generator)
    assert theirs == parameters(*made.gan.networks["main"]) - 1, "all but the bias of D's head"
    batches = usual(made)
    counted = ("generator_losses", "discriminator_losses", "generator_iters", "discriminator_iters")

    def loop(rounds: int) -> float:
        for images, labels in islice(batches, rounds):
            trainer.real_inputs, trainer.labels = images.to(CPU), labels.to(CPU)
            told = trainer.train_iter()
            for name, value in zip(counted, told, strict=True):
                trainer.loss_information[name] += value
            trainer.logger.run_mid_epoch(trainer)
        return float(told[1])

    return loop


def mimicry(made: Training, case: Case, folder: Path) -> Loop:
    """What torch-mimicry's Trainer does with every batch, or with several for one step of G."""
    install(MIMICRY, folder)
    for name in ("torch_mimicry", "torch_mimicry.training"):
        package = ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = package
    logged = import_module("torch_mimicry.training.metric_log").MetricLog
    d, g = residual(case, made.gan.prior.size)
    wide = case.channels * 4  # of the first layer, whose biases are more
    theirs, own = parameters(d, g), parameters(*made.gan.networks["main"])
    assert theirs == own + 15 * wide, "all but the biases of G's first layer"
    d_optimizer, g_optimizer = (adam(network, case.architecture) for network in (d, g))
    batches = usual(made)

    def loop(rounds: int) -> float:
        for _ in range(rounds):
            log = logged()
            for batch in islice(batches, case.d_steps):
                log = d.train_step(batch, netG=g, optD=d_optimizer, log_data=log, device=CPU)
            log = g.train_step(batch, netD=d, optG=g_optimizer, log_data=log, device=CPU)
        return float(log["errD"])

    return loop


def residual(case: Case, latent: int) -> tuple[Any, Any]:
    """D and G of torch-mimicry's blocks, in the widths of sweeper's ``resnet_gan`` at 32 px."""
    gan, blocks, layers = (
        import_module(f"torch_mimicry.{name}")
        for name in ("nets.gan.gan", "modules.resblocks", "modules.layers")
    )
    c, sn, loss = case.channels, case.spectral, "hinge" if case.spectral else "ns"
    wide = 4 * c, 2 * c, c

    class Generator(gan.BaseGenerator):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(nz=latent, ngf=wide[0], bottom_width=4, loss_type=loss)
            self.first = nn.Linear(latent, 16 * wide[0])
            self.rest = nn.Sequential(
                *(blocks.GBlock(a, b, upsample=True) for a, b in pairwise((wide[0], *wide))),
                nn.BatchNorm2d(c),
                nn.ReLU(True),
                nn.Conv2d(c, 3, 3, padding=1),
                nn.Tanh(),
            )

        def forward(self, z: Tensor) -> Any:
            return self.rest(self.first(z).view(len(z), -1, 4, 4))

    class Discriminator(gan.BaseDiscriminator):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(ndf=c, loss_type=loss)
            self.blocks = nn.Sequential(
                blocks.DBlockOptimized(3, c, spectral_norm=sn),
                *(
                    blocks.DBlock(a, b, b, downsample=True, spectral_norm=sn)
                    for a, b in pairwise(wide[::-1])
                ),
                blocks.DBlock(wide[0], wide[0], spectral_norm=sn),
                nn.ReLU(True),
            )
            self.last = (layers.SNLinear if sn else nn.Linear)(wide[0], 1)

        def forward(self, x: Tensor) -> Any:
            return self.last(self.blocks(x).sum((2, 3)))

    return Discriminator(), Generator()


def install(package: str, folder: Path) -> None:
    """Make a package of the registry importable, without what it asks for."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*command, "--target", str(folder), package], check=True)
    sys.path.append(str(folder))


def others(case: Case, ours: Loop, make: Callable[[], Training], folder: Path) -> dict[str, Loop]:
    """The loops that a case is compared with. Those of peers that do not run here are left out, and
    it is printed why."""
    peers: dict[str, Callable[[], Loop]] = {}
    found: dict[str, Loop] = {}
    if case.architecture == "dcgan":
        found = {"textbook": textbook(make(), case.channels), "by hand": by_hand(make())}
        losses = [loop(2) for loop in (ours, found["by hand"])]
        assert abs(losses[0] - losses[1]) < 1e-4, f"both train alike, but D's losses are {losses}"
        if case.px == 32:
            peers[TORCHGAN] = lambda: torchgan(make(), case.channels, folder / "torchgan")
    else:
        peers[MIMICRY] = lambda: mimicry(make(), case, folder / "mimicry")
    for name, peer in peers.items():
        try:
            found[name.replace("==", " ")] = peer()
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            print(f"{name} does not run here: {error}", file=sys.stderr)
    return found


PROTOCOL = {
    "textbook": "the loop of PyTorch's DCGAN tutorial, as many parameters, DataLoader",
    "by hand": "the trainer's own networks, optimizers and examples in a loop of one's own",
    "torchgan 0.1.0": "its Trainer's train_iter on its DCGAN, TensorBoard off, one parameter less",
    "torch-mimicry 0.1.16": (
        "its train_step of D and of G on its residual blocks in sweeper's widths; its files "
        "imported without its packages' __init__, which needs TensorFlow and torch._six"
    ),
}


def compared(case: Case, blocks: int) -> list[Row]:
    """Sweeper's step beside all others of one case."""
    with TemporaryDirectory() as made:
        cache = Path(made)
        make = partial(Training, trial_of(case, cache), cache)
        training = make()
        ours = composed(training, case.d_steps)
        loops = {"sweeper": ours, **others(case, ours, make, cache)}
        n = parameters(*training.gan.networks["main"])
        print(f"{case.name}: {n:,} parameters", file=sys.stderr)
        times = in_turns({k: partial(loop, case.rounds) for k, loop in loops.items()}, blocks)
    show(times, 2 * case.rounds * case.d_steps * case.batch)
    return [
        times.row(
            "sweeper",
            name,
            part="step",
            case=case.name,
            protocol=f"{name}: {PROTOCOL[name]}; CPU seconds of one thread",
            at_least={"textbook": case.promised, "by hand": None}.get(name, 1.0),
        )
        for name in times.names[1:]
    ]


def show(times: Times, images: int) -> None:
    """Print how fast each was, and the ratio of every block."""
    for i, name in enumerate(times.names):
        took = times.seconds[:, i]
        ratios = " ".join(f"{ratio:.3f}" for ratio in took / times.seconds[:, 0])
        print(f"  {name:22}{images / np.median(took):10,.0f} images/s  {ratios}", file=sys.stderr)


def measured(cases: Iterable[Case], blocks: int, quick: bool = False) -> list[Row]:
    """The rows of some cases; ``quick`` takes a quarter of the rounds."""
    torch.set_num_threads(1)
    if quick:
        cases = [replace(case, rounds=max(1, case.rounds // 4)) for case in cases]
    return [row for case in cases for row in compared(case, blocks)]


def rows(quick: bool) -> list[Row]:
    """Every size beside all others."""
    return measured(CASES.values(), 2 if quick else 12, quick)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--only", choices=CASES, help="a DCGAN by its pixels, or a residual GAN")
    parser.add_argument("--quick", action="store_true", help="a quarter of the rounds")
    chosen = parser.parse_args()
    cases = CASES.values() if chosen.only is None else [CASES[chosen.only]]
    print(told(measured(cases, chosen.blocks, chosen.quick)))


if __name__ == "__main__":
    main()
