"""Commands that run sweeps: plan, run, resume, continue, ablate, stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.options import (
    Address,
    Data,
    Earlier,
    Folder,
    Inline,
    Json,
    MaxGpus,
    Out,
    Seed,
    Set,
    Space,
    StorageUri,
    Tracking,
    Trials,
    Use,
)
from sweeper.cli.telling import announce, progress

if TYPE_CHECKING:
    from sweeper.sweep.plan import Plan


def run(
    context: typer.Context,
    space: Space,
    data: Data = None,
    trials: Trials = None,
    overrides: Set = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the results folder.", show_default="the space's")
    ] = None,
    out: Out = Path("results"),
    address: Address = None,
    inline: Inline = False,
    seed: Seed = None,
    json_lines: Json = False,
    tracking: Tracking = None,
    use: Use = None,
    max_gpus: MaxGpus = None,
    storage: StorageUri = None,
    earlier: Earlier = None,
) -> None:
    """Sweep a search space over a data set, in a new results folder."""
    if not inline:
        address = elsewhere(address, out, json_lines, lambda jobs: jobs.run_order(context))
    from sweeper.sweep.drive import How
    from sweeper.sweep.plan import Settings, prepare

    settings = Settings(
        space, data, tuple(overrides or ()), trials, seed, name, out, tuple(use or ()), earlier
    )
    if storage:
        from sweeper.sweep.storage import resolved

        storage = resolved(storage)
    plan = prepare(settings, progress())
    sweep(plan, How(inline, address, json_lines, tracking, max_gpus, storage))


def plan(
    space: Space,
    data: Data = None,
    trials: Trials = None,
    overrides: Set = None,
    out: Out = Path("results"),
    seed: Seed = None,
    use: Use = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Train a few trials for a minute, to say what it will cost."),
    ] = False,
    price: Annotated[
        float | None,
        typer.Option(min=0, help="With --probe: of an hour of this machine.", show_default="none"),
    ] = None,
) -> None:
    """Show what a sweep would do: data, protocol, dimensions, draws and rungs. Starts nothing."""
    if price is not None and not probe:
        raise typer.BadParameter("costs are told with --probe", param_hint="--price")
    from sweeper.sweep.plan import Settings, prepare
    from sweeper.sweep.preview import preview

    settings = Settings(
        space, data, tuple(overrides or ()), trials, seed, None, out, tuple(use or ())
    )
    shown = prepare(settings, progress())
    for line in preview(shown, told_costs(shown, price) if probe else ()):
        typer.echo(line)


def resume(
    context: typer.Context,
    folder: Folder,
    trials: Trials = None,
    address: Address = None,
    inline: Inline = False,
    json_lines: Json = False,
    tracking: Tracking = None,
    use: Use = None,
    max_gpus: MaxGpus = None,
    storage: StorageUri = None,
) -> None:
    """Finish a sweep that was interrupted, or extend one: nothing is lost, nothing is run twice."""
    if not inline:
        out = folder.resolve().parent
        address = elsewhere(address, out, json_lines, lambda jobs: jobs.resume_order(context))
    from sweeper.sweep.drive import How
    from sweeper.sweep.keeper import recover
    from sweeper.sweep.plan import reopen

    folder, storage = recover(folder, storage, announce(quiet=json_lines))
    how = How(inline, address, json_lines, tracking, max_gpus, storage)
    sweep(reopen(folder, trials, progress(), use or ()), how)


def ablate(
    context: typer.Context,
    folder: Folder,
    seeds: Annotated[int, typer.Option(min=2, help="Fresh seeds of each.")] = 3,
    to: Annotated[
        str | None, typer.Option(help="The baseline, by name.", show_default="the first")
    ] = None,
    trial: Annotated[
        str | None,
        typer.Option(help="Around which trial, such as t003.", show_default="the winner"),
    ] = None,
    address: Address = None,
    inline: Inline = False,
    json_lines: Json = False,
    tracking: Tracking = None,
    use: Use = None,
    max_gpus: MaxGpus = None,
    storage: StorageUri = None,
) -> None:
    """Take each choice of a sweep's winner back to the baseline in turn, on fresh seeds."""
    if not inline:
        out = folder.resolve().parent
        address = elsewhere(address, out, json_lines, lambda jobs: jobs.resume_order(context))
    from sweeper.sweep.ablation import ablating
    from sweeper.sweep.drive import How
    from sweeper.sweep.keeper import recover
    from sweeper.sweep.plan import reopen

    say = announce(quiet=json_lines)
    folder, storage = recover(folder, storage, say)
    how = How(inline, address, json_lines, tracking, max_gpus, storage)
    sweep(ablating(reopen(folder, None, progress(), use or ()), seeds, to, trial, say), how)


