"""The best trial of a sweep by itself, in a folder: what it is, and what it made."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sweeper.game import Known
from sweeper.ledger.names import format_score
from sweeper.space.source import InputError
from sweeper.sweep.generate import made
from sweeper.sweep.plan import brought_before
from sweeper.sweep.trained import Trained, trained
from sweeper.trial.portable import Plan, write_generator
from sweeper.trial.samples import triptychs

TRIAL, GENERATOR, SHEET, README = "trial.yaml", "generator.safetensors", "samples.png", "README.md"
SHOWN = 64
TOLD = "One that is told more takes it: `generator(z, label=…, source=…, reference=…, mask=…)`."


def export_best(
    folder: Path, into: Path, number: int | None = None, use: Sequence[Path] = ()
) -> Iterator[str]:
    """Write the best trial of a results folder, or the one of a number, into a folder of its own:
    the trial as YAML, its generator, a sheet of samples, and how to use them. Tells what it wrote.

    Raises InputError without such a trial, and where the folder is there and holds anything.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise InputError([f"what is exported goes into a new or empty folder, but got {into}"])
    (found,) = trained(folder, number, use)
    store = found.store()
    into.mkdir(parents=True, exist_ok=True)
    brought = written_use(folder, into, use)
    (into / TRIAL).write_text(as_yaml(found, brought), encoding="utf-8")
    state = found.state["best_generator"]
    write_generator(into / GENERATOR, Plan.of(found.trial, store), state)
    triptychs(*made(found, SHOWN, 0)).save(into / SHEET)
    (into / README).write_text(readme(found, store.meta.known, brought), encoding="utf-8")
    size = sum(tensor.numel() for tensor in state.values())
    yield f"wrote {found.record.name} ({format_score(found.record.score)}) to {into}:"
    yield f"  {TRIAL}  sweeper trial {into / TRIAL} trains it again"
    yield f"  {GENERATOR}  {size:,} numbers; sweeper.generator({str(into / GENERATOR)!r}) loads it"
    yield f"  {SHEET}  {SHOWN} samples"


def written_use(folder: Path, into: Path, use: Sequence[Path]) -> list[str]:
    """Write the files of techniques that a sweep was made with; their paths in the folder."""
    files = brought_before(folder, use)
    for used in files:
        path = into / used.stored
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(used.source, encoding="utf-8")
    return [used.stored for used in files]


def as_yaml(found: Trained, use: Sequence[str]) -> str:
    """A trial as ``sweeper trial`` takes it."""
    yaml, record = YAML(typ="safe"), found.record
    yaml.default_flow_style = False
    text = io.StringIO()
    text.write(f"# {record.name}: {format_score(record.score)}")
    text.write(
        f", held out {format_score(record.heldout)}\n" if record.heldout is not None else "\n"
    )
    tree: dict[str, Any] = {"use": list(use)} if use else {}
    yaml.dump(tree | found.trial.plain(), text)
    return text.getvalue()


def readme(found: Trained, known: Known, use: Sequence[str]) -> str:
    """How to use what was exported."""
    flags = "".join(f" --use {name}" for name in use)
    brought = f", use={list(use)!r}" if use else ""
    told = f"\n\n{TOLD}" if any(known) else ""
    return f"""\
# {found.record.name}

- `{TRIAL}`: all its settings. `sweeper trial {TRIAL}{flags}` trains it again.
- `{GENERATOR}`: its generator when it was best, in the safetensors format, of which any reader has
  the tensors by name. It needs sweeper to be installed, but neither the data nor Ray:

```python
import sweeper

generator = sweeper.generator("{GENERATOR}"{brought})  # a torch module, in evaluation mode
z = generator.latents(64, seed=0)  # (64, {found.trial.prior.make().size})
images = generator(z)  # in [-1, 1]
```{told}

- `{SHEET}`: {SHOWN} of its samples.
"""
