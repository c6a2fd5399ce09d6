"""Feeding: in which order, in which range and from where real examples reach the networks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sweeper.catalog.datasets.crew import processes
from sweeper.catalog.datasets.store import Order, Store, normalise
from sweeper.config import Feeding
from sweeper.game import ALONE, Batch, Context, Ranks, derive

SHARE = 0.25
"""Of the memory that a device has free, what a data set may take to be kept there whole."""
AT_ONCE = 2**16
"""Bytes of examples in memory that are taken at a time: of tiny ones several batches, since each
would take as long as all of them."""
ENOUGH = 10_000
"""Examples that a mean and a deviation are taken of, where not all fit in memory."""

Indices = Callable[[int, int], Tensor]
"""The examples at so many positions, from one on."""


class Rows(NamedTuple):
    """Which examples are drawn: their indices (N,); those of their sources, where these belong to
    them by chance alone; and which of them are mirrored."""

    image: Tensor
    source: Tensor | None
    mirrored: Tensor | None

    def own(self, ranks: Ranks) -> Rows:
        """Those of one rank."""
        return Rows(
            ranks.own(self.image),
            None if self.source is None else ranks.own(self.source),
            None if self.mirrored is None else ranks.own(self.mirrored),
        )


def joined(parts: Sequence[Rows]) -> Rows:
    """All of them, one after another."""
    image, source, mirrored = zip(*parts, strict=True)
    return Rows(
        torch.cat(image),
        None if source[0] is None else torch.cat(source),
        None if mirrored[0] is None else torch.cat(mirrored),
    )


class Drawing:
    """What a trial draws at every position: a pure function of a seed and the position, however it
    is read."""

    def __init__(
        self, store: Store, settings: Feeding, seed: int, among: Tensor | None = None
    ) -> None:
        length = len(store) if among is None else len(among)
        some = chosen(length, settings.subset)
        if among is not None:
            some = among if some is None else among[some]
        labels = store.labels
        if settings.sampler == "balanced" and labels is not None:
            self.index: Indices = Balanced(labels if some is None else labels[some], seed)
        else:
            self.index = Order(length if some is None else len(some), seed)
        if some is not None:
            self.index = partial(_among, some, self.index)
        self.source: Indices | None = None
        if store.meta.unpaired and "source" in store.meta.fields:
            self.source = Order(length, derive(seed, "source"))
            if among is not None:
                self.source = partial(_among, among, self.source)
        self.mirrored: Indices | None = Coins(seed) if settings.mirror else None

    def __call__(self, position: int, n: int) -> Rows:
        return Rows(
            self.index(position, n),
            self.source and self.source(position, n),
            self.mirrored and self.mirrored(position, n),
        )


def chosen(length: int, share: float) -> Tensor | None:
    """The examples a share consists of, the same in every trial; larger shares hold smaller ones.
    None for all."""
    if share == 1:
        return None
    random = torch.Generator().manual_seed(derive(0, "subset"))
    return torch.randperm(length, generator=random)[: max(1, round(share * length))]


def _among(some: Tensor, index: Indices, position: int, n: int) -> Tensor:
    return some[index(position, n)]


class Blocks:
    """Numbers at positions, drawn a block at a time, each from a seed of its own."""

    size = 4096

    def __init__(self, seed: int, purpose: str) -> None:
        self.seed, self.purpose = seed, purpose
        self._number, self._block = -1, torch.empty(0)

    def __call__(self, position: int, n: int) -> Tensor:
        parts = list[Tensor]()
        while n > 0:
            number, offset = divmod(position, self.size)
            if number != self._number:
                random = torch.Generator().manual_seed(derive(self.seed, self.purpose, number))
                self._number, self._block = number, self.draw(random)
            parts.append(self._block[offset : offset + n])
            position, n = position + len(parts[-1]), n - len(parts[-1])
        return torch.cat(parts)

    def draw(self, random: torch.Generator) -> Tensor:
        raise NotImplementedError


class Coins(Blocks):
    """Whether the example at a position is mirrored."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, "mirror")

    def draw(self, random: torch.Generator) -> Tensor:
        return torch.rand(self.size, generator=random) < 0.5


class Balanced(Blocks):
    """Examples with a chance inverse to the frequency of their class: each class equally often."""

    def __init__(self, labels: Tensor, seed: int) -> None:
        super().__init__(seed, "balanced")
        self.by_class = labels.argsort(stable=True)
        counts = labels.bincount()
        self.counts = counts[counts > 0]
        self.starts = self.counts.cumsum(0) - self.counts

    def draw(self, random: torch.Generator) -> Tensor:
        which = torch.randint(len(self.counts), (self.size,), generator=random)
        within = torch.rand(self.size, generator=random, dtype=torch.float64) * self.counts[which]
        return self.by_class[self.starts[which] + within.long()]


