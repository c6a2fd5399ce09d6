"""Drivers of sweeps to be killed: a process that has imported everything, and forks for each.

It reads one order a line, as JSON, from standard input, and answers each with a line: the driver's
exit code, negative for a signal.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import mlflow
import mlflow.tracking._tracking_service.utils  # noqa: F401
import torch

from sweeper.sweep.drive import How, drive
from sweeper.sweep.plan import Settings, prepare, reopen
from tests.faults.deadly import deadly
from tests.sweep.plans import SMALL, SPACES


def driver(order: dict[str, Any]) -> int:
    """Run or resume a small sweep in this process, one trial at a time."""
    out = Path(order["out"])
    if at := order.get("kill"):
        deadly(*at)
    if order["resume"]:
        plan = reopen(out / "ttur", None)
    else:
        plan = prepare(
            Settings(SPACES / "ttur.yaml", "digits", SMALL, order["trials"], 0, None, out)
        )
    return drive(plan, How(inline=True), print)


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.flush()
        child = os.fork()
        if not child:
            with open(order["log"], "a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            try:
                code = driver(order)
            except BaseException:
                traceback.print_exc()
                code = 99
            sys.stdout.flush()
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
