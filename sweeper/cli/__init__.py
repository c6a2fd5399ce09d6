"""The command line. Nothing heavy is imported until a command runs, so that help is immediate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from sweeper.cli import generators, machines, results, spaces, stores, sweeps, trials
from sweeper.cli.telling import refuse

__all__ = ["app", "main", "refuse"]

app = typer.Typer(
    name="sweeper",
    help="Which losses, normalizations, update ratios and tricks train the best GAN on your data?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": sweeps.run,
    "plan": sweeps.plan,
    "sample": spaces.sample,
    "resume": sweeps.resume,
    "ablate": sweeps.ablate,
    "continue": sweeps.go_on,
    "stop": sweeps.stop,
    "new": spaces.new,
    "trial": trials.trial,
    "describe": trials.describe,
    "catalog": spaces.catalog,
    "verify": spaces.verify,
    "cite": spaces.cite,
    "status": results.status,
    "list": results.list_sweeps,
    "show": results.show,
    "report": results.report,
    "top": results.top,
    "effects": results.effects,
    "replay": results.replay,
    "compare": results.compare,
    "export": results.export,
    "evaluate": generators.evaluate,
    "generate": generators.generate,
    "inspect": generators.inspect,
    "logs": results.logs,
    "pull": results.pull,
    "sync": results.sync,
    "doctor": machines.doctor,
    "debug": trials.debug,
    "ui": results.ui,
}
for name, command in COMMANDS.items():
    app.command(name)(command)

cluster = typer.Typer(help="Clusters, as ray up makes them.", no_args_is_help=True)
cluster.command("check")(machines.check_cluster)
app.add_typer(cluster, name="cluster")

data = typer.Typer(help="Stores, as data sets are packed into.", no_args_is_help=True)
data.command("pack")(stores.pack_data)
data.command("info")(stores.data_info)
data.command("check")(stores.check_data)
app.add_typer(data, name="data")


def main() -> NoReturn:
    """Run a command. What a user did wrong is told in words, and never as a traceback."""
    try:
        app(standalone_mode=True)
    except Exception as error:
        sys.exit(refuse(error))
    sys.exit(0)
