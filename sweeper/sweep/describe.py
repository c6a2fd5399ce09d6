"""What the networks of a trial are made of, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from sweeper.catalog.datasets.store import Store, told_of
from sweeper.config import Misfit, Trial
from sweeper.game import Known
from sweeper.ledger.names import lined
from sweeper.space.source import InputError
from sweeper.space.use import bring
from sweeper.sweep.plan import Settings, plainest, space_of
from sweeper.sweep.single import chosen
from sweeper.trial.networks import probe
from sweeper.trial.summary import NetworkSummary, summaries

UNITS = ("B", "KiB", "MiB", "GiB")


def describe(settings: Settings, sample: int | None, *, as_json: bool) -> Iterator[str]:
    """The networks of the plainest trial of a file, or of a draw: a line a layer, and their sums.
    Of the data, one example is read. Raises InputError."""
    bring(settings.use)
    space, _ = space_of(settings)
    shape, known = examples_of(plainest(space))
    trial = chosen(space, sample, lambda trial: probe(trial, shape, known))
    try:
        networks = list(summaries(trial, shape, known))
    except Misfit as misfit:
        raise InputError(map(space.fault, misfit.problems)) from None
    if as_json:
        yield from (json.dumps(plain(network, trial)) for network in networks)
        return
    yield f"{space.name}: {trial.architecture.entry.name} for examples of {sized(shape)}"
    for network in networks:
        yield ""
        yield from told(network, trial.batch.size)
    total = sum(network.parameters for network in networks)
    held = sum(network.bytes for network in networks) * trial.batch.size
    yield f"\n{total:,} parameters in all; all outputs for a batch take {amount(held)}"


def examples_of(trial: Trial) -> tuple[tuple[int, ...], Known]:
    """The shape of a trial's examples, and what is known of each. Raises InputError where there is
    none to be read."""
    try:
        if trial.data.entry.name == "packed":
            meta = Store(Path(trial.data["path"])).meta
            return meta.shape, meta.known
        source = trial.data.make()
        arrays = source[0].arrays()
    except (ValueError, OSError) as error:
        raise InputError([f"--data: {error}"]) from None
    channels = {name: held.shape[0] for name, held in arrays.items()}
    return arrays["image"].shape, told_of(channels, len(source.classes), source.unpaired)


def told(network: NetworkSummary, batch: int) -> Iterator[str]:
    """A network as a table."""
    pair = "" if network.pair == "main" else f" of {network.pair}"
    frozen = network.parameters - network.trained
    still = f", {frozen:,} of them never trained" if frozen else ""
    yield f"{network.player}{pair}: {network.parameters:,} parameters{still}"
    rows = [["layer", "kind", "output", "parameters", f"batch of {batch}"]]
    for layer in network.layers:
        memory = amount(layer.bytes * batch)
        shape = "not called" if layer.shape is None else sized(layer.shape)
        rows.append([layer.name, layer.kind, shape, f"{layer.parameters:,}", memory])
    yield from (f"  {line}" for line in lined(rows))
    weights = 4 * network.parameters
    outputs = amount(network.bytes * batch)
    yield f"  weights {amount(weights)}, outputs for a batch of {batch} {outputs}"


def plain(network: NetworkSummary, trial: Trial) -> dict[str, object]:
    """A network as JSON has it."""
    return {
        "schema": 1,
        "pair": network.pair,
        "player": str(network.player),
        "parameters": network.parameters,
        "trained": network.trained,
        "batch": trial.batch.size,
        "bytes": round(network.bytes * trial.batch.size),
        "layers": [asdict(layer) for layer in network.layers],
    }


def sized(shape: Sequence[int]) -> str:
    """A shape as people write it; of a score, 1."""
    return "x".join(map(str, shape)) or "1"


def amount(size: float) -> str:
    """A number of bytes, with a unit that suits it."""
    power = 0
    while size >= 1024 and power < len(UNITS) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.3g} {UNITS[power]}" if size < 1000 else f"{size:.0f} {UNITS[power]}"
