"""The command line. Nothing heavy is imported until a command runs, so that help is immediate."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from sweeper.sweep.plan import Plan

app = typer.Typer(
    name="sweeper",
    help="Which losses, normalizations, update ratios and tricks train the best GAN on your data?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cluster_app = typer.Typer(help="Clusters, as ray up makes them.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")

Space = Annotated[
    Path,
    typer.Argument(help="A search space, such as search_spaces/ttur.yaml.", show_default=False),
]
Folder = Annotated[
    Path, typer.Argument(help="A results folder, such as results/ttur.", show_default=False)
]
Data = Annotated[
    str | None,
    typer.Option(
        help="A data set by name, a folder of images, or a packed store.", show_default="digits"
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a path: --set batch.size=32. Repeatable."),
]
Trials = Annotated[
    int | None, typer.Option(min=1, help="How many trials in all.", show_default="the space's")
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Seed of the sweep.", show_default="the space's")
]
Out = Annotated[Path, typer.Option(help="Where results folders are made.")]
Inline = Annotated[
    bool, typer.Option("--inline", help="Without Ray: one trial after another, in this process.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Where to run: local; auto or HOST:PORT, a Ray that this machine belongs to; "
        "http://HOST:PORT, a cluster's dashboard.",
        show_default="RAY_ADDRESS, this machine's Ray, the cluster of ./cluster.yaml, else local",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON lines on standard output.")]
Tracking = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", help="The MLflow to write to.", show_default="a file beside the results"
    ),
]
MaxGpus = Annotated[
    int | None,
    typer.Option(min=1, help="Never hold more GPUs at once.", show_default="all there are"),
]
StorageUri = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URI",
        envvar="SWEEPER_STORAGE",
        show_envvar=False,
        help="A path or s3://BUCKET/FOLDER that every node reads and writes.",
        show_default="none: all nodes see the results",
    ),
]

Use = Annotated[
    list[Path] | None,
    typer.Option(
        "--use", metavar="FILE.py", help="Run a file that registers techniques. Repeatable."
    ),
]


@app.command()
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show dimensions, draws and rungs; start nothing.")
    ] = False,
) -> None:
    """Sweep a search space over a data set, in a new results folder."""
    if not (inline or dry_run):
        address = elsewhere(address, out, json_lines, lambda jobs: jobs.run_order(context))
    from sweeper.sweep.drive import How
    from sweeper.sweep.plan import Settings, prepare

    settings = Settings(
        space, data, tuple(overrides or ()), trials, seed, name, out, tuple(use or ())
    )
    if storage:
        from sweeper.sweep.storage import resolved

        storage = resolved(storage)
    plan = prepare(settings, progress())
    if dry_run:
        from sweeper.sweep.preview import preview

        for line in preview(plan):
            typer.echo(line)
        return
    sweep(plan, How(inline, address, json_lines, tracking, max_gpus, storage))


@app.command()
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


@app.command()
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


@app.command()
def trial(
    file: Annotated[
        Path,
        typer.Argument(help="A trial, or a search space to draw one from.", show_default=False),
    ],
    data: Data = None,
    overrides: Set = None,
    sample: Annotated[
        int | None, typer.Option(min=0, help="Which draw of a space.", show_default="its plainest")
    ] = None,
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


@app.command()
def catalog(
    name: Annotated[
        str | None, typer.Argument(help="A technique, such as r1_penalty.", show_default="all")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Of this family, such as losses.", show_default="all")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    use: Use = None,
) -> None:
    """What a trial can be made of: every technique, or all about one."""
    from sweeper.space import listing
    from sweeper.space.use import bring

    bring(use or ())
    found = [] if name is None else listing.found(name, family)
    if as_json:
        known = listing.described(family)
        shown = known if name is None else [item for item in known if item["name"] == name]
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    elif found:
        typer.echo("\n\n".join("\n".join(listing.whole(one)) for one in found))
    else:
        typer.echo("\n".join(listing.table(family)))


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Techniques to check.", show_default="all")
    ] = None,
    json_lines: Json = False,
    use: Use = None,
    science: Annotated[
        bool,
        typer.Option(
            "--science", help="Run the seeded studies instead, or those named: hours, resumable."
        ),
    ] = False,
    out: Out = Path("results"),
) -> None:
    """Check the mathematics of the catalog: closed forms, and contracts of your own techniques."""
    if science:
        from sweeper.verify.science import conduct

        for study in conduct(names or (), out.resolve(), announce(quiet=json_lines)):
            typer.echo(json.dumps(study) if json_lines else study["table"])
        return
    from sweeper.space.use import bring
    from sweeper.verify import run as suites

    used = bring(use or ())
    plan = suites.suite(names or ())
    say = announce(quiet=json_lines)
    if not json_lines:
        say(suites.heading(plan))
    findings = []
    for finding in suites.verify(plan, used):
        findings.append(finding)
        typer.echo(suites.as_json(finding) if json_lines else suites.line(finding, plan))
    for told in suites.summary(plan, findings):
        say(told)
    raise typer.Exit(not all(finding.ok for finding in findings))


@app.command()
def cite(file: Space, use: Use = None) -> None:
    """The BibTeX of everything that a trial or a search space uses."""
    from sweeper.space.listing import cited
    from sweeper.space.use import bring
    from sweeper.sweep.plan import Settings, reader

    bring(use or ())
    space, _ = reader(Settings(file, use=tuple(use or ())))(())
    typer.echo("\n".join(cited(space)).strip())


@app.command()
def report(folder: Folder) -> None:
    """Write report.html of a results folder: one file, readable offline."""
    from sweeper.report.page import write_report

    typer.echo(f"wrote {os.path.relpath(write_report(folder))}")


@app.command()
def top(
    folder: Folder,
    n: Annotated[int, typer.Option("-n", min=1, help="How many trials.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """The best trials of a sweep."""
    from sweeper.report.table import top_json, top_lines

    typer.echo(top_json(folder, n) if as_json else "\n".join(top_lines(folder, n)))


@app.command()
def generate(
    folder: Folder,
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples.")] = 64,
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture to write.")] = Path(
        "grid.png"
    ),
    number: Annotated[
        int | None, typer.Option("--trial", min=0, help="Which trial.", show_default="the best")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the latents.")] = 0,
    walk: Annotated[
        str | None,
        typer.Option(
            help="Rows that walk from one latent to another: slerp, lerp.", show_default="none"
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="How many samples a walk has.")] = 8,
    use: Use = None,
) -> None:
    """Sample from the best generator of a sweep."""
    from sweeper.sweep.single import generate as sampled

    for line in sampled(folder, n, output, number, seed, walk, steps, tuple(use or ())):
        typer.echo(line)


@app.command()
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


@app.command()
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
    typer.echo(f"wrote {os.path.relpath(write_report(folder))}")


@app.command()
def doctor(
    address: Address = None,
    out: Out = Path("results"),
    storage: StorageUri = None,
    tracking: Tracking = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Remove what dead sweeps left in the temp folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Whether this machine is fit for a sweep, and what to do where it is not."""
    from sweeper.sweep.doctor import Machine, examine, told

    findings = list(examine(Machine(out, address, storage, tracking, fix)))
    typer.echo(told(findings, as_json=as_json))
    raise typer.Exit(any(finding.level == "fail" for finding in findings))


