"""What a sweep would do, before it does anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sweeper.ledger.names import short_names
from sweeper.sweep.plan import DRAWS, Plan, some_draws


def preview(plan: Plan, costs: Iterable[str] = ()) -> Iterator[str]:
    """Dimensions, some draws, draws rejected and why, and rungs, in lines, and ``costs`` below."""
    space = plan.space
    data = f"{plan.store.meta.name} ({len(plan.store):,} examples)"
    yield f"{space.name}: {plan.trials} trials on {data}, seed {plan.seed}"
    yield from (f"  {line}" for line in plan.filled)
    yield f"\n{len(space.parameters)} dimensions"
    yield from (f"  {p['name']}: {describe(p)}" for p in space.parameters)
    yield f"\nbaselines, run in full: {', '.join(b.name for b in space.baselines) or 'none'}"
    yield from phases(plan)
    yield rungs(plan)
    yield f"score: best {plan.metric} so far, protocol {plan.protocol.hash}"
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
    yield from costs
    yield "\nnothing was started"


def phases(plan: Plan) -> Iterator[str]:
    """What is run beside the search, and how many runs that makes."""
    search, confirm = plan.space.search, plan.space.confirm
    if search.seeds > 1:
        yield f"each trial is run on {search.seeds} seeds"
    if search.balanced:
        yield f"the first {search.balanced:.0%} of the search are a balanced design"
    if confirm.top:
        again = f"{confirm.seeds} fresh seeds each"
        yield f"then the best {confirm.top}, and the baselines, are run in full on {again}"
    if (runs := plan.agenda.runs) > plan.trials:
        yield f"{runs} runs in all"


def rungs(plan: Plan) -> str:
    """Where trials are stopped, and which."""
    whole, flat = f"{plan.horizon / 1000:g} kimg", plan.plateau
    ends = f", or until its score falls by less than {flat.tolerance:.2g} of it" if flat else ""
    ends += f" in {flat.patience} evaluations" if flat else ""
    if not plan.rungs:
        return f"no rungs: every trial goes on to {whole}{ends}"
    steps = ", ".join(f"{rung / 1000:g}" for rung in plan.rungs)
    among = f" of each {plan.space.brackets}" if plan.space.brackets else ""
    until = f", each to the next one{ends}" if flat else ""
    return f"rungs at {steps} of {whole}; the best 1/{plan.factor}{among} go on{until}"


def describe(parameter: dict[str, Any]) -> str:
    """A dimension in words."""
    if parameter["kind"] == "choice":
        return "one of " + ", ".join(map(str, parameter["choices"]))
    kind = ("log " if parameter["log"] else "") + (
        "integer" if parameter["kind"] == "int" else "real"
    )
    return f"{kind} from {parameter['low']:g} to {parameter['high']:g}"
