"""Looking into the networks of a trained trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from PIL import Image
from torch import Tensor

from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Player, Streams, derive
from sweeper.ledger.names import lined
from sweeper.space.source import InputError
from sweeper.space.use import bring
from sweeper.sweep.trained import trained
from sweeper.trial import looks
from sweeper.trial.checkpoint import Checkpoints, read
from sweeper.trial.loop import Training
from sweeper.trial.round import of_domain
from sweeper.trial.samples import evaluating

POINTS = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.5, 0.75))
"""Where attention is looked at from, unless points are chosen."""


@dataclass(frozen=True)
class Wanted:
    """What is to be looked at: a results folder, a trial's, or a checkpoint; which trial; how many
    examples; the points and layers; and where pictures are written to."""

    what: Path
    output: Path
    number: int | None = None
    n: int = 4
    points: tuple[str, ...] = ()
    layers: str = ""
    seed: int = 0
    use: tuple[Path, ...] = ()


def inspect(wanted: Wanted) -> Iterator[str]:
    """Write pictures of a trained trial's networks, as they were at its newest checkpoint, and a
    table of its weights. Tells what it wrote. Raises InputError."""
    points = [point(text) for text in wanted.points] or POINTS
    found = find(wanted.what, wanted.number, wanted.use)
    training = Training(found.trial, found.cache, saved=found.state)
    wanted.output.mkdir(parents=True, exist_ok=True)
    yield f"{found.name} after {training.progress.images:,} images"
    yield from weights(training, wanted.output)
    if len(training.gan.shape) != 3:
        yield "its examples are points, of which there are no pictures"
        return
    named = 0
    for look in passes(training, wanted):
        for name, picture in look.pictures(points, wanted.layers):
            path = wanted.output / f"{name}.png"
            picture.save(path)
            named += "features" in name
            yield f"wrote {path}"
    if wanted.layers and not named:
        raise InputError([f"--layers names layers, but none with images matches {wanted.layers!r}"])


def point(text: str) -> tuple[float, float]:
    """A point as it is written: two shares, of the width and of the height. Raises InputError."""
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        law = "--at is two shares of the width and the height, such as 0.5,0.25"
        raise InputError([f"{law}, but got {text!r}"])
    return x, y


def weights(training: Training, output: Path) -> Iterator[str]:
    """The singular values of all weights, as a table that is told and written."""
    rows = [["network", "layer", "matrix", "largest", "median", "smallest", "condition"]]
    for name, pair in training.gan.networks.items():
        for player in (Player.G, Player.D):
            for s in looks.singular_values(pair.of(player)):
                numbers = [f"{x:.4g}" for x in (s.largest, s.median, s.smallest, s.condition)]
                rows.append([called(name, player), s.layer, f"{s.rows}x{s.columns}", *numbers])
    path = output / "singular_values.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    yield from lined(rows)
    yield f"wrote {path}"


def called(pair: str, player: Player) -> str:
    """What a network is called among those of all pairs."""
    return str(player) if pair == "main" else f"{pair}.{player}"


class Found(NamedTuple):
    """A trial that was trained: what it is called, the state of a checkpoint, and where data is
    packed."""

    name: str
    trial: Trial
    state: Mapping[str, Any]
    cache: Path


def find(what: Path, number: int | None, use: Sequence[Path]) -> Found:
    """The trial that a path leads to: the best of a results folder or that of a number, or the one
    of its folder or of a checkpoint in that. Raises InputError where there is none."""
    if (what / "ledger.sqlite").is_file():
        (best,) = trained(what, number, use)
        return Found(best.record.name, best.trial, best.state, best.cache)
    folder = (what.parent if what.suffix == ".pt" else what).resolve()
    folder = folder.parent if folder.name == "checkpoints" else folder
    if number is not None:
        raise InputError([f"--trial is one of a results folder, but {what} is none"])
    if folder.name.isdigit() and (folder.parents[1] / "ledger.sqlite").is_file():
        (one,) = trained(folder.parents[1], int(folder.name), use)
        state = checkpoint(what) if what.suffix == ".pt" else one.state
        return Found(one.record.name, one.trial, state, one.cache)
    return alone(folder, what, use)


def alone(folder: Path, what: Path, use: Sequence[Path]) -> Found:
    """A trial that was trained by itself. Raises InputError."""
    bring(use)
    try:
        tree = json.loads((folder / "trial.json").read_text())
        trial = Trial.read({key: value for key, value in tree.items() if key != "use"})
    except Misfit as misfit:
        raise InputError([f"{folder / 'trial.json'}: {p}" for p in misfit.problems]) from None
    except (OSError, ValueError, AttributeError):
        law = "inspect takes a results folder, a trial's folder, or a checkpoint in one"
        raise InputError([f"{law}, but {what} is none of them"]) from None
    if what.suffix == ".pt":
        return Found(folder.name, trial, checkpoint(what), folder.parent / ".cache")
    state = Checkpoints(folder / "checkpoints").load()
    if state is None:
        raise InputError([f"{folder} has no sound checkpoint"])
    return Found(folder.name, trial, state, folder.parent / ".cache")


def checkpoint(path: Path) -> dict[str, Any]:
    """The state in a file. Raises InputError."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise InputError([f"{path}: {error}"]) from None