@app.command()
def debug(
    folder: Folder,
    trial: Annotated[str, typer.Argument(help="A trial, such as t003.", show_default=False)],
    use: Use = None,
    post_mortem: Annotated[
        bool, typer.Option("--pdb", help="Open Python's debugger where it goes wrong.")
    ] = False,
) -> None:
    """Train a sweep's trial once more from its last checkpoint, to see again what went wrong."""
    os.environ["CUDA_LAUNCH_BLOCKING"] = "1"  # read when CUDA starts
    from sweeper.sweep.debug import debug as again

    raise typer.Exit(not again(folder, trial, typer.echo, use=use or (), post_mortem=post_mortem))


@app.command()
def ui(
    folder: Folder,
    port: Annotated[
        int | None, typer.Option(help="Port on the loopback.", show_default="5000, or a free one")
    ] = None,
) -> None:
    """Open the MLflow UI on a sweep's leaderboard and charts."""
    from sweeper.sweep.ui import serve

    serve(folder, port)


@cluster_app.command("check")
def check_cluster(
    file: Annotated[Path, typer.Argument(help="A cluster file, as for ray up.")] = Path(
        "cluster.yaml"
    ),
) -> None:
    """Whether ray up will take a cluster file, and the cluster work: nothing is started."""
    from sweeper.sweep.clusterfile import check, said

    typer.echo(f"{file}: {said(check(file))}")


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

    from sweeper.ledger.ledger import Ledger
    from sweeper.report.page import write_report
    from sweeper.sweep.drive import drive, followed
    from sweeper.sweep.live import answer
    from sweeper.sweep.stopping import resume_line

    say = announce(quiet=how.json_lines)
    what = f"{plan.trials} trials of {plan.space.name} on {plan.store.meta.name}"
    say(f"sweep {plan.name}: {what}, in {followed(plan)}")
    for line in plan.filled:
        say(f"  {line}  (from the data's preset)")
    code = drive(plan, how, say)
    write_report(plan.folder)
    ledger = Ledger(plan.folder, write=False)
    try:
        if code >= 128:
            say(resume_line(ledger, plan))
        elif not how.json_lines:
            Console().print(answer(plan.plain(), ledger, followed(plan)), soft_wrap=True)
    finally:
        ledger.close()
    raise typer.Exit(code)


def announce(*, quiet: bool) -> Callable[[str], None]:
    """Lines for people: on standard error when standard output is for machines."""
    return lambda line: typer.echo(line, err=quiet)


def progress() -> Callable[[str, int, int], None]:
    """Shows long preparations: one line, rewritten on a terminal, or one line each elsewhere."""
    begun: set[str] = set()

    def show(what: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= total else ""
            print(f"\r{what}: {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)
        elif what not in begun:
            print(f"{what} ({total:,})", file=sys.stderr, flush=True)
        begun.add(what)

    return show


def main() -> NoReturn:
    """Run a command. What a user did wrong is told in words, and never as a traceback."""
    try:
        app(standalone_mode=True)
    except Exception as error:
        sys.exit(refuse(error))
    sys.exit(0)


# By name, since the modules that define them are heavy.
EXPECTED = {
    "InputError": 2,
    "ForeignError": 4,
    "LedgerError": 4,
    "ClusterError": 4,
    "PagesError": 4,
    "StorageError": 4,
}


def refuse(error: Exception) -> int:
    """Tell of an error, and say which exit code it has."""
    from sweeper.ledger.redact import hide

    kinds = [kind.__name__ for kind in type(error).__mro__]
    code = next((EXPECTED[kind] for kind in kinds if kind in EXPECTED), None)
    if code is not None:
        ending = "\nnothing was started" if code == 2 else ""
        print(f"{hide(str(error))}{ending}", file=sys.stderr)
        return code
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="sweeper-", suffix=".log", delete=False) as file:
        file.write(hide("".join(traceback.format_exception(error))))
    print(
        f"error: {kinds[0]}: {hide(str(error))}\n"
        f"this is a fault of sweeper; its traceback is in {file.name}",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    main()