@dataclass(frozen=True)
class Range:
    """How the levels of images, 0 to 255, and a mask's, are seen by networks.

    ``tanh``: in [-1, 1]; ``unit``: in [0, 1]; ``standardize``: with mean 0 and variance 1 in every
    channel over the data set, whose ``moments`` there are for each array. Points are as they are,
    and masks always in [0, 1].
    """

    name: str
    moments: Mapping[str, tuple[Tensor, Tensor]]

    def seen(self, raw: Tensor, field: str = "image") -> Tensor:
        """Raw examples as the networks see them."""
        if raw.dtype != torch.uint8:
            return raw
        if field == "mask" or self.name == "unit":
            return raw.float() / 255
        if self.name == "tanh":
            return normalise(raw)
        mean, deviation = (moment.to(raw.device) for moment in self.moments[field])
        return (raw.float() - mean) / deviation

    def shown(self, x: Tensor) -> Tensor:
        """Images as metrics, and people, see them: in [-1, 1]."""
        if x.ndim != 4 or self.name == "tanh":
            return x
        if self.name == "unit":
            return 2 * x - 1
        mean, deviation = (moment.to(x.device) for moment in self.moments["image"])
        return (x * deviation + mean) / 127.5 - 1

    def taken(self, x: Tensor | None, field: str) -> Tensor | None:
        """Images as metrics see them, in [-1, 1], as the networks do."""
        if x is None or x.ndim != 4 or self.name == "tanh":
            return x
        if self.name == "unit":
            return (x + 1) / 2
        mean, deviation = (moment.to(x.device) for moment in self.moments[field])
        return ((x + 1) * 127.5 - mean) / deviation

    def showing(self, generator: nn.Module) -> nn.Module:
        """A generator that is given images, and makes them, as they are shown."""
        return generator if self.name == "tanh" else Shown(generator, self)


class Shown(nn.Module):
    """A generator, seen from where its images are looked at."""

    def __init__(self, generator: nn.Module, range: Range) -> None:
        super().__init__()
        self.generator, self.range = generator, range

    def forward(self, z: Tensor, context: Context) -> Tensor:
        source = self.range.taken(context.source, "source")
        reference = self.range.taken(context.reference, "style")
        given = replace(context, source=source, reference=reference)
        return self.range.shown(self.generator(z, given))


def range_of(settings: Feeding, store: Store) -> Range:
    """The range in which the networks of a trial see a store's images."""
    if settings.pixel_range != "standardize":
        return Range(settings.pixel_range, {})
    images = [name for name, f in store.meta.fields.items() if len(f.shape) == 3 and name != "mask"]
    return Range("standardize", {name: moments(store, name) for name in images})


