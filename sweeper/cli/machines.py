"""Commands about machines and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import Address, AsJson, Out, StorageUri, Tracking


def doctor(
    address: Address = None,
    out: Out = Path("results"),
    storage: StorageUri = None,
    tracking: Tracking = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Remove what dead sweeps left in the temp folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Whether this machine is fit for a sweep, and what to do where it is not."""
    from sweeper.sweep.doctor import Machine, examine, told

    findings = list(examine(Machine(out, address, storage, tracking, fix)))
    typer.echo(told(findings, as_json=as_json))
    raise typer.Exit(any(finding.level == "fail" for finding in findings))


def check_cluster(
    file: Annotated[Path, typer.Argument(help="A cluster file, as for ray up.")] = Path(
        "cluster.yaml"
    ),
) -> None:
    """Whether ray up will take a cluster file, and the cluster work: nothing is started."""
    from sweeper.sweep.clusterfile import check, said

    typer.echo(f"{file}: {said(check(file))}")
