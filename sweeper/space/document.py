"""A search space as it is written, beside its trial."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from sweeper.config import show


def fraction(value: Any) -> Any:
    """``1/9`` is the number it says."""
    try:
        return float(Fraction(value)) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        return value


def share(value: Any) -> Any:
    """``auto``, or how much of a GPU."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "auto" or (number and (0 <= value <= 1 or (value > 1 and value % 1 == 0))):
        return value
    law = "gpu must be auto or a number of at least 0, and whole above 1, but got {got}"
    raise PydanticCustomError("share", law, {"got": show(value)})


Share = Annotated[
    float | Literal["auto"],
    PlainValidator(share, json_schema_input_type=Annotated[float, Ge(0)] | Literal["auto"]),
]


class Settings(BaseModel):
    """Part of a search space beside the trial: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Search(Settings):
    """How holes are filled, how many trials there are, and the seed of it all."""

    method: Literal["tpe", "random"] = "tpe"
    trials: Annotated[int, Ge(1)] = 24
    seed: Annotated[int, Ge(0)] = 0


class Rungs(Settings):
    """Where ASHA judges: at ``first`` of the budget, and every ``factor`` times further, where one
    in ``factor`` goes on."""

    first: Annotated[
        float,
        BeforeValidator(
            fraction,
            json_schema_input_type=Annotated[float, Gt(0), Lt(1)]
            | Annotated[str, Field(pattern=r"^\s*\d+\s*/\s*\d+\s*$")],
        ),
        Field(gt=0, lt=1),
    ] = 1 / 9
    factor: Annotated[int, Ge(2)] = 3


class Budget(Settings):
    """How far a trial may go, on which axis, and where it is judged on the way.

    ``max`` holds unless the trial itself says ``horizon_kimg``, as one that was written down does.
    """

    axis: Literal["kimg"] = "kimg"
    max: Annotated[float, Gt(0)] | None = None
    rungs: Rungs = Rungs()


class Objective(Settings):
    """What is minimised. The data says in which features the Fréchet distance is taken."""

    metric: Literal["fid"] = "fid"
    mode: Literal["min"] = "min"


class Resources(Settings):
    """What one trial is given, and how many run at once: as many as there is room for, unless
    ``concurrent`` says how many, as it must where a cluster's largest size cannot be known.

    With several GPUs, as many processes train a trial together, its ranks, each with a GPU of its
    own; ``ranks`` says how many where there is none. They share the trial's CPUs.
    """

    cpu: Annotated[int, Ge(1)] = 1
    gpu: Share = "auto"
    concurrent: Annotated[int, Ge(1)] | None = None
    ranks: Annotated[int, Ge(1)] | None = None

    @property
    def processes(self) -> int:
        """How many processes train one trial together."""
        if self.ranks is not None or self.gpu == "auto":
            return self.ranks or 1
        return max(1, int(self.gpu))

    @model_validator(mode="after")
    def _a_gpu_for_each_rank(self) -> Resources:
        whole = 1 if self.gpu != "auto" and 0 < self.gpu < 1 else self.gpu
        if self.ranks is not None and whole not in ("auto", 0, self.ranks):
            raise PydanticCustomError(
                "ranks",
                "each rank has a GPU of its own, or none has, but got ranks {ranks} and gpu {gpu}",
                {"ranks": self.ranks, "gpu": show(self.gpu)},
            )
        return self


class Retries(Settings):
    """How often a trial is begun again from its newest checkpoint, by what ended it: it raised, its
    worker died, memory ran out, or it came to no measurement in time."""

    exception: Annotated[int, Ge(0)] = 0
    worker: Annotated[int, Ge(0)] = 3
    oom: Annotated[int, Ge(0)] = 1
    timeout: Annotated[int, Ge(0)] = 0


class Limits(Settings):
    """Where a sweep stops before all its trials have ended: after so many hours of a run, or GPU
    hours in all, or when so large a share of its trials has failed; and how many minutes a trial
    may take from one measurement to the next."""

    wall_hours: Annotated[float, Gt(0)] | None = None
    gpu_hours: Annotated[float, Gt(0)] | None = None
    failed_share: Annotated[float, Ge(0), Le(1)] | None = None
    trial_minutes: Annotated[float, Gt(0)] | None = None


class Document(Settings):
    """A search space: a trial with holes in it, and how to search it.

    ``use`` names Python files, beside this one, whose techniques it takes; each is run only where
    ``--use`` names it, too.
    """

    name: str = ""
    extends: str | None = None
    use: list[str] = []
    trial: dict[str, Any]
    constraints: list[str] = []
    baselines: list[dict[str, Any]] = []
    search: Search = Search()
    budget: Budget = Budget()
    objective: Objective = Objective()
    resources: Resources = Resources()
    retries: Retries = Retries()
    limits: Limits = Limits()