@dataclass(frozen=True)
class Look:
    """One network, the pass that is to be looked at, and the images that belong to it, (N, 3, H,
    W)."""

    name: str
    player: Player
    network: Any
    images: Tensor
    play: Any

    def pictures(
        self, points: Sequence[tuple[float, float]], layers: str
    ) -> Iterator[tuple[str, Image.Image]]:
        """All there is to see, each with its name."""
        for layer, maps in looks.attention(self.network, self.play, points).items():
            picture = looks.attention_page(self.images, maps.cpu(), points)
            yield f"{self.name}.attention.{layer}", picture
        for layer, maps in looks.features(self.network, self.play, layers).items():
            yield f"{self.name}.features.{layer}", looks.feature_page(self.images, maps.cpu())
        if self.player is Player.D and (cam := looks.grad_cam(self.network, self.play)) is not None:
            yield f"{self.name}.grad_cam", looks.cam_page(self.images, cam.cpu())


def passes(training: Training, wanted: Wanted) -> Iterator[Look]:
    """A pass of latents through every G, and one of real examples, then of its fakes, through its
    D."""
    gan, progress, shown = training.gan, training.progress, training.feed.range.shown
    n = gan.tricks.batch_size(wanted.n)
    real, fakes = training.feed.peek(n), dict[str, Tensor]()
    z = gan.prior.shown(n, Streams(derive(wanted.seed, "inspect"), training.device)["latents"])

    def view(name: str) -> Batch:
        return gan.architecture.view(name, real, fake, progress)

    def made(name: str) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(wanted.seed)
            return cast(Tensor, gan.networks[name].generator(z, view(name).context))

    def fake(name: str) -> Tensor:
        if name not in fakes:  # of a pair that another one is shown, say
            with torch.no_grad(), evaluating(gan.networks[name].generator):
                fakes[name] = made(name)
        return fakes[name]

    for name, pair in gan.networks.items():
        pictured = looks.colour(shown(fake(name))).cpu()
        generated = partial(made, name)
        yield Look(called(name, Player.G), Player.G, pair.generator, pictured, generated)
        given = view(name)
        true, false = (
            gan.tricks.images(of_domain(given.showing(image), domain), progress)
            for domain, image in enumerate((given.image, fake(name)))
        )
        batch = true.beside(false)
        pictured = looks.colour(shown(batch.image[:, : given.image.shape[1]])).cpu()
        judged = partial(pair.discriminator, batch)
        yield Look(called(name, Player.D), Player.D, pair.discriminator, pictured, judged)
