"""Pictures of what the best generators of a sweep know: walks between latents, and the training
images that their samples are nearest to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sweeper.catalog.datasets.store import normalise
from sweeper.ledger.ledger import Record
from sweeper.sweep.generate import made, walk_for
from sweeper.sweep.logs import plan_of
from sweeper.sweep.mirror import stored_data
from sweeper.sweep.mlflow_models import chosen
from sweeper.sweep.plan import Progress, silent
from sweeper.sweep.trained import Trained, records_of, trained
from sweeper.sweep.undrawn import FOLDER
from sweeper.trial.device import choose_device
from sweeper.trial.evaluate import Evaluator
from sweeper.trial.samples import sheet

WALKS = 6
STEPS = 8
SAMPLES = 6
NEAREST = 5

Say = Callable[[str], None]


def draw(
    folder: Path,
    say: Say,
    progress: Progress = silent,
    *,
    cheaply: bool = False,
    use: Sequence[Path] = (),
) -> None:
    """Draw what is missing in the ``pictures`` of a results folder, for its best trial and its best
    baseline: ``tNNN_interpolation.png``, and ``tNNN_nearest.png``.

    ``cheaply`` draws only what takes no more than looking at: the data is packed here, and its
    features are known. Nothing is drawn of points. What goes wrong is told, and never raised.
    """
    try:
        if cheaply and not (folder.resolve().parent / stored_data(folder) / "meta.json").is_file():
            return
        for record in missing(folder):
            (found,) = trained(folder, record.number, use)
            drawn(folder, found, progress, cheaply=cheaply)
    except KeyboardInterrupt:
        say("pictures of the best are left out; sweeper report draws them")
    except (
        Exception
    ) as error:  # what they show was found and is kept, whether they are there or not
        say(f"no pictures of the best: {error}")


def missing(folder: Path) -> list[Record]:
    """The best trial of the search and the best baseline, of those that have ended, as far as they
    have no picture."""
    records = records_of(folder)
    best = [records[number] for number in chosen(plan_of(folder), records)]
    return [record for record in best if record.ended and not has_both(folder, record)]


def has_both(folder: Path, record: Record) -> bool:
    return all(place(folder, record, kind).exists() for kind in ("interpolation", "nearest"))


def place(folder: Path, record: Record, kind: str) -> Path:
    """Where a picture of a trial lies."""
    return folder / FOLDER / f"{record.name}_{kind}.png"


def drawn(folder: Path, found: Trained, progress: Progress, *, cheaply: bool) -> None:
    """Draw both pictures of a trial."""
    record, store = found.record, found.store()
    if len(store.meta.shape) != 3:
        return
    what = f"pictures of {record.name}"
    progress(what, 0, 2)
    way = walk_for(found.trial.prior)
    walked, _ = made(found, WALKS, 0, way, STEPS)
    said = f"{way.name}, {WALKS} walks of {STEPS} samples"
    save(sheet(walked, STEPS), place(folder, record, "interpolation"), said)
    progress(what, 1, 2)
    judge = Evaluator(found.trial.evaluation, found.trial.data, store, found.cache, choose_device())
    if judge.has_seen or not cheaply:
        samples, _ = made(found, SAMPLES, 0)
        among = len(judge.looked_at[1])
        if not judge.has_seen:
            progress("looking at training images", 0, among)
        near = judge.nearest(samples, NEAREST)
        shown = normalise(store[near.flatten()])
        said = f"each sample, and the {NEAREST} nearest of {among:,} training images"
        features = judge.settings.features
        nearest = place(folder, record, "nearest")
        save(beside(samples, shown), nearest, f"{said} in the features {features}")
    progress(what, 2, 2)


def beside(samples: Tensor, nearest: Tensor) -> Image.Image:
    """Samples in a column, and what is nearest to each in its row, a little apart."""
    left, right = sheet(samples, 1), sheet(nearest, NEAREST)
    gap = right.width // (4 * NEAREST)
    page = Image.new(right.mode, (left.width + gap + right.width, right.height), color="white")
    page.paste(left, (0, 0))
    page.paste(right, (left.width + gap, 0))
    return page


def save(picture: Image.Image, path: Path, said: str) -> None:
    """Write a picture that says what it is, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = PngInfo()
    about.add_text("Description", said)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        picture.save(draft, format="PNG", pnginfo=about)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