def moments(store: Store, field: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, (C, 1, 1): of all images, or of many where not all fit in
    memory."""
    every = 1 if store.fits else max(1, len(store) // ENOUGH)
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in torch.split(torch.arange(0, len(store), every), 1000):
        levels = store.read(part, field).double()
        count += levels.numel() // levels.shape[1]
        total = total + levels.sum((0, 2, 3))
        squares = squares + levels.square().sum((0, 2, 3))
    mean = total / count
    # A channel that never changes is only moved.
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    deviation = torch.where(deviation > 1e-3, deviation, 1.0)
    return mean.float()[:, None, None], deviation.float()[:, None, None]


class Feed:
    """Real examples, batch after batch, as the networks of a trial see them: all, or those
    ``among`` some indices.

    ``position`` is how many were drawn by all ranks, and all that is to be remembered to continue.
    A data set that fits is kept on the device; of another, processes read what comes next.
    """

    def __init__(
        self,
        store: Store,
        settings: Feeding,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
        among: Tensor | None = None,
    ) -> None:
        self.store, self.settings, self.seed = store, settings, seed
        self.device, self.ranks = device, ranks
        self.position = 0
        self.rows = Drawing(store, settings, seed, among)
        self.range = range_of(settings, store)
        fits = store.fits or device.type == "cuda"
        self.resident = fits and store.bytes <= SHARE * free(device)
        self._coming: Coming | None = None
        self._ready, self._due = deque[Batch](), (0, 0)

    def draw(self, n: int) -> Batch:
        """Of the next examples, those of this rank."""
        position, self.position = self.position, self.position + n
        if not self.resident:
            return self._seen(*self._next(position, n))
        if not self._ready or self._due != (position, n):
            self._ready = deque(self._several(position, n))
        self._due = self.position, n
        return self._ready.popleft()

    def _several(self, position: int, n: int) -> list[Batch]:
        """The next batches, as many as are taken at once."""
        count = max(1, AT_ONCE * len(self.store) // (n * self.store.bytes))
        begins = range(position, position + count * n, n)
        rows = joined([self.rows(begin, n).own(self.ranks) for begin in begins])
        return self._seen(rows, self._taken(rows)).parts(count)

    def peek(self, n: int) -> Batch:
        """The first examples of all, for all ranks the same; they are yet to be drawn."""
        rows = self.rows(0, n)
        return self._seen(rows, self._taken(rows) if self.resident else self._read(rows))

    @cached_property
    def whole(self) -> dict[str, Tensor]:
        """Every array of every example, and the labels, on the device."""
        store, every = self.store, range(len(self.store))
        held = {
            name: store.all(name) if store.fits else store.fetch(every, name)
            for name in store.meta.fields
        }
        if store.labels is not None:
            held["label"] = store.labels
        return {name: array.to(self.device) for name, array in held.items()}

    def _taken(self, rows: Rows) -> dict[str, Tensor]:
        index = rows.image.to(self.device, non_blocking=True)
        source = index if rows.source is None else rows.source.to(self.device, non_blocking=True)
        return {
            name: all[source if name == "source" else index] for name, all in self.whole.items()
        }

    def _read(self, rows: Rows) -> dict[str, Tensor]:
        return {name: x.to(self.device) for name, x in read(self.store, rows).items()}

    def _next(self, position: int, n: int) -> tuple[Rows, dict[str, Tensor]]:
        if self._coming is None or (self._coming.position, self._coming.n) != (position, n):
            self._coming = Coming(self, position, n)
        rows, raw = next(self._coming)
        return rows, {name: x.to(self.device, non_blocking=True) for name, x in raw.items()}

    def _seen(self, rows: Rows, raw: dict[str, Tensor]) -> Batch:
        label = raw.pop("label", None)
        seen = {name: self.range.seen(array, name) for name, array in raw.items()}
        if rows.mirrored is not None:
            which = rows.mirrored.to(self.device)[:, None, None, None]
            seen = {name: torch.where(which, x.flip(3), x) for name, x in seen.items()}
        return Batch(**seen, label=label)


def free(device: torch.device) -> int:
    """How many bytes a device has free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as file:
        said = dict(line.split(":") for line in file)
    return 1024 * int(said["MemAvailable"].split()[0])


def read(store: Store, rows: Rows) -> dict[str, Tensor]:
    """Examples from a store's file, raw."""
    index = rows.image.tolist()
    source = index if rows.source is None else rows.source.tolist()
    raw = {
        name: store.fetch(source if name == "source" else index, name) for name in store.meta.fields
    }
    labels = store.labels
    return raw if labels is None else raw | {"label": labels[rows.image]}


class Reading(Dataset[tuple[Rows, dict[str, Tensor] | str]]):
    """Batches of a store by what is drawn for them. What cannot be read is handed over in words."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getitem__(self, rows: Any) -> tuple[Rows, dict[str, Tensor] | str]:
        try:
            return rows, read(self.store, rows)
        except ValueError as error:
            return rows, str(error)


def as_made(made: Any) -> Any:
    return made


class Coming:
    """Batches of one size, read ahead by other processes: from ``position`` on, where the next one
    begins. Raises ValueError for a record that is damaged, and RuntimeError when a process dies."""

    def __init__(self, feed: Feed, position: int, n: int) -> None:
        self.position, self.n = position, n
        workers = feed.settings.workers
        loader: DataLoader[Any] = DataLoader(
            Reading(feed.store),
            batch_size=None,
            sampler=Ahead(feed, position, n),
            num_workers=workers,
            collate_fn=as_made,
            pin_memory=feed.device.type == "cuda",
            multiprocessing_context=processes() if workers else None,
            # Their seeds are the trial's, and none is drawn from a generator that it uses.
            generator=torch.Generator().manual_seed(derive(feed.seed, "workers", position)),
        )
        self._batches = iter(loader)

    def __next__(self) -> tuple[Rows, dict[str, Tensor]]:
        rows, raw = next(self._batches)
        if isinstance(raw, str):
            raise ValueError(raw)
        self.position += self.n
        return Rows(*rows), raw


class Ahead:
    """What is drawn for one batch after another, without end."""

    def __init__(self, feed: Feed, position: int, n: int) -> None:
        self.feed, self.position, self.n = feed, position, n

    def __iter__(self) -> Iterator[Rows]:
        position = self.position
        while True:
            yield self.feed.rows(position, self.n).own(self.feed.ranks)
            position += self.n
