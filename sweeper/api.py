"""Sweeps from Python: what the command line does, for notebooks and scripts.

``sweeper.run`` sweeps a search space, ``sweeper.load`` opens a results folder, and both give
``Results``. What a caller did wrong is an ``InputError``, which says what must hold.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from markupsafe import Markup
from rich.console import Console

from sweeper.ledger.ledger import Ledger, Record
from sweeper.ledger.redact import hide
from sweeper.report import ranking, text
from sweeper.report.page import write_report
from sweeper.space.source import InputError
from sweeper.sweep import pictures
from sweeper.sweep.answer import answer
from sweeper.sweep.drive import How, drive, followed
from sweeper.sweep.exported import export_best
from sweeper.sweep.generate import made
from sweeper.sweep.logs import plan_of
from sweeper.sweep.plan import Plan, Progress, Settings, prepare, silent
from sweeper.sweep.stopping import resume_line
from sweeper.sweep.storage import resolved
from sweeper.sweep.trained import Trained, ranked, records_of, trained
from sweeper.sweep.where import reached
from sweeper.trial.portable import Sampler
from sweeper.trial.samples import levels, triptychs

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

TOP = 5
"""Trials that a notebook shows of a sweep."""

Say = Callable[[str], None]


def run(
    space: str | Path,
    *,
    data: str | Path | None = None,
    trials: int | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    name: str | None = None,
    out: str | Path = "results",
    inline: bool = False,
    address: str | None = None,
    max_gpus: int | None = None,
    tracking: str | None = None,
    storage: str | None = None,
    earlier: str | Path | None = None,
    use: Sequence[str | Path] = (),
    quiet: bool = False,
) -> Results:
    """Sweep a search space over a data set, in a new results folder, as ``sweeper run`` does.

    ``space`` is a YAML file; ``data`` the name of a data set, or a path to images (digits, unless
    the space says otherwise); ``overrides`` sets what stands at some paths, as in
    ``{"batch.size": 32}``. The results folder is called ``name`` and made in ``out``. Trials run on
    the Ray at ``address`` (this machine's, unless it is given), holding at most ``max_gpus``; or
    ``inline``, one after another in this process, without Ray. ``tracking`` is the MLflow to write
    to, ``storage`` what every node reads and writes, ``earlier`` a results folder whose trials the
    sampler is shown, and ``use`` are files that register techniques. Nothing is told when it is
    ``quiet``.

    A sweep that is interrupted keeps what it has, and ``sweeper resume`` goes on with it.

    Raises InputError when anything is wrong with what was asked for, before anything is started;
    ClusterError for a Ray that cannot be used.
    """
    settings = Settings(
        Path(space),
        None if data is None else str(data),
        tuple(
            f"{path}={json.dumps(value, default=str)}" for path, value in (overrides or {}).items()
        ),
        trials,
        seed,
        name,
        Path(out),
        tuple(map(Path, use)),
        None if earlier is None else Path(earlier),
    )
    say: Say = (lambda line: None) if quiet else print
    told = contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext()
    with told:
        where = None if inline else of_this_machine(address, say)
        how = How(inline, where, False, tracking, max_gpus, resolved(storage) if storage else None)
        progress = lines(say)
        plan = replace(prepare(settings, progress), command=typed(settings, how))
        conduct(plan, how, say, progress)
    return Results(plan.folder, settings.use)


def load(folder: str | Path, *, use: Sequence[str | Path] = ()) -> Results:
    """The results of a sweep, finished or under way. ``use`` are files of techniques that it was
    made with, where it was brought from another machine. Raises InputError for a folder that is no
    sweep's."""
    results = Results(Path(folder), tuple(map(Path, use)))
    _ = results.records, results.plan
    return results


def of_this_machine(address: str | None, say: Say) -> str:
    """The Ray that a sweep is run on. Raises InputError for one that it would have to be sent
    to."""
    with reached(address, say) as found:
        if found.dashboard is None:
            return found.place.address
        law = "from Python a sweep runs on a Ray that this machine belongs to"
        behind = f"{found.place.address} is a cluster that sweeper run sends one to"
        raise InputError([f"address: {law}, but {behind}"])


def typed(settings: Settings, how: How) -> str:
    """A sweep as it is asked for on the command line."""
    flags = {
        "--data": settings.data,
        "--trials": settings.trials,
        "--seed": settings.seed,
        "--name": settings.name,
        "--out": None if settings.out == Path("results") else settings.out,
        "--from": settings.earlier,
        "--max-gpus": how.max_gpus,
    }
    words = ["sweeper", "run", str(settings.space)]
    for flag, value in flags.items():
        words += [] if value is None else [flag, str(value)]
    for flag, values in (("--set", settings.overrides), ("--use", settings.use)):
        words += [word for value in values for word in (flag, str(value))]
    return hide(shlex.join([*words, *(["--inline"] if how.inline else [])]))


def lines(say: Say) -> Progress:
    """Tells of long work once, when it begins."""
    begun = set[str]()

    def show(what: str, done: int, total: int) -> None:
        if what not in begun:
            begun.add(what)
            say(f"{what} ({total:,})")

    return show


@dataclass(frozen=True)
class Results:
    """What a results folder holds. Nothing is kept of it but the folder's name: a sweep under way
    may be looked at again and again."""

    folder: Path
    use: tuple[Path, ...] = ()

    @property
    def plan(self) -> dict[str, Any]:
        """What was planned: data, protocol, budget, rungs, seed, versions, as ``sweep.json`` has
        it."""
        return plan_of(self.folder)

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial: state, score, held-out score, and a column ``param.PATH`` for each thing
        that was searched, ``metric.NAME`` for each metric."""
        return self._table("trials")

    @property
    def measurements(self) -> pd.DataFrame:
        """A row a measurement: trial, images shown to D, score, seconds, and a column
        ``loss.PLAYER.TERM`` for each term of a loss."""
        return self._table("measurements")

    @property
    def verdicts(self) -> pd.DataFrame:
        """A row for all that a diagnostic said of a trial at a measurement."""
        return self._table("verdicts")

    @property
    def records(self) -> list[Record]:
        """The trials as the ledger has them, by number."""
        return records_of(self.folder)

    @property
    def ranking(self) -> list[TrialResult]:
        """The trials that have a score, best first, baselines among them: those that fresh seeds
        confirmed, then those that ran to the end."""
        return [self._of(record) for record in ranked(self.records, self.folder)]

    @property
    def best(self) -> TrialResult:
        """The first of the ranking. Raises InputError when no trial has a score."""
        if found := self.ranking:
            return found[0]
        raise InputError([f"the best trial is one that has a score, but none of {self.folder} has"])

    def trial(self, which: int | str) -> TrialResult:
        """The trial of a number, or a name such as ``t003``. Raises InputError."""
        records = self.records
        for record in records:
            if which in (record.number, record.name):
                return self._of(record)
        known = f"{records[0].name} to {records[-1].name}" if records else "none yet"
        raise InputError([f"a trial of {self.folder} is one of {known}, but got {which!r}"])

    def answer(self) -> str:
        """What the sweep found, as ``sweeper run`` says it at the end."""
        console = Console(file=io.StringIO(), width=100, color_system=None, force_terminal=False)
        ledger = Ledger(self.folder, write=False)
        try:
            with console.capture() as said:
                console.print(answer(self.plan, ledger, self.folder), soft_wrap=True)
        finally:
            ledger.close()
        return said.get()

    def report(self) -> Path:
        """Write ``report.html``, and return its path."""
        pictures.draw(self.folder, print, cheaply=True, use=self.use)
        return write_report(self.folder)

    def _table(self, name: str) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            raise InputError([f"a sweep writes {name}.parquet, but {self.folder} has none yet"])
        return pq.read_table(path).to_pandas()

    def _of(self, record: Record) -> TrialResult:
        return TrialResult(self.folder, record, self.use)

    def _repr_html_(self) -> str:
        """What a notebook shows: the answer, and the best trials."""
        sweep = ranking.load(self.folder)
        said = Markup("").join(Markup("<p>{}</p>").format(s) for s in ranking.sentences(sweep))
        names = [p["name"] for p in sweep.parameters]
        short = ranking.short_names(names)
        titles = ["trial", sweep.plan["metric"], "held out", *(short[name] for name in names)]
        rows = [
            [
                trial["baseline"] or trial["name"],
                text.score(trial["score"]),
                text.score(trial["heldout"]),
                *(text.value(ranking.value_of(trial, name)) for name in names),
            ]
            for trial in sweep.ranking[:TOP]
        ]
        return str(said + html_table(titles, rows))


@dataclass(frozen=True)
class TrialResult:
    """One trial of a sweep: what it is, what it came to, and its generator."""

    folder: Path
    record: Record
    use: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def number(self) -> int:
        return self.record.number

    @property
    def state(self) -> str:
        """``completed``, ``stopped``, ``diverged``, ``diagnosed``, ``failed``, or not ended yet."""
        return self.record.state

    @property
    def baseline(self) -> str | None:
        """The name of the baseline that it is, if it is one."""
        return self.record.baseline

    @property
    def params(self) -> dict[str, Any]:
        """What was searched, by path."""
        return dict(self.record.params)

    @property
    def config(self) -> dict[str, Any]:
        """The whole trial: ``sweeper trial`` takes it as YAML or JSON."""
        return dict(self.record.config)

    @property
    def score(self) -> float | None:
        """The best that was measured."""
        return self.record.score

    @property
    def heldout(self) -> float | None:
        """The same on latents and real examples that it was not chosen by; None unless the trial
        ran to the end."""
        return self.record.heldout

    @property
    def metrics(self) -> dict[str, float | None]:
        """What else was measured then, by name."""
        return dict(self.record.metrics)

    @cached_property
    def trained(self) -> Trained:
        """Its newest checkpoint. Raises InputError when there is none."""
        (found,) = trained(self.folder, self.number, self.use)
        return found

    @property
    def generator(self) -> Sampler:
        """A torch module that maps latents to images: the generator as it was when it was best.
        Raises InputError when no checkpoint is kept."""
        return self.trained.sampler(self.trained.store())

    def sample(self, n: int = 64, seed: int = 0) -> np.ndarray:
        """Samples as levels from 0 to 255 (n, h, w), or (n, h, w, 3) in colour; of points, (n, k)
        floats. They are those that ``sweeper generate`` draws with the seed. Raises InputError when
        no checkpoint is kept."""
        samples, _ = made(self.trained, n, seed)
        if samples.ndim != 4:
            return samples.numpy()
        images = levels(samples).permute(0, 2, 3, 1).numpy()
        return images[..., 0] if images.shape[-1] == 1 else images

    def sheet(self, n: int = 64, seed: int = 0) -> Image:
        """The same side by side, as a picture."""
        return triptychs(*made(self.trained, n, seed))

    def export(self, into: str | Path) -> Path:
        """Write the trial as YAML, its generator, and how to use them into a new folder, as
        ``sweeper export --best`` does. Raises InputError when no checkpoint is kept."""
        for _ in export_best(self.folder, Path(into), self.number, self.use):
            pass
        return Path(into)

    def _repr_html_(self) -> str:
        """What a notebook shows: the settings, and what it came to."""
        about = {"state": self.state, "score": self.score, "held out": self.heldout, **self.params}
        rows = [[name, text.value(value)] for name, value in about.items()]
        return str(html_table([self.baseline or self.name, ""], rows))


def html_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table of escaped text."""

    def row(tag: str, cells: Sequence[str]) -> Markup:
        shown = (Markup(f"<{tag}>{{}}</{tag}>").format(text.line(cell, 80)) for cell in cells)
        return Markup("<tr>{}</tr>").format(Markup("").join(shown))

    body = Markup("").join(row("td", cells) for cells in rows)
    return Markup("<table>{}{}</table>").format(row("th", titles), body)


def conduct(plan: Plan, how: How, say: Say, progress: Progress = silent) -> int:
    """Drive a sweep to its end, draw its pictures and write its report. Returns the exit code; what
    a sweep that was interrupted takes to go on is said.

    Raises what ``drive`` does.
    """
    trials = f"{plan.trials} trial{'s' * (plan.trials != 1)}"
    what = f"{trials} of {plan.space.name} on {plan.store.meta.name}"
    say(f"sweep {plan.name}: {what}, in {followed(plan)}")
    for line in plan.filled:
        say(f"  {line}")
    code = drive(plan, how, say)
    if code < 128:
        pictures.draw(plan.folder, say, progress)
    try:
        write_report(plan.folder)
    except OSError as error:  # the disk is full, say: what was found is told all the same
        say(f"no report.html: {error}; sweeper report {followed(plan)} writes it")
    if code >= 128:
        ledger = Ledger(plan.folder, write=False)
        try:
            say(resume_line(ledger, plan))
        finally:
            ledger.close()
    return code
