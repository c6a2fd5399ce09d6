"""Some draws of a search space, written down as trials."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ruamel.yaml import YAML

from sweeper.config import show
from sweeper.space.space import SearchSpace
from sweeper.space.use import bring
from sweeper.sweep.describe import examples_of
from sweeper.sweep.draws import Fits, draws
from sweeper.sweep.plan import Settings, plainest, space_of
from sweeper.trial.networks import probe


def written(space: SearchSpace, fits: Fits, n: int, folder: Path | None) -> Iterator[str]:
    """So many draws as YAML, each a trial as ``sweeper trial`` takes it: a document each; or a file
    each in a ``folder``, of which the path is told."""
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    used = [os.path.relpath(file, folder or ".") for file in space.source.tree.get("use", [])]
    for index, (params, trial) in enumerate(islice(draws(space, fits), n)):
        settings = ", ".join(f"{name}: {show(value)}" for name, value in params.items())
        text = io.StringIO(f"# draw {index} of {space.name}: {settings or 'nothing is searched'}\n")
        text.seek(0, io.SEEK_END)
        yaml.dump(({"use": used} if used else {}) | trial.plain(), text)
        if folder is None:
            yield f"---\n{text.getvalue()}".rstrip()
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{space.name}-{index}.yaml"
        path.write_text(text.getvalue(), encoding="utf-8")
        yield str(path)


def sampled(settings: Settings, n: int, folder: Path | None) -> Iterator[str]:
    """So many draws of the space that was asked for. Of the data, one example is read. Raises
    InputError."""
    bring(settings.use)
    space, _ = space_of(settings)
    shape, known = examples_of(plainest(space))
    return written(space, lambda trial: probe(trial, shape, known), n, folder)
