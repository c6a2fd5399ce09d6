"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
        help="A data set by name (digits, cifar10, …), a folder, archive or Parquet file of "
        "images, or a packed store.",
        show_default="digits",
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
Earlier = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FOLDER",
        help="Results of an earlier sweep, whose trials the sampler is shown.",
        show_default="none",
    ),
]
TrialFile = Annotated[
    Path, typer.Argument(help="A trial, or a search space to draw one from.", show_default=False)
]
Sample = Annotated[
    int | None, typer.Option(min=0, help="Which draw of a space.", show_default="its plainest")
]
Use = Annotated[
    list[Path] | None,
    typer.Option(
        "--use", metavar="FILE.py", help="Run a file that registers techniques. Repeatable."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
TrialName = Annotated[str, typer.Argument(help="A trial, such as t003.", show_default=False)]
TrialNumber = Annotated[
    int | None, typer.Option("--trial", min=0, help="Which trial.", show_default="the best")
]
LatentsSeed = Annotated[int, typer.Option(min=0, help="Seed of the latents.")]
