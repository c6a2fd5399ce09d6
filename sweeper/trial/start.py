"""Starting from weights that were trained before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sweeper.config import Misfit, Problem, Start
from sweeper.game import Networks, Player
from sweeper.trial.checkpoint import Checkpoints


def start(networks: Networks, how: Start) -> dict[str, Any]:
    """Load a checkpoint's weights into the networks, and report what of it was taken.

    The report has, by player, the names of the weights that are ``taken``, ``missing`` in the
    checkpoint, ``extra`` there, and ``misshapen``. Raises Misfit when the checkpoint cannot be
    read, or all were to match and did not.
    """
    if how.checkpoint is None:
        return {}
    weights = read(Path(how.checkpoint))
    report: dict[str, Any] = {"checkpoint": how.checkpoint}
    for player in Player:
        own = {
            key if name == "main" else f"{name}.{key}": value
            for name, pair in networks.items()
            for key, value in pair.of(player).state_dict().items()
        }
        found = weights.get(str(player), {})
        shared = own.keys() & found.keys()
        misshapen = {name for name in shared if own[name].shape != found[name].shape}
        taken = shared - misshapen
        with torch.no_grad():
            for name in taken:
                own[name].copy_(found[name])
        report[str(player)] = {
            "taken": sorted(taken),
            "missing": sorted(own.keys() - found.keys()),
            "extra": sorted(found.keys() - own.keys()),
            "misshapen": sorted(misshapen),
        }
    if how.match == "all" and (odd := _odd(report)):
        law = f"every weight of {how.checkpoint} matches, but {odd}; match: some takes the rest"
        raise Misfit([Problem(("init_from", "checkpoint"), law)])
    if not any(report[str(player)]["taken"] for player in Player):
        law = f"no weight of {how.checkpoint} has the name and shape of one here"
        raise Misfit([Problem(("init_from", "checkpoint"), law)])
    return report


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report in words, one line for each player, and for each network that is looked
    through."""
    said = [
        f"{name} looks through {part['network']}, weights {part['hash']}"
        for name, part in report.items()
        if "network" in part
    ]
    for player in filter(report.__contains__, Player):
        part = report[str(player)]
        counts = f"{len(part['taken'])} weights taken"
        odd = [
            f"{len(part[kind])} {kind} ({', '.join(part[kind][:3])}{', …' * (len(part[kind]) > 3)})"
            for kind in ("missing", "extra", "misshapen")
            if part[kind]
        ]
        said.append(f"{player} from {report['checkpoint']}: {', '.join([counts, *odd])}")
    return said


def _odd(report: Mapping[str, Any]) -> str:
    found = [
        f"{kind} {player}.{name}"
        for player in Player
        for kind in ("missing", "extra", "misshapen")
        for name in report[str(player)][kind]
    ]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """The weights of each player's network in a checkpoint, or in the newest of a trial's folder.
    Raises Misfit when there is none."""
    where = ("init_from", "checkpoint")
    if path.is_dir():
        folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
        state = Checkpoints(folder).load()
        if state is None:
            raise Misfit([Problem(where, f"{path} has no sound checkpoint")])
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).partition("\n")[0] or "it is empty"
            law = f"{path} is not a file of weights: {reason}"
            raise Misfit([Problem(where, law)]) from None
    pairs: Any = state.get("gan", {}).get("networks") if "gan" in state else {"main": state}
    found: dict[str, dict[str, Tensor]] = {}
    for name, pair in pairs.items():
        for player in set(map(str, Player)) & pair.keys():
            prefix = "" if name == "main" else f"{name}."
            held = {f"{prefix}{key}": value for key, value in pair[player].items()}
            found[player] = found.get(player, {}) | held
    if not found:
        law = f"{path} holds the weights of a generator or a discriminator, by these names"
        raise Misfit([Problem(where, law)])
    return found
