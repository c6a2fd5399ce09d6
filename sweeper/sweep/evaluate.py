"""Measuring generators after training, and images of other models, under one protocol."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from sweeper.catalog import families as of
from sweeper.catalog.datasets.example import Source
from sweeper.catalog.datasets.store import Store, normalise
from sweeper.config import Evaluation, Pick, Slot, problems_of
from sweeper.ledger.evaluations import add
from sweeper.ledger.names import format_score, lined
from sweeper.registry import nearest
from sweeper.space.source import InputError
from sweeper.space.use import bring
from sweeper.sweep.plan import Progress, choose_data, preset_of
from sweeper.sweep.trained import Trained, trained
from sweeper.trial.device import choose_device
from sweeper.trial.evaluate import Evaluator, Full
from sweeper.trial.loop import open_store
from sweeper.trial.samples import CHUNK
from sweeper.trial.split import Split

PAPERS = {"fid10k": 10_000, "fid50k": 50_000}
"""Protocols as papers have them: so many samples against all real examples, in Inception's
features."""


@dataclass(frozen=True)
class Asked:
    """What is to be measured, and how; None is what the protocol or the first sweep has."""

    what: tuple[Path, ...]
    data: str | None
    protocol: str
    metrics: tuple[str, ...] | None
    features: str | None
    weights: Path | None
    samples: int | None
    best: int
    out: Path
    use: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One generator, or one set of images, and what was found."""

    what: Path
    name: str
    full: Full


def evaluate(asked: Asked, progress: Progress, *, json_lines: bool) -> Iterator[str]:
    """Measure everything that is asked for under one protocol: a table, the best first, or a JSON
    line each. Raises InputError."""
    bring(asked.use)
    generators = {path: of_sweep(path, asked) for path in asked.what if is_sweep(path)}
    first = next((found[0] for found in generators.values()), None)
    data, store = real(asked, first, progress)
    settings, split = settings_of(asked, first, data)
    judge = evaluator(settings, split, data, store, asked.out / ".cache", progress)
    measured = list[Measured]()
    for n, path in enumerate(asked.what):
        progress("measuring", n, len(asked.what))
        if path in generators:
            measured += [of_generator(path, found, store, judge) for found in generators[path]]
        else:
            measured.append(of_images(path, store, judge))
    progress("measuring", len(asked.what), len(asked.what))
    rows = [row(found, judge) for found in measured]
    add(asked.out, rows)
    yield from json_rows(rows) if json_lines else table(measured, judge)


def is_sweep(path: Path) -> bool:
    """Whether a path is a results folder, or a trial's in one."""
    return (path / "sweep.json").is_file() or (path / "checkpoints").is_dir()


def of_sweep(path: Path, asked: Asked) -> list[Trained]:
    """The trials that a path names: the best of a results folder, or the one of a trial's."""
    if (path / "sweep.json").is_file():
        return trained(path, use=asked.use, n=asked.best)
    whole = path.resolve()
    if not whole.name.isdigit():
        raise InputError([f"a trial's folder is results/NAME/trials/NUMBER, but got {path}"])
    return trained(whole.parents[1], int(whole.name), asked.use)


def real(asked: Asked, first: Trained | None, progress: Progress) -> tuple[Pick, Store]:
    """The real examples: those that are asked for, or those of the first sweep."""
    if asked.data is None and first is None:
        law = "images are measured against real ones, which --data names"
        raise InputError([f"{law}, but there is neither that nor a sweep"])
    try:
        if asked.data is None and first is not None:
            return first.trial.data, first.store()
        pick = Slot(of.datasets).read(choose_data(str(asked.data), Path()))
        assert isinstance(pick, Pick)
        cache = asked.out / ".cache"
        return pick, open_store(pick, cache, lambda d, t: progress("packing images", d, t))
    except (ValueError, OSError) as error:
        raise InputError([f"--data: {error}"]) from None


def settings_of(asked: Asked, first: Trained | None, data: Pick) -> tuple[Evaluation, Split]:
    """The protocol that is asked for. Raises InputError for one that there is not."""
    changes: dict[str, Any] = {
        "features": asked.features,
        "weights": None if asked.weights is None else str(asked.weights),
        "full_samples": asked.samples,
        "metrics": None if asked.metrics is None else list(asked.metrics),
    }
    settings = named(asked.protocol, first, data)
    settings |= {k: v for k, v in changes.items() if v is not None}
    try:
        return Evaluation.model_validate(settings), "all" if asked.protocol in PAPERS else "heldout"
    except ValidationError as error:
        raise InputError(map(str, problems_of(error, Evaluation))) from None


