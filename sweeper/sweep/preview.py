"""What a sweep would do, before it does anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeper.ledger.names import short_names
from sweeper.sweep.plan import DRAWS, Plan, some_draws


def preview(plan: Plan) -> Iterator[str]:
    """Dimensions, some draws, draws rejected and why, and rungs, in lines."""
    space = plan.space
    data = f"{plan.store.meta.name} ({len(plan.store):,} examples)"
    yield f"{space.name}: {plan.trials} trials on {data}, seed {plan.seed}"
    yield from (f"  {line}  (from the data's preset)" for line in plan.filled)
    yield f"\n{len(space.parameters)} dimensions"
    yield from (f"  {p['name']}: {describe(p)}" for p in space.parameters)
    yield f"\nbaselines, run in full: {', '.join(b.name for b in space.baselines) or 'none'}"
    rungs = ", ".join(f"{rung / 1000:g}" for rung in plan.rungs)
    yield f"rungs at {rungs} of {plan.horizon / 1000:g} kimg; the best 1/{plan.factor} go on"
    yield f"score: best {plan.metric} so far, protocol {plan.protocol_hash}"
    yield "\nsome draws"
    names = short_names([p["name"] for p in space.parameters])
    for params, _ in some_draws(plan, 5):
        yield "  " + "  ".join(
            f"{names[k]}={v:.3g}" if isinstance(v, float) else f"{names[k]}={v}"
            for k, v in params.items()
        )
    yield (
        f"\nof {DRAWS} draws {sum(plan.rejected.values())} laws were broken"
        if plan.rejected
        else f"\nall of {DRAWS} draws fit"
    )
    yield from (
        f"  {n:>3} times: {law}" for law, n in sorted(plan.rejected.items(), key=lambda kv: -kv[1])
    )
    if plan.warned:
        yield f"\nof {DRAWS} draws these are run with a warning"
    yield from (
        f"  {n:>3} times: {law}" for law, n in sorted(plan.warned.items(), key=lambda kv: -kv[1])
    )
    yield "\nnothing was started"


def describe(parameter: dict[str, Any]) -> str:
    """A dimension in words."""
    if parameter["kind"] == "choice":
        return "one of " + ", ".join(map(str, parameter["choices"]))
    kind = ("log " if parameter["log"] else "") + (
        "integer" if parameter["kind"] == "int" else "real"
    )
    return f"{kind} from {parameter['low']:g} to {parameter['high']:g}"
