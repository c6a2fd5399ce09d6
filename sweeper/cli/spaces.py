"""Commands about search spaces and what they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import Data, Json, Out, Set, Space, Use
from sweeper.cli.telling import announce


def new(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A space that comes with sweeper, such as ttur or papers/lin2018_ring.",
            show_default="lists them",
        ),
    ] = None,
) -> None:
    """Copy a search space that comes with sweeper into this folder, or list them all."""
    from sweeper.space.shelf import copy, listing

    for line in listing() if name is None else [f"wrote {copy(name, Path())}"]:
        typer.echo(line)


def sample(
    space: Space,
    data: Data = None,
    overrides: Set = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many draws.")] = 5,
    folder: Annotated[
        Path | None,
        typer.Option("--to", help="Write a file each into this folder.", show_default="none"),
    ] = None,
    use: Use = None,
) -> None:
    """Print some draws of a search space as trials, which sweeper trial runs."""
    from sweeper.sweep.plan import Settings
    from sweeper.sweep.sampling import sampled

    settings = Settings(space, data, tuple(overrides or ()), use=tuple(use or ()))
    for line in sampled(settings, n, folder):
        typer.echo(line)


def cite(file: Space, use: Use = None) -> None:
    """The BibTeX of everything that a trial or a search space uses."""
    from sweeper.space.listing import cited
    from sweeper.space.use import bring
    from sweeper.sweep.plan import Settings, space_of

    bring(use or ())
    space, _ = space_of(Settings(file, use=tuple(use or ())))
    typer.echo("\n".join(cited(space)).strip())


def catalog(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A technique, such as r1_penalty, or a family, such as normalization.",
            show_default="all",
        ),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Of this family, such as losses.", show_default="all")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    use: Use = None,
) -> None:
    """What a trial can be made of: every technique, or all about one, or one family."""
    from sweeper.space import listing
    from sweeper.space.use import bring

    bring(use or ())
    found = [] if name is None else listing.found(name, family)
    if as_json:
        known = listing.described(family)
        names = {one.name for one in found}
        shown = known if name is None else [item for item in known if item["name"] in names]
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    elif found:
        typer.echo("\n\n".join("\n".join(listing.whole(one)) for one in found))
    else:
        typer.echo("\n".join(listing.table(family)))


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
