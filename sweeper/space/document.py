"""A search space as it is written, beside its trial."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from sweeper.problem import show


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
    """How holes are filled, how many trials there are, each on how many seeds, and the seed of it
    all. The first ``balanced`` share of the trials is a balanced design, from which effects are
    estimated."""

    method: Literal["tpe", "random", "sobol", "grid", "nsga2"] = "tpe"
    trials: Annotated[int, Ge(1)] = 24
    seed: Annotated[int, Ge(0)] = 0
    seeds: Annotated[int, Ge(1)] = 1
    balanced: Annotated[float, Ge(0), Le(1)] = 0.0

    @model_validator(mode="after")
    def _a_grid_is_balanced(self) -> Search:
        if self.method == "grid" and self.balanced:
            law = "a grid is balanced as it is, but got balanced {got} too"
            raise PydanticCustomError("balanced", law, {"got": show(self.balanced)})
        return self


class Confirm(Settings):
    """After the search the best ``top`` trials, and the baselines, are run in full on ``seeds``
    fresh seeds each; 0 of them leaves that out."""

    top: Annotated[int, Ge(0)] = 0
    seeds: Annotated[int, Ge(2)] = 3


def absent(value: Any) -> Any:
    """``none`` is nothing."""
    return None if value == "none" else value


class Plateau(Settings):
    """When a trial has converged, and ends: when its best score has fallen by less than a share
    ``tolerance`` of it in ``patience`` evaluations."""

    patience: Annotated[int, Ge(1)] = 3
    tolerance: Annotated[float, Ge(0), Lt(1)] = 0.01


class Rungs(Settings):
    """Where ASHA judges: at ``first`` of the budget, or after ``grace`` on its axis if that is
    given, and every ``factor`` times further, where one in ``factor`` goes on.

    A trial is judged among those that have the same choice ``by`` a path; none: among all. Unless
    it is said, that is the architecture where it is searched. On a ``plateau``, a trial ends, too.
    """

    first: Annotated[
        float,
        BeforeValidator(
            fraction,
            json_schema_input_type=Annotated[float, Gt(0), Lt(1)]
            | Annotated[str, Field(pattern=r"^\s*\d+\s*/\s*\d+\s*$")],
        ),
        Field(gt=0, lt=1),
    ] = 1 / 9
    grace: Annotated[float, Gt(0)] | None = None
    factor: Annotated[int, Ge(2)] = 3
    by: str | None = None
    plateau: Annotated[
        Plateau | None,
        BeforeValidator(absent, json_schema_input_type=Plateau | Literal["none"] | None),
    ] = None

    def begins(self, whole: float) -> float:
        """The share of a whole budget, on its axis, at which the first rung is."""
        return self.first if self.grace is None else self.grace / whole


Axis = Literal["kimg", "epochs", "d_steps", "g_steps"]
"""What a budget is counted in."""


def repeatable(value: Any) -> Any:
    """Anything but seconds."""
    if value == "seconds":
        law = (
            "a trial of so many seconds would be another on every machine and after every "
            "interruption: count in kimg, epochs, d_steps or g_steps"
        )
        raise PydanticCustomError("seconds", law)
    return value


class Budget(Settings):
    """How far a trial may go, on which axis, and where it is judged on the way. How many images
    that is follows from its own batch, packs and schedule; it is judged against others that have
    come as far on the axis.

    ``max`` holds unless the trial itself says ``horizon_kimg``, as one that was written down does.
    With ``rungs: none``, every trial goes all the way.
    """

    axis: Annotated[Axis, BeforeValidator(repeatable)] = "kimg"
    max: Annotated[float, Gt(0)] | None = None
    rungs: Annotated[
        Rungs | None,
        BeforeValidator(absent, json_schema_input_type=Rungs | Literal["none"]),
    ] = Rungs()

    @model_validator(mode="after")
    def _judged_on_the_way(self) -> Budget:
        grace = self.rungs.grace if self.rungs else None
        if grace is not None and self.max is not None and grace >= self.max:
            law = "the grace of a trial is shorter than its budget, but got grace {grace} of {max}"
            about = {"grace": show(grace), "max": show(self.max)}
            raise PydanticCustomError("grace", law, about)
        return self


COST = "cost"
"""What ``beside`` calls the seconds of a worker that a trial took."""


class Objective(Settings):
    """What is minimised. The data says in which features the Fréchet distance is taken.

    ``beside`` it, nsga2 looks for what a trial costs in seconds, and for how much of the data its
    samples cover, as ``evaluation.metrics`` measure it at the end.
    """

    metric: Literal["fid"] = "fid"
    mode: Literal["min"] = "min"
    beside: list[Literal["cost", "precision", "recall", "density", "coverage"]] = []


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


class Published(Settings):
    """A number that a paper has, and what it is of: the baseline of that ``name``, or the best
    trial that has all of a ``setting``, values by path, of which true is to have something there
    and false to have nothing. Of what no trial has, the report says that it was not run.

    ``deviation`` is over the paper's runs. Numbers of one ``metric`` and ``data`` are compared by
    their order, since the paper's data and protocol are rarely those of a sweep.
    """

    name: str
    setting: dict[str, bool | int | float | str] = {}
    data: str
    metric: str = "fid"
    value: float
    deviation: Annotated[float, Ge(0)] | None = None
    source: str


class Document(Settings):
    """A search space: a trial with holes in it, and how to search it.

    ``use`` names Python files, beside this one, whose techniques it takes; each is run only where
    ``--use`` names it, too. ``given`` are the first trials of the search, each by what it sets.
    """

    name: str = ""
    extends: str | None = None
    use: list[str] = []
    trial: dict[str, Any]
    constraints: list[str] = []
    baselines: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    published: list[Published] = []
    search: Search = Search()
    confirm: Confirm = Confirm()
    budget: Budget = Budget()
    objective: Objective = Objective()
    resources: Resources = Resources()
    retries: Retries = Retries()
    limits: Limits = Limits()
