"""One trial of a sweep: what it was, what came of it, where its files are, what to do with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.ledger.ledger import BROKEN, Event, Record
from sweeper.ledger.names import format_score, format_value, lined
from sweeper.sweep.agenda import ordered
from sweeper.sweep.answer import finite
from sweeper.sweep.board import Board, duration, kimg, noun, one_line
from sweeper.sweep.live import sparkline
from sweeper.sweep.logs import opened, plan_of, trial_of

WIDE = 60
"""Blocks of the curve, at most."""


def show(folder: Path, word: str) -> list[str]:
    """All about a trial of a results folder, in lines. Raises InputError and LedgerError."""
    with opened(folder) as ledger:
        board = Board(plan_of(folder), ledger)
        record = trial_of(word, ledger.records, folder)
        place = _place(board, record)
        parts = [
            list(_heading(board, record, place)),
            list(_settings(record)),
            list(_curve(board, record)),
            list(_beside(record)),
            list(_verdicts(record)),
            list(_files(folder, record)),
            list(_next(folder, record, place)),
        ]
    return "\n\n".join("\n".join(part) for part in parts if part).split("\n")


def show_json(folder: Path, word: str) -> str:
    """The same as JSON, with the whole configuration and every measurement."""
    with opened(folder) as ledger:
        board = Board(plan_of(folder), ledger)
        record = trial_of(word, ledger.records, folder)
        row = board[record.number]
        found = {
            "schema": 1,
            "trial": record.name,
            "number": record.number,
            "state": record.state,
            "reason": record.reason,
            "cause": record.cause,
            "role": record.role,
            "of": record.of,
            "baseline": record.baseline,
            "rank": _place(board, record),
            "metric": board.metric,
            "score": record.score,
            "heldout": record.heldout,
            "metrics": record.metrics,
            "images": record.step,
            "seconds": record.seconds,
            "attempts": record.attempts,
            "params": dict(row.params),
            "config": record.config,
            "warnings": record.warnings,
            "measurements": [_measurement(event) for event in record.measured],
            "files": [str(path) for path in _found(folder, record)],
        }
    return json.dumps(finite(found), indent=2, allow_nan=False)


def _measurement(event: Event) -> dict[str, Any]:
    about = {"images": event.step, "score": event.value, "decision": event.decision}
    return {**about, "at": event.at, "verdicts": event.verdicts}


def _place(board: Board, record: Record) -> int | None:
    """Its rank among those of the search, as ``sweeper continue`` counts them."""
    order = ordered(board.ledger.records, board.agenda.space.confirm.seeds)
    return order.index(record.number) + 1 if record.number in order else None


def _heading(board: Board, record: Record, place: int | None) -> Iterator[str]:
    row, words = board[record.number], [str(record.state)]
    if record.score is not None:
        at = f" at {kimg(record.best_step or 0)} kimg"
        words.append(f"{board.metric} {format_score(record.score)}{at}")
    if record.heldout is not None:
        words.append(f"held out {format_score(record.heldout)}")
    if place is not None:
        words.append(f"rank {place} of the search")
    yield f"{record.name}  {', '.join(words)}"
    yield f"      {_role(record)}"
    far = f"{kimg(record.step)} of {board.plan['horizon_kimg']:g} kimg"
    if row.come != record.step:
        far = f"{kimg(record.step)} kimg"
    spent = f"{duration(record.seconds)} of a worker, {noun(record.attempts, 'attempt')}"
    yield f"      {far}, {board.passed(row.come)} of {len(board.stages)} rungs, {spent}"
    if row.reason:
        yield f"      {row.reason}"
    yield from (f"      ! {one_line(warning)}" for warning in record.warnings)


def _role(record: Record) -> str:
    match record.role:
        case "baseline":
            return f"the baseline {one_line(record.baseline or '')}"
        case "balanced":
            return "a row of the balanced design"
        case "search":
            return "a proposal of the search"
        case "ablation":
            return f"t{record.of:03d} with a choice taken back"
    return f"t{record.of:03d} once more, on another seed"


def _settings(record: Record) -> Iterator[str]:
    if record.params:
        yield "tried"
        rows = [[f"  {name}", one_line(format_value(v))] for name, v in record.params.items()]
        yield from lined(rows)


def _curve(board: Board, record: Record) -> Iterator[str]:
    """The scores by budget: as blocks, and in numbers at the rungs."""
    known = [(p.step, p.value) for p in record.curve if p.value is not None]
    if not known:
        return
    yield f"{board.metric} by kimg"
    drawn = sparkline([value for _, value in known], WIDE)
    (first, start), (last, end) = known[0], known[-1]
    ends = f"{format_score(start)} at {kimg(first)}, {format_score(end)} at {kimg(last)}"
    yield f"  {drawn}  {ends}"
    rungs = {board.newly_passed(event): event for event in record.measured}
    rungs.pop(None, None)
    rows = [
        [f"  rung {rung}", f"{kimg(e.step)} kimg", format_score(e.value), str(e.decision)]
        for rung, e in rungs.items()
    ]
    yield from lined(rows) if rows else []


def _beside(record: Record) -> Iterator[str]:
    if record.metrics:
        yield "of the best checkpoint"
        rows = [[f"  {name}", format_score(value)] for name, value in record.metrics.items()]
        yield from lined(rows)


def _verdicts(record: Record) -> Iterator[str]:
    """What diagnostics warned of, since when, and their advice."""
    since: dict[str, tuple[int, dict[str, Any]]] = {}
    for event in record.measured:
        bad = {v["name"]: v for v in event.verdicts if v["level"] in ("warn", "fail")}
        since = {name: (since.get(name, (event.step, v))[0], v) for name, v in bad.items()}
    if since:
        yield "diagnoses"
    for name, (step, v) in since.items():
        yield f"  {v['level']} {name}, since {kimg(step)} kimg: {one_line(str(v['says']))}"
        yield f"    {one_line(str(v['advice']))}"


def _found(folder: Path, record: Record) -> list[Path]:
    """The files of a trial, those of its checkpoints and samples by budget."""
    place = folder / "trials" / f"{record.number:05d}"
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name != "owner")


def _files(folder: Path, record: Record) -> Iterator[str]:
    found = _found(folder, record)
    if not found:
        return
    yield "files"
    kinds: dict[Path, list[Path]] = {}
    for path in found:
        kinds.setdefault(path.parent, []).append(path)
    for parent, files in kinds.items():
        more = f"  the last of {len(files)}" if len(files) > 1 else ""
        shown = files[-1:] if parent.name in ("samples", "checkpoints") else files
        yield from (f"  {path}{more if len(shown) == 1 else ''}" for path in shown)


def _next(folder: Path, record: Record, place: int | None) -> Iterator[str]:
    """What to type next."""
    where = shlex.quote(str(folder))
    has = {path.parent.name for path in _found(folder, record)}
    pairs = []
    if record.attempts:
        pairs.append((f"sweeper logs {where} {record.name}", "what its worker wrote"))
    if record.state in BROKEN:
        pairs.append((f"sweeper debug {where} {record.name}", "see once more what went wrong"))
    if "checkpoints" in has:
        pairs.append((f"sweeper generate {where} --trial {record.number}", "samples of it"))
        pairs.append((f"sweeper inspect {where} --trial {record.number}", "into its networks"))
    if place is not None:
        others = " and those above it" if place > 1 else ""
        pairs.append((f"sweeper continue {where} --best {place}", f"train it{others} further"))
        pairs.append((f"sweeper ablate {where} --trial {record.name}", "what each choice does"))
    if pairs:
        yield "next"
        yield from lined([[f"  {command}", f"  # {why}"] for command, why in pairs])
