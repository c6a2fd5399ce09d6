"""Commands that train or describe one trial in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import Data, Folder, Json, Out, Sample, Set, TrialFile, TrialName, Use
from sweeper.cli.telling import progress


def trial(
    file: TrialFile,
    data: Data = None,
    overrides: Set = None,
    sample: Sample = None,
    out: Out = Path("results"),
    json_lines: Json = False,
    use: Use = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Round by round, looking for what is not a number.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="With --debug: how many rounds.", show_default="all")
    ] = None,
) -> None:
    """Train one trial in this process, where a debugger can follow it."""
    if steps is not None and not debug:
        raise typer.BadParameter("rounds are counted with --debug", param_hint="--steps")
    if debug:
        os.environ["CUDA_LAUNCH_BLOCKING"] = "1"  # read when CUDA starts
    from sweeper.sweep.single import single

    for line in single(
        file,
        data,
        tuple(overrides or ()),
        sample,
        out.resolve(),
        progress(),
        json_lines=json_lines,
        use=tuple(use or ()),
        debug=debug,
        steps=steps,
    ):
        typer.echo(line)


def describe(
    file: TrialFile,
    data: Data = None,
    overrides: Set = None,
    sample: Sample = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, a line a network.")] = False,
    use: Use = None,
) -> None:
    """What the networks of a trial are made of: layers, shapes, parameters. Trains nothing."""
    from sweeper.sweep.describe import describe as told
    from sweeper.sweep.plan import Settings

    settings = Settings(file, data, tuple(overrides or ()), use=tuple(use or ()))
    for line in told(settings, sample, as_json=as_json):
        typer.echo(line)


def debug(
    folder: Folder,
    trial: TrialName,
    use: Use = None,
    post_mortem: Annotated[
        bool, typer.Option("--pdb", help="Open Python's debugger where it goes wrong.")
    ] = False,
) -> None:
    """Train a sweep's trial once more from its last checkpoint, to see again what went wrong."""
    os.environ["CUDA_LAUNCH_BLOCKING"] = "1"  # read when CUDA starts
    from sweeper.sweep.debug import debug as again

    raise typer.Exit(not again(folder, trial, typer.echo, use=use or (), post_mortem=post_mortem))
