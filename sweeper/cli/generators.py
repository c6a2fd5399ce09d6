"""Commands that look at trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import Folder, Json, LatentsSeed, Out, TrialNumber, Use
from sweeper.cli.telling import progress


def evaluate(
    what: Annotated[
        list[Path],
        typer.Argument(
            help="Results folders, trials' folders, or images: folders, archives, packed stores.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="The real examples.", show_default="the first sweep's")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="full, as the sweep's own; or fid10k, fid50k, as papers have it.")
    ] = "full",
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics beside the distance, with commas.", show_default="the sweep's"),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="inception, classifier, random_conv, raw.", show_default="the protocol's"
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The file of Inception's.", show_default="torch's cache")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=2, help="How many.", show_default="the protocol's")
    ] = None,
    best: Annotated[int, typer.Option(min=1, help="How many trials of a sweep.")] = 1,
    out: Out = Path("results"),
    json_lines: Json = False,
    use: Use = None,
) -> None:
    """Measure trained generators, or other models' images, and rank them in one table."""
    from sweeper.sweep.evaluate import Asked, evaluate

    asked = Asked(
        tuple(what),
        data,
        protocol,
        None if metrics is None else tuple(filter(None, metrics.split(","))),
        features,
        weights,
        samples,
        best,
        out.resolve(),
        tuple(use or ()),
    )
    for line in evaluate(asked, progress(), json_lines=json_lines):
        typer.echo(line)


def generate(
    folder: Folder,
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples.")] = 64,
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture to write.")] = Path(
        "grid.png"
    ),
    number: TrialNumber = None,
    seed: LatentsSeed = 0,
    walk: Annotated[
        str | None,
        typer.Option(
            help="Rows that walk from one latent to another: slerp, lerp.", show_default="none"
        ),
    ] = None,
    interpolate: Annotated[
        bool,
        typer.Option("--interpolate", help="Rows that walk the way that suits the latents."),
    ] = False,
    steps: Annotated[int, typer.Option(min=2, help="How many samples a walk has.")] = 8,
    use: Use = None,
) -> None:
    """Sample from the best generator of a sweep."""
    from sweeper.sweep.generate import generate as sampled

    if interpolate:
        walk = walk or "auto"
    for line in sampled(folder, n, output, number, seed, walk, steps, tuple(use or ())):
        typer.echo(line)


def inspect(
    what: Annotated[
        Path,
        typer.Argument(
            help="A results folder, a trial's folder in it, or a checkpoint.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder to write pictures to.")
    ] = Path("inspection"),
    number: TrialNumber = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many examples.")] = 4,
    points: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            metavar="X,Y",
            help="Where attention looks from, as shares of width and height. Repeatable.",
            show_default="four places",
        ),
    ] = None,
    layers: Annotated[
        str,
        typer.Option(
            help="Whose activations to show, such as ups.*", show_default="the last of every size"
        ),
    ] = "",
    seed: LatentsSeed = 0,
    use: Use = None,
) -> None:
    """Look into trained networks: attention, activations, what moves D, and singular values."""
    from sweeper.sweep.inspect import Wanted
    from sweeper.sweep.inspect import inspect as looked

    wanted = Wanted(what, output, number, n, tuple(points or ()), layers, seed, tuple(use or ()))
    for line in looked(wanted):
        typer.echo(line)