def go_on(
    folder: Folder,
    best: Annotated[int, typer.Option(min=1, help="How many of the best trials.")] = 1,
    budget: Annotated[
        str,
        typer.Option(
            metavar="10x|KIMG",
            help="How far: so many times the sweep's own budget, or a number of its own.",
        ),
    ] = "10x",
    afresh: Annotated[
        bool, typer.Option("--afresh", help="With new weights, and not from the checkpoints.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the results folder.", show_default="FOLDER-further"),
    ] = None,
    address: Address = None,
    inline: Inline = False,
    json_lines: Json = False,
    tracking: Tracking = None,
    use: Use = None,
    max_gpus: MaxGpus = None,
) -> None:
    """Train the best trials of a sweep further, in a new results folder beside it."""
    from sweeper.sweep.drive import How
    from sweeper.sweep.further import Further, further

    if not inline:
        address = elsewhere(address, folder.resolve().parent, json_lines, lambda jobs: jobs.here())
    asked = Further(folder, best, budget, afresh, name, tuple(use or ()))
    sweep(further(asked, progress()), How(inline, address, json_lines, tracking, max_gpus))


def stop(
    name: Annotated[
        str,
        typer.Argument(help="A sweep, such as ttur, or its results folder.", show_default=False),
    ],
    out: Out = Path("results"),
) -> None:
    """Have a sweep stop as on Ctrl-C, from another shell: it can be resumed."""
    from sweeper.sweep.stopping import stop as told

    raise typer.Exit(not told(name, out, typer.echo))


def elsewhere(address: str | None, out: Path, json_lines: bool, order: Callable[[Any], Any]) -> str:
    """Run a command on the cluster where it belongs, and leave with its exit code; or say which Ray
    of this machine it is for. ``order`` says what it is there, given the module for jobs."""
    from sweeper.sweep.where import reached

    say = announce(quiet=json_lines)
    with reached(address, say) as found:
        if found.dashboard is None:
            return found.place.address
        from sweeper.sweep import jobs

        raise typer.Exit(jobs.send(found, order(jobs), out, say, json_lines=json_lines))


def sweep(plan: Plan, how: Any) -> None:
    """Drive a sweep, write its report, print its answer, and leave with its exit code."""
    from rich.console import Console

    from sweeper.api import conduct
    from sweeper.ledger.ledger import Ledger
    from sweeper.report.ablation import ablation_json, ablation_lines
    from sweeper.sweep.drive import followed
    from sweeper.sweep.live import answer

    code = conduct(plan, how, announce(quiet=how.json_lines), progress())
    if code < 128 and not how.json_lines:
        ledger = Ledger(plan.folder, write=False)
        try:
            Console().print(answer(plan.plain(), ledger, followed(plan)), soft_wrap=True)
        finally:
            ledger.close()
    if plan.ablation is not None and code < 128:
        told = (
            [ablation_json(plan.folder)] if how.json_lines else ["", *ablation_lines(plan.folder)]
        )
        typer.echo("\n".join(told))
    raise typer.Exit(code)


def told_costs(plan: Plan, price: float | None) -> Iterator[str]:
    """What a sweep will cost, measured when it comes to that."""
    from sweeper.sweep.costs import costs

    yield from costs(plan, price, progress())
