"""Commands that read a results folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import AsJson, Folder, Out, Tracking, TrialName, TrialNumber, Use
from sweeper.cli.telling import PATIENCE, progress


def status(
    folder: Folder,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until nobody runs it any more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Where a sweep stands, from any shell: what runs, the best so far, the time left."""
    from rich.console import Console

    from sweeper.sweep import status as of

    if as_json:
        typer.echo(of.status_json(folder))
        return
    for line in (of.watch if watch else of.status)(folder, Console()):
        typer.echo(line)


def list_sweeps(
    folder: Annotated[Path, typer.Argument(help="A folder of results.")] = Path("results"),
    as_json: AsJson = False,
) -> None:
    """The sweeps of a folder of results, the latest first."""
    from sweeper.sweep.status import list_json, list_lines

    if as_json:
        typer.echo(list_json(folder, progress()))
    else:
        typer.echo("\n".join(list_lines(folder, progress())))


def show(folder: Folder, trial: TrialName, as_json: AsJson = False) -> None:
    """All about one trial: settings, scores, diagnoses, files, and what to do with it."""
    from sweeper.sweep.show import show as shown
    from sweeper.sweep.show import show_json

    typer.echo(show_json(folder, trial) if as_json else "\n".join(shown(folder, trial)))


def export(
    folder: Folder,
    what: Annotated[
        str, typer.Option(metavar="TABLE", help="trials, measurements or verdicts.")
    ] = "trials",
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="csv, json or parquet.",
            show_default="as -o ends, else csv",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write.", show_default="standard output"),
    ] = None,
    best: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead of a table, the best trial: its YAML, its generator, samples.",
            show_default="none",
        ),
    ] = None,
    number: TrialNumber = None,
    use: Use = None,
) -> None:
    """Write a table of a sweep for other programs, or its best trial for other code."""
    if best is not None:
        from sweeper.sweep.exported import export_best

        for line in export_best(folder, best, number, use or ()):
            typer.echo(line)
        return
    from sweeper.sweep.tabled import tabled

    tabled(folder, what, kind, output)


def report(folder: Folder) -> None:
    """Write report.html of a results folder: one file, readable offline."""
    from sweeper.report.page import write_report
    from sweeper.sweep.undrawn import undrawn

    if undrawn(folder):
        from sweeper.sweep.pictures import draw

        draw(folder, typer.echo, progress(), cheaply=True)
    typer.echo(f"wrote {os.path.relpath(write_report(folder, progress(PATIENCE)))}")


def top(
    folder: Folder,
    n: Annotated[int, typer.Option("-n", min=1, help="How many trials.")] = 10,
    as_json: AsJson = False,
) -> None:
    """The best trials of a sweep."""
    from sweeper.report.table import top_json, top_lines

    typer.echo(top_json(folder, n) if as_json else "\n".join(top_lines(folder, n)))


def effects(
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """What each choice does to the score, with 95 % intervals; what depends on what; what broke."""
    from sweeper.report.effects import effects_json, effects_lines

    typer.echo(effects_json(folder) if as_json else "\n".join(effects_lines(folder)))


def replay(
    recorded: Annotated[
        Path,
        typer.Argument(
            help="A results folder, or a CSV or Parquet file of curves: trial, images, score, and "
            "maybe seconds, state, param.PATH.",
            show_default=False,
        ),
    ],
    first: Annotated[
        list[str] | None,
        typer.Option(help="A first rung: --first 1/9. Repeatable.", show_default="1/9, 2/9, 1/3"),
    ] = None,
    grace: Annotated[
        list[float] | None, typer.Option(help="A first rung in thousands of images. Repeatable.")
    ] = None,
    factor: Annotated[
        list[int] | None,
        typer.Option(min=2, help="One in so many goes on. Repeatable.", show_default="2, 3, 4"),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Brackets by a choice, or none. Repeatable.", show_default="the sweep's"),
    ] = None,
    plateau: Annotated[
        list[str] | None,
        typer.Option(
            help="Evaluations and the share by which the score has to fall in them, as 3:0.01, or "
            "none. Repeatable.",
            show_default="none",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of a sweep.", show_default="as many as known")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time.", show_default="the sweep's")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Try settings of early stopping on curves that were recorded: compute saved against regret."""
    from sweeper.sweep.recorded import recorded as read
    from sweeper.sweep.replay import lines, plain, replays, settings

    known = read(recorded)
    tried = settings(known, first or (), grace or (), factor or (), by or (), plateau or ())
    n = trials or len(known.curves)
    found = replays(known, tried, n, concurrent or known.concurrent, seed)
    typer.echo(json.dumps(plain(known, found, n)) if as_json else "\n".join(lines(known, found, n)))


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Results folders, two or more.", show_default=False),
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many trials of each.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Rank the best trials of several sweeps, if they were measured under one protocol, and write a
    page of them into the folder of the first."""
    from sweeper.report.compare import compare_json, compare_lines

    typer.echo(compare_json(folders, n) if as_json else "\n".join(compare_lines(folders, n)))
    if not as_json:
        from sweeper.report.beside import write_comparison

        typer.echo(f"wrote {os.path.relpath(write_comparison(folders, n))}")


def logs(
    folder: Folder,
    trial: Annotated[
        str | None,
        typer.Argument(help="A trial, such as t003.", show_default="the sweep's own story"),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the trial, or the sweep, has ended.")
    ] = False,
) -> None:
    """What happened to a sweep, or the log that a trial's worker kept."""
    from sweeper.sweep.logs import logs as told

    for line in told(folder, trial, follow=follow):
        typer.echo(line)


def pull(
    name: Annotated[
        str, typer.Argument(help="A sweep, by its name or its id.", show_default=False)
    ],
    uri: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URI",
            help="The storage that it is in.",
            show_default="SWEEPER_STORAGE, or the head of ./cluster.yaml",
        ),
    ] = None,
    out: Out = Path("results"),
) -> None:
    """Bring a sweep's ledger, tables, report, samples and best checkpoints to this machine."""
    from sweeper.report.page import write_report
    from sweeper.sweep.pull import pull as brought

    folder = brought(name, uri, out, typer.echo)
    typer.echo(f"wrote {os.path.relpath(write_report(folder, progress(PATIENCE)))}")


def sync(folder: Folder, tracking: Tracking = None) -> None:
    """Tell MLflow what it lacks of a sweep, because it was down, say."""
    from sweeper.sweep.sync import sync as delivered

    raise typer.Exit(int(delivered(folder, tracking, typer.echo) > 0))


def ui(
    folder: Folder,
    port: Annotated[
        int | None, typer.Option(help="Port on the loopback.", show_default="5000, or a free one")
    ] = None,
) -> None:
    """Open the MLflow UI on a sweep's leaderboard and charts."""
    from sweeper.sweep.ui import serve

    serve(folder, port)
