"""Training, as a stream of measurements. Whoever reads the stream decides what to do with them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sweeper.catalog.datasets.store import Store, pack
from sweeper.catalog.metrics.extractors import Small
from sweeper.catalog.metrics.features import classifier
from sweeper.catalog.regularizers.perception import Sight
from sweeper.config import Pick, Start, Trial, over
from sweeper.game import ALONE, Batch, Player, Progress, Ranks, Streams
from sweeper.registry import tags
from sweeper.stream import Measurement, Stream, Verdict
from sweeper.trial.assemble import assemble
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.device import choose_device, ready
from sweeper.trial.evaluate import Evaluator, Full
from sweeper.trial.feed import Feed
from sweeper.trial.networks import references
from sweeper.trial.parallel import Errand, company
from sweeper.trial.samples import IMAGES, POINTS, triptychs
from sweeper.trial.split import shares
from sweeper.trial.step import play_round
from sweeper.trial.watch import Watch, layers

LOOK_EVERY = 16
"""Rounds between looks at the losses: a look waits for the device."""


class Diverged(Exception):  # noqa: N818  (an outcome of a trial, not a fault of the program)
    """A loss or a score is no longer a finite number."""

    def __init__(self, images: int, what: str) -> None:
        super().__init__(f"{what} is not finite after {images:,} images")
        self.images = images


def open_store(
    data: Pick, cache: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Store:
    """The packed examples of a data set, packing them on first use. Raises ValueError if they
    cannot be read."""
    if data.entry.name == "packed":
        return Store(Path(data["path"]))
    return pack(data.make(), cache / "data", progress)


class Training:
    """One trial under way. Its state is complete: continuing from it, ``saved``, is the same as
    never having stopped, and needs no checkpoint that the trial once started from.

    With several ``ranks`` it is the same trial, in as many processes; the first of them measures.
    """

    def __init__(
        self,
        trial: Trial,
        cache: Path,
        *,
        threads: int = 1,
        saved: Mapping[str, Any] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.trial, self.cache, self.ranks = trial, cache, ranks
        self.device = ready(trial.seed, threads)
        # One packs the data and learns to measure; the others wait, and find the data packed.
        self.metric, *self.protocols = ranks.told(self._protocols)
        some = shares(len(self.store), trial.evaluation).trained
        self.feed = Feed(self.store, trial.feed, trial.seed, self.device, ranks, some)
        self.progress = Progress(
            Streams(trial.seed, self.device),
            horizon=round(trial.horizon_kimg * 1000),
            ranks=ranks,
        )
        begun = trial if saved is None else trial.model_copy(update={"init_from": Start()})
        first = self.feed.peek(max(trial.batch.size, references(trial)))
        sight = Sight(self.feed.range.shown, self._classifier)
        self.gan = assemble(begun, first, self.progress, self.store.meta.known, sight)
        self.watch = Watch()
        self.measurements: list[Measurement] = []
        self.best_generator: dict[str, Tensor] = {}
        self.seconds = 0.0
        self._losses: dict[str, Tensor] = {}
        if saved is not None:
            self.load_state_dict(saved)

    @cached_property
    def store(self) -> Store:
        return open_store(self.trial.data, self.cache)

    @cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(
            self.trial.evaluation, self.trial.data, self.store, self.cache, self.device
        )

    def _protocols(self) -> tuple[str, str, str]:
        found = self.evaluator
        return found.metric, found.protocol.hash, found.full_protocol.hash

    def _classifier(self) -> Small:
        # The first rank trains it, unless it is there; the others find it.
        def found() -> Small:
            return classifier(self.store, self.cache / "features")

        self.ranks.told(lambda: found().classes)
        return found()

    def draw(self, n: int) -> Batch:
        """Of the next real examples in the trial's order, those of this rank."""
        return self.feed.draw(n)

    @property
    def finished(self) -> bool:
        return bool(self.measurements) and self.measurements[-1].images >= self.progress.horizon

    def advance(self) -> Measurement:
        """Train up to the next evaluation and measure. Raises Diverged."""
        start, images = time.monotonic(), self.progress.images
        every = round(self.trial.evaluation.every_kimg * 1000)
        self._train_until((images // every + 1) * every)
        trained = time.monotonic() - start
        generator = self.gan.eval_generator()
        shown = self.feed.range.showing(generator)
        score, variety = self.ranks.told(lambda: self.evaluator.judge(shown, self.gan.prior))
        if not math.isfinite(score):
            raise Diverged(self.progress.images, self.metric)
        last = self.measurements[-1] if self.measurements else None
        if last is None or score < last.best:
            self.best_generator = {k: v.detach().clone() for k, v in generator.state_dict().items()}
        best, at = (
            (score, self.progress.images)
            if last is None or score < last.best
            else (last.best, last.best_images)
        )
        over = self.progress.images >= self.progress.horizon
        full = self.ranks.told(self._full) if over else None
        self.seconds += time.monotonic() - start
        measured = Measurement(
            images=self.progress.images,
            score=score,
            best=best,
            losses=self.watch.losses(),
            seconds=self.seconds,
            images_per_second=(self.progress.images - images) / trained,
            heldout=full.score if full else None,
            metrics=full.metrics if full else {},
            protocol=self.protocols[0],
            full_protocol=self.protocols[1] if full else None,
            best_images=at,
            d_steps=self.progress.moves[Player.D],
            g_steps=self.progress.moves[Player.G],
            windows=self.watch.windows(),
            layers=layers(self.gan),
            variety=variety,
        )
        measured = replace(measured, verdicts=self.diagnosed(measured))
        self.measurements.append(measured)
        return measured

    def diagnosed(self, latest: Measurement) -> tuple[Verdict, ...]:
        """What each diagnostic of the trial concludes from all measurements up to the latest."""
        loss = self.gan.loss
        content = [
            pick.entry.name
            for pick in self.trial.regularizers
            if "content" in tags(pick.entry.provides)
        ]
        stream = Stream([*self.measurements, latest], loss.equilibrium, loss.critic, content)
        found = [(pick.entry.name, pick.make()(stream)) for pick in self.trial.diagnostics]
        return tuple(replace(verdict, name=name) for name, verdict in found if verdict)

    def _train_until(self, images: int) -> None:
        rounds = 0
        while self.progress.images < min(images, self.progress.horizon):
            self.round()
            rounds += 1
            if rounds % LOOK_EVERY == 0:
                self._look()
        self._look()

    def round(self) -> Mapping[str, Tensor]:
        """Train one round. Returns what it showed: the terms of the losses, and more."""
        self._losses = play_round(self.gan, self.draw, self.progress, self._losses)
        self.watch.note(self.progress.images, self._losses)
        return self._losses

    def _look(self) -> None:
        for name in self.watch.look():
            kind = f"the {name.replace('.', ' ')} loss" if "." in name else f"the {name}"
            raise Diverged(self.progress.images, kind)

    def _full(self) -> Full:
        generator = self.gan.eval_generator()
        present = {k: v.detach().clone() for k, v in generator.state_dict().items()}
        generator.load_state_dict(self.best_generator)
        measured = self.evaluator.full(self.feed.range.showing(generator), self.gan.prior)
        generator.load_state_dict(present)
        return measured

    def state_dict(self) -> dict[str, Any]:
        return {
            "gan": self.gan.state_dict(),
            "losses": self._losses,
            "watch": self.watch.state_dict(),
            "random": self.progress.random.state_dict(),
            "global_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "images": self.progress.images,
            "moves": {str(player): n for player, n in self.progress.moves.items()},
            "position": self.feed.position,
            "measurements": [m.plain() for m in self.measurements],
            "best_generator": self.best_generator,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.gan.load_state_dict(state["gan"])
        self._losses = dict(state["losses"])
        self.watch.load_state_dict(state["watch"])
        self.progress.random.load_state_dict(state["random"])
        torch.set_rng_state(state["global_random"].cpu())
        if state["cuda_random"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"].cpu())
        self.progress.images = state["images"]
        self.progress.moves.update({Player(name): n for name, n in state["moves"].items()})
        self.feed.position = state["position"]
        self.measurements = [Measurement.read(m) for m in state["measurements"]]
        self.best_generator = dict(state["best_generator"])
        self.seconds = state["seconds"]


def train(
    trial: Trial,
    cache: Path,
    folder: Path | None = None,
    *,
    threads: int = 1,
    ranks: int = 1,
    prepare: Sequence[Callable[[], object]] = (),
) -> Iterator[Measurement]:
    """Train a trial and measure it on the way.

    With a ``folder``, it continues from the newest sound checkpoint there, all of whose
    measurements it repeats, since some may not have arrived; and every measurement is saved, with a
    sheet of samples, before it is yielded. What was taken of a checkpoint that it starts from is in
    ``start.json`` there. Several ``ranks`` share the threads and the work, and each of the others
    is to ``prepare`` before it reads the trial. Raises Diverged, ValueError for data that cannot be
    read, Misfit for a trial that several ranks cannot train, RankFailedError and RankLostError.
    """
    over(trial, ranks)
    each = max(1, threads // ranks)
    with company(ranks, Errand(trial.plain(), str(cache), each, prepare)) as group:
        yield from trained(trial, cache, folder, each, group)


def trained(
    trial: Trial, cache: Path, folder: Path | None, threads: int, ranks: Ranks
) -> Iterator[Measurement]:
    """Train a trial as the first of some ranks."""
    checkpoints = Checkpoints(folder / "checkpoints") if folder else None
    if checkpoints:
        checkpoints.tidy()
    saved = ranks.told(lambda: checkpoints.load(choose_device()) if checkpoints else None)
    training = Training(trial, cache, threads=threads, saved=saved, ranks=ranks)
    if folder and training.gan.report:
        (folder / "start.json").write_text(json.dumps(dict(training.gan.report), indent=2))
    if saved is not None:
        yield from tuple(training.measurements)
    while not training.finished:
        measured = training.advance()
        if checkpoints and folder:
            show(training, folder, measured)
            checkpoints.save(measured.images, training.state_dict())
        yield measured


def show(training: Training, folder: Path, measured: Measurement) -> None:
    """Keep a sheet of samples, from latents that all trials share."""
    generator = training.feed.range.showing(training.gan.eval_generator())
    n = IMAGES if len(training.gan.shape) == 3 else POINTS
    given = training.evaluator.given("sheet", n)
    samples = training.evaluator.sample(generator, training.gan.prior, n, "sheet")
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    triptychs(samples, given).save(folder / "samples" / f"{measured.images:012d}.png")