def named(protocol: str, first: Trained | None, data: Pick) -> dict[str, Any]:
    """The settings that a protocol's name stands for: the papers', the first sweep's, or those of
    the data's preset."""
    if n := PAPERS.get(protocol):
        return {"features": "inception", "samples": n, "full_samples": n}
    if protocol == "full" and first is not None:
        return first.trial.evaluation.model_dump()
    if protocol == "full":
        preset = preset_of({data.entry.name: data.knobs.model_dump()})
        return dict(preset.tree["trial"]["evaluation"])
    known = ["full", *PAPERS]
    close = nearest(protocol, known)
    hint = f"; did you mean {close}?" if close else ""
    raise InputError([f"--protocol is one of {', '.join(known)}, but got {protocol!r}{hint}"])


def evaluator(
    settings: Evaluation,
    split: Split,
    data: Pick,
    store: Store,
    cache: Path,
    progress: Progress,
) -> Evaluator:
    def told(done: int, total: int) -> None:
        progress("training the classifier", done, total)

    try:
        return Evaluator(settings, data, store, cache, choose_device(), told, split)
    except ValueError as error:
        raise InputError([f"--features: {error}"]) from None


def of_generator(path: Path, found: Trained, store: Store, judge: Evaluator) -> Measured:
    """Measure a trained generator."""
    generator = found.generator(store).to(judge.device)
    full = judge.full(generator, found.trial.prior.make())
    return Measured(path, found.record.name, full)


def of_images(path: Path, store: Store, judge: Evaluator) -> Measured:
    """Measure images, made of the real ones' size as the real ones were."""
    source = images(path, store)
    wanted = judge.full_protocol.fake
    if len(source) < wanted:
        law = f"the protocol compares {wanted:,} samples"
        hint = f"--samples {len(source)} compares as many, of everything"
        raise InputError([f"{law}, but {path} holds {len(source):,}: {hint}"])
    try:
        full = judge.compared(chunks(source, wanted, store, judge.device))
    except (ValueError, OSError) as error:
        raise InputError([str(error)]) from None
    return Measured(path, path.name, full)


def images(path: Path, store: Store) -> Source | Store:
    """Other images, made of the real ones' size in the real ones' way. Raises InputError."""
    try:
        (name, knobs), *_ = choose_data(str(path), Path()).items()
        if name == "packed":
            other = Store(Path(knobs["path"]))
            if other.meta.shape != store.meta.shape:
                law = f"images are compared with others of their shape, {store.meta.shape}"
                raise InputError([f"{law}, but those of {path} have {other.meta.shape}"])
            return other
        channels, _, size = store.meta.shape
        resize = store.meta.recipe.get("resize", "crop")
        prepared = {"size": size, "channels": channels, "resize": resize}
        made: Source = of.datasets[name].make(**knobs, **prepared)
        len(made)
    except (ValueError, OSError) as error:
        raise InputError([str(error)]) from None
    return made


def chunks(
    found: Source | Store, n: int, store: Store, device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The first ``n`` images of some, as the networks see them, with their labels where the real
    ones have the same classes."""
    for start in range(0, n, CHUNK):
        indices = range(start, min(start + CHUNK, n))
        if isinstance(found, Store):
            raw, classes = found[torch.tensor(indices)], found.meta.class_names
            labels = None if found.labels is None else found.labels[list(indices)]
        else:
            examples, classes = [found[i] for i in indices], found.classes
            raw = torch.from_numpy(np.stack([e.image for e in examples]))
            labels = torch.tensor([e.label or 0 for e in examples])
        known = bool(classes) and classes == store.meta.class_names
        yield normalise(raw.to(device)), labels if known else None


def row(found: Measured, judge: Evaluator) -> dict[str, Any]:
    """What is kept of a measurement."""
    score, protocol = found.full.score, judge.full_protocol
    return {
        "at": round(time.time() * 1e6),
        "what": str(found.what),
        "name": found.name,
        "metric": protocol.metric,
        "score": score if math.isfinite(score) else None,
        "samples": protocol.fake,
        "protocol": protocol.hash,
        "protocol_text": json.dumps(protocol.plain()),
        **{f"metric.{k}": v for k, v in found.full.metrics.items()},
    }


def table(measured: Sequence[Measured], judge: Evaluator) -> Iterator[str]:
    """The measurements, the lowest distance first, and their protocol."""
    ranked = sorted(measured, key=lambda m: (not math.isfinite(m.full.score), m.full.score))
    names = sorted({name for m in measured for name in m.full.metrics})
    rows = [["rank", "what", "", judge.metric, *names]]
    for rank, m in enumerate(ranked, 1):
        values = [m.full.metrics.get(name) for name in names]
        shown = ["–" if v is None else f"{v:.4g}" for v in values]
        rows.append([str(rank), str(m.what), m.name, format_score(m.full.score), *shown])
    yield from lined(rows)
    protocol = judge.full_protocol
    yield f"\nprotocol {protocol.hash}"
    for name, value in protocol.plain().items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"  {name}: {text}"


def json_rows(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A JSON line a measurement."""
    for found in rows:
        yield json.dumps({"schema": 1, **found})
