"""Measuring a generator: the score under a fixed protocol, and everything else, once, in full."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sweeper.catalog.datasets.store import Store, normalise
from sweeper.catalog.metrics.compared import Compared, Side, Wanted
from sweeper.catalog.metrics.features import extractor, save_whole
from sweeper.catalog.metrics.frechet import Moments, Statistics, frechet_distance
from sweeper.config import Evaluation, Pick, show
from sweeper.game import Prior, Streams, derive
from sweeper.protocol import Protocol
from sweeper.stream import Variety
from sweeper.trial.samples import CHUNK, Given, drawn, labels_like, sampled
from sweeper.trial.split import Shares, Split, shares

log = logging.getLogger("sweeper")

SPLITS: dict[Split, str] = {
    "rung": "one half by seed",
    "heldout": "the other half by seed",
    "all": "all",
}
NEIGHBOURS = 256
"""Samples whose distances from each other are taken."""
ENOUGH = 4
"""Chunks that variety is judged by."""
FULL = 10_000
"""Samples of a full measurement, unless the data has fewer or the protocol says otherwise; and the
examples of a side that metrics look at beside the Fréchet distance, which sees them all."""
TRAINED = 50_000
"""Training examples among which copies of them are looked for."""


class Spread(NamedTuple):
    """How varied some examples are: the mean distance of two, the mean deviation of a feature, and
    the share of each class (empty without classes)."""

    distance: Tensor
    deviation: Tensor
    shares: Tensor


class Full(NamedTuple):
    """A measurement in full: the Fréchet distance from what was held out, and the other metrics'
    values by name, None where there is no finite one."""

    score: float
    metrics: dict[str, float | None]


class Evaluator:
    """Fréchet distance of fakes to half of the real examples, in features that the protocol names.

    The latents are fixed. A measurement in ``full`` uses other latents and the other half: what a
    choice made on the first says is too good is seen there. With a ``split`` of "all", that is all
    examples, as papers have it.
    """

    def __init__(
        self,
        settings: Evaluation,
        data: Pick,
        store: Store,
        cache: Path,
        device: torch.device,
        progress: Callable[[int, int], None] = lambda done, total: None,
        split: Split = "heldout",
    ) -> None:
        self.settings, self.data, self.store = settings, data, store
        self.cache, self.device, self.split = cache, device, split
        self.features = extractor(settings, store, cache / "features", progress).to(device)
        self.metric = metric_name(settings.features, store)
        self.protocol = self._protocol("rung", settings.samples)
        most = max(settings.samples, min(self._length(split), FULL))
        named = tuple(_written(pick) for pick in settings.metrics)
        self.full_protocol = self._protocol(split, settings.full_samples or most, named)
        self.labels = store.labels

    def judge(self, generator: nn.Module, prior: Prior) -> tuple[float, Variety | None]:
        """The score, and how varied the samples are beside real ones; NaN and None if a sample is
        not finite."""
        fakes = self.draw(generator, prior, self.protocol.fake, "rung")
        moments, some = Moments(), list[Tensor]()
        for chunk in fakes:
            features = self.features(chunk)
            if not features.isfinite().all():
                return float("nan"), None
            moments.add(features.cpu())
            some += [features] if len(some) < ENOUGH else []
        reference, spread = self.reference
        score = frechet_distance(reference, moments.statistics())
        return score, variety(self._spread(torch.cat(some)), spread)

    def full(self, generator: nn.Module, prior: Prior) -> Full:
        """Everything, by the full protocol; NaN and nothing if a sample is not finite."""
        n = self.full_protocol.fake
        given = self.given(self.split, n)
        labels = given.labels if self._heeds(generator, prior) else None
        split = repeat(None) if labels is None else torch.split(labels, CHUNK)
        fakes = zip(self.draw(generator, prior, n, self.split), split, strict=False)
        return self.compared(fakes, given)

    def compared(
        self, fakes: Iterable[tuple[Tensor, Tensor | None]], given: Given | None = None
    ) -> Full:
        """Everything, of fakes that come in chunks (≤ 500, *shape), each with their labels, if they
        have any; and what they were ``given`` to be made from, in their order."""
        moments, kept = Moments(), list[Side]()
        for chunk, labels in fakes:
            features = self.features(chunk)
            if not features.isfinite().all():
                return Full(float("nan"), {})
            moments.add(features.cpu())
            if self.settings.metrics and len(kept) * CHUNK < FULL:
                kept.append(self._side(chunk.cpu(), features.cpu(), labels))
        score = frechet_distance(self.heldout, moments.statistics())
        return Full(score, self._metrics(joined(kept), given) if kept else {})

    def _metrics(self, fake: Side, given: Given | None) -> dict[str, float | None]:
        values = dict[str, float | None]()
        wanted = self._wanted(given, len(fake)) if given else None
        real, training = self.sides
        made = self.data.make() if self.data.entry.name != "packed" else None
        centres = getattr(made, "centres", None)
        for pick in self.settings.metrics:
            compared = Compared(
                real,
                fake,
                self.store.meta.classes,
                None if centres is None else torch.from_numpy(centres),
                getattr(made, "deviation", 0.0),
                training,
                wanted,
                Streams(derive(self.settings.seed, "metrics"))[pick.entry.name],
            )
            try:
                found = pick.make()(compared)
            except Exception as error:  # a metric is a view of a trial, and never ends it
                log.warning("the metric %s fails: %r", pick.entry.name, error)
                found = {pick.entry.name: math.nan}
            values |= {k: float(v) if math.isfinite(v) else None for k, v in found.items()}
        return values

    def _wanted(self, given: Given, n: int) -> Wanted | None:
        """What the first n samples should have become, if what they were made from says so."""
        if not self.store.meta.known.paired:
            return None
        cpu = torch.device("cpu")
        target, source, mask = (
            given.read(field, slice(0, n), cpu) for field in ("image", "source", "mask")
        )
        return None if target is None else Wanted(target, source, mask)

    def draw(self, generator: nn.Module, prior: Prior, n: int, purpose: str) -> Iterator[Tensor]:
        """Samples in chunks, from latents, labels, and noise inside of the generator, fixed by the
        protocol's seed and a purpose: (≤ 500, *shape), on the device."""
        seed = derive(self.settings.seed, "evaluation")
        z = prior.shown(n, Streams(seed)[purpose]).to(self.device)
        return drawn(generator, z, self.given(purpose, n), derive(seed, purpose))

    def sample(self, generator: nn.Module, prior: Prior, n: int, purpose: str) -> Tensor:
        """Samples as ``draw`` has them, at once: (n, *shape)."""
        return torch.cat(list(self.draw(generator, prior, n, purpose)))

    def _heeds(self, generator: nn.Module, prior: Prior) -> bool:
        """Whether a generator makes something else of a latent when it is told another class."""
        if self.store.meta.classes < 2:
            return False
        z = prior.shown(2, Streams(self.settings.seed)["heeds"]).to(self.device)
        given = self.given("heeds", 2)
        told = (replace(given, labels=torch.full((2,), label)) for label in (0, 1))
        one, other = (sampled(generator, z, each, 0) for each in told)
        return not torch.equal(one, other)

    def given(self, purpose: str, n: int) -> Given:
        """What a generator is given for so many samples: labels as frequent as in the data, or,
        where images are made from others, the examples of a split in its order."""
        random = Streams(derive(self.settings.seed, "evaluation"))[f"{purpose} labels"]
        if not any(self.store.meta.known[1:]):
            return Given(labels_like(self.labels, n, random), self.store)
        split = self.indices(purpose if purpose in SPLITS else "heldout")
        indices = split[torch.arange(n) % len(split)]
        return Given(None if self.labels is None else self.labels[indices], self.store, indices)

    def prepare(self) -> None:
        """Have everything about real examples that measuring takes, kept in the cache."""
        _ = self.reference, self.heldout
        if self.settings.metrics:
            _ = self.sides

    @cached_property
    def reference(self) -> tuple[Statistics, Spread]:
        """Statistics of the half that scores are taken against, and how varied it is."""

        def fit() -> dict[str, Any]:
            moments, some = self._fitted("rung")
            return {"statistics": tuple(moments), "spread": tuple(self._spread(some))}

        kept = self._kept(self.protocol.hash, fit)
        return Statistics(*kept["statistics"]), Spread(*kept["spread"])

    @cached_property
    def heldout(self) -> Statistics:
        """Statistics of what full measurements are taken against."""

        def fit() -> dict[str, Any]:
            return {"statistics": tuple(self._fitted(self.split)[0])}

        return Statistics(*self._kept(self.full_protocol.hash, fit)["statistics"])

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """Real examples that were held out, and those that D is shown, for the metrics."""
        heldout, shown = self.looked_at
        real, training = (
            self._side(
                normalise(self.store[indices]),
                features,
                None if self.labels is None else self.labels[indices],
            )
            for indices, features in ((heldout, self.seen[0]), (shown, self.seen[1]))
        )
        return real, training

    @property
    def looked_at(self) -> tuple[Tensor, Tensor]:
        """The indices of examples that were held out, and of those that D is shown, among which
        copies of them are looked for."""
        trained = self.shares.trained
        shown = self.indices("all") if trained is None else trained
        return self.indices(self.split)[:FULL], shown[:TRAINED]

    @cached_property
    def seen(self) -> tuple[Tensor, Tensor]:
        """The features (n, d) of both."""

        def fit() -> dict[str, Any]:
            found = zip(("heldout", "shown"), self.looked_at, strict=True)
            return {name: torch.cat(list(self._real(indices))) for name, indices in found}

        kept = self._kept(self._seen_name, fit)
        return kept["heldout"], kept["shown"]

    @property
    def has_seen(self) -> bool:
        """Whether they are kept, and need not be computed."""
        return self._path(self._seen_name).exists()

    @property
    def _seen_name(self) -> str:
        return f"{self.full_protocol.hash}-features"

    def nearest(self, samples: Tensor, n: int) -> Tensor:
        """The indices (m, n) of those training examples that are nearest to each of m samples in
        the features, the nearest first."""
        features = self.features(samples.to(self.device)).cpu()
        exact = "donot_use_mm_for_euclid_dist"
        apart = torch.cdist(features, self.seen[1], compute_mode=exact)
        return self.looked_at[1][apart.topk(n, largest=False).indices]

    def indices(self, split: Split) -> Tensor:
        """The examples of a split, in an order that the protocol's seed says."""
        if split == "all":
            return torch.cat([part for part in self.shares if part is not None])
        return self.shares.rung if split == "rung" else self.shares.heldout

    @cached_property
    def shares(self) -> Shares:
        """Which examples are for what."""
        return shares(len(self.store), self.settings)

    def _side(self, examples: Tensor, features: Tensor, labels: Tensor | None) -> Side:
        logits = self.features.logits(features.to(self.device))
        return Side(examples, features, labels, None if logits is None else logits.cpu())

    def _fitted(self, split: Split) -> tuple[Statistics, Tensor]:
        """The Gaussian of a split, and the features of some of its examples."""
        moments, some = Moments(), list[Tensor]()
        for features in self._real(self.indices(split)):
            moments.add(features)
            some += [features] if len(some) < ENOUGH else []
        return moments.statistics(), torch.cat(some).to(self.device)

    @torch.no_grad()
    def _real(self, indices: Tensor) -> Iterator[Tensor]:
        """Features of real examples in chunks (≤ 500, d), in the order of the indices."""
        for part in torch.split(indices, CHUNK):
            yield self.features(normalise(self.store[part].to(self.device))).cpu()

    def _path(self, name: str) -> Path:
        return self.cache / "references" / f"{name}.pt"

    def _kept(self, name: str, fit: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self._path(name)
        if not path.exists():
            save_whole(fit(), path)
        kept: dict[str, Any] = torch.load(path, weights_only=True)
        return kept

    def _spread(self, features: Tensor) -> Spread:
        shares = torch.zeros(0)
        if (logits := self.features.logits(features)) is not None:
            votes = logits.argmax(1)
            shares = torch.bincount(votes, minlength=logits.shape[1]).cpu() / len(votes)
        some = features[:NEIGHBOURS].double()
        return Spread(torch.pdist(some).mean().cpu(), some.std(0).mean().cpu(), shares)

    def _length(self, split: Split) -> int:
        return len(self.indices(split))

    def _words(self, split: Split) -> str:
        share = self.settings.held_out
        if share is None or split == "all":
            return SPLITS[split]
        return f"{SPLITS[split]} of the {share:g} that is never trained on"

    def _protocol(self, split: Split, fake: int, metrics: tuple[str, ...] = ()) -> Protocol:
        meta = self.store.meta
        return Protocol(
            metric=self.metric,
            features=self.settings.features,
            weights=self.features.fingerprint(),
            data=meta.digest[:12],
            shape=meta.shape,
            split=self._words(split),
            real=self._length(split),
            fake=fake,
            resize=self.features.resize,
            generator="as the tricks show it, in evaluation mode",
            seed=self.settings.seed,
            dtype="features float32, distance float64",
            metrics=metrics,
        )


def joined(sides: Sequence[Side]) -> Side:
    """Parts of a side as one."""
    labels = [side.labels for side in sides if side.labels is not None]
    logits = [side.logits for side in sides if side.logits is not None]
    return Side(
        torch.cat([side.examples for side in sides]),
        torch.cat([side.features for side in sides]),
        torch.cat(labels) if labels else None,
        torch.cat(logits) if logits else None,
    )


def _written(pick: Pick) -> str:
    knobs = pick.knobs.model_dump()
    return f"{pick.entry.name} {show(knobs)}" if knobs else pick.entry.name


def variety(fake: Spread, real: Spread) -> Variety:
    """How varied fakes are, beside real examples."""
    if not len(real.shares):
        return Variety(float(fake.distance / real.distance), float(fake.deviation / real.deviation))
    # Half a sample for every class keeps the divergence finite, whatever is missing.
    p, q = fake.shares + 0.5 / 1000, real.shares + 0.5 / 1000
    p, q = p / p.sum(), q / q.sum()
    return Variety(
        float(fake.distance / real.distance),
        float(fake.deviation / real.deviation),
        float((fake.shares * len(fake.shares) >= 0.1).float().mean()),
        int(fake.shares.argmax()),
        float((p * (p / q).log()).sum()),
    )


def metric_name(features: str, store: Store) -> str:
    """``fid_digits`` is the Fréchet distance in the features of a classifier of digits: never to be
    taken for FID."""
    return {
        "inception": "fid",
        "classifier": f"fid_{store.meta.name}",
    }.get(features, f"fid_{features}_{store.meta.name}")
