"""Commands about the stores that data sets are packed into."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import AsJson

StorePath = Annotated[Path, typer.Argument(metavar="STORE", show_default=False)]


def pack_data(
    source: Annotated[
        str, typer.Argument(help="A data set by name, or a path to images.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="STORE",
            help="The store to make.",
            show_default="SOURCE's name and .store",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=4, help="Side of the images in px.", show_default="what suits them, up to 64"
        ),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="1 is grey, 3 colour.", show_default="the set's")
    ] = None,
    resize: Annotated[
        str | None, typer.Option(metavar="MODE", help="How.", show_default="the set's")
    ] = None,
    codec: Annotated[
        str, typer.Option(help="raw, png or webp: how images lie in the store, without loss.")
    ] = "raw",
) -> None:
    """Pack images into a store, which trains faster. One that was killed is continued."""
    from sweeper.sweep.data import pack, wanted

    for line in pack(wanted(source, size, channels, resize, codec), output):
        typer.echo(line)


def data_info(
    store: StorePath,
    as_json: AsJson = False,
) -> None:
    """What a store holds, and how it was made."""
    from sweeper.sweep.data import info

    typer.echo(info(store, as_json=as_json))


def check_data(store: StorePath) -> None:
    """Read every record of a store, and compare it with what was packed."""
    from sweeper.sweep.data import look

    wrong = False
    for line in look(store):
        wrong = True
        typer.echo(line)
    if not wrong:
        typer.echo(f"{store}: every record is what was packed")
    raise typer.Exit(wrong)
