"""What a sweep is to run next: the baselines, the search, and fresh seeds of the best. It is a
function of what was run so far, so that a sweep that goes on has the same agenda."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.ledger.confirmed import Run, confirmed, merits
from sweeper.ledger.ledger import Record, Role
from sweeper.space.document import Confirm, Search

if TYPE_CHECKING:
    from sweeper.space.space import SearchSpace


@dataclass(frozen=True)
class Due:
    """A trial to be made: why it is run, for which trial, and which of its kind it is."""

    role: Role
    of: int | None = None
    index: int = 0


AFTER: frozenset[Role] = frozenset({"confirm", "ablation"})
"""What is run after the search, in phases of that name."""


@dataclass(frozen=True)
class Ablation:
    """The trial ``of`` a number with what stands at each of some ``paths`` taken back to what a
    baseline has there, each on so many ``seeds``, one seed of each after the other; after as many
    earlier ablations' trials as ``since`` says."""

    of: int
    baseline: str
    seeds: int
    paths: tuple[str, ...]
    since: int = 0

    @classmethod
    def read(cls, plan: Mapping[str, Any]) -> Ablation | None:
        """That of a sweep, as ``sweep.json`` has it."""
        written = plan.get("ablation")
        return None if written is None else cls(**{**written, "paths": tuple(written["paths"])})

    @property
    def runs(self) -> int:
        return len(self.paths) * self.seeds

    def made(self, records: Sequence[Record]) -> int:
        """How many of its trials there are."""
        return sum(record.role == "ablation" for record in records) - self.since

    def path(self, index: int) -> str:
        """What is taken back in one of its trials."""
        return self.paths[index % len(self.paths)]


@dataclass(frozen=True)
class Told:
    """What ``sweep.json`` tells of a space that is of use here."""

    search: Search
    confirm: Confirm
    baselines: Sequence[str]
    given: Sequence[object] = ()


def planned(plan: Mapping[str, Any]) -> Agenda:
    """The agenda of a sweep that is only looked at."""
    search = Search(seeds=plan.get("seeds", 1))
    confirm = Confirm(**plan.get("confirm", {}))
    told = Told(search, confirm, plan.get("baselines", ()))
    return Agenda(told, int(plan["trials"]), Ablation.read(plan))


@dataclass(frozen=True)
class Agenda:
    """The order of a sweep of so many ``trials``, those of its search and the baselines."""

    space: SearchSpace | Told
    trials: int
    ablation: Ablation | None = None

    @property
    def runs(self) -> int:
        """How many trials there are in all, if none is left out."""
        ablated = self.ablation.since + self.ablation.runs if self.ablation else 0
        return self.trials * self.space.search.seeds + self._confirmations + ablated

    @property
    def _confirmations(self) -> int:
        """How many trials confirm others, if all do that may."""
        confirm, baselines = self.space.confirm, len(self.space.baselines)
        searched = max(self.trials - baselines, 0)
        best = min(confirm.top, searched) * confirm.seeds
        # A baseline was not chosen by its score, so that its own run counts as one of its seeds.
        fresh = confirm.seeds - self.space.search.seeds
        return best + (baselines * max(fresh, 0) if best else 0)

    def due(self, records: Sequence[Record]) -> Due | None:
        """The next trial to be made; None if there is none now, or none at all."""
        chosen = [record for record in records if record.of is None]
        again = Counter(record.of for record in records if record.role == "repeat")
        for record in chosen:
            if again[record.number] < self.space.search.seeds - 1:
                return Due("repeat", record.number, again[record.number])
        if len(chosen) < self.trials:
            return self._fresh(len(chosen))
        sure = self._confirmation(records)
        return sure if sure or self._open(records) else self._ablated(records)

    def _ablated(self, records: Sequence[Record]) -> Due | None:
        """The next choice of a winner to be taken back."""
        if self.ablation is None:
            return None
        made = self.ablation.made(records)
        return Due("ablation", self.ablation.of, made) if made < self.ablation.runs else None

    def _fresh(self, made: int) -> Due:
        baselines = len(self.space.baselines)
        if made < baselines:
            return Due("baseline", index=made)
        given, index = len(self.space.given), made - baselines
        rows = round(self.space.search.balanced * (self.trials - baselines - given))
        if given <= index < given + rows:
            return Due("balanced", index=index - given)
        return Due("search", index=index)

    def ahead(self, records: Sequence[Record]) -> dict[str, int]:
        """How many trials of each phase are to be made yet. Until it is known who is confirmed,
        they are as many as there may be."""
        searched = sum(record.role not in AFTER for record in records)
        search = max(self.trials * self.space.search.seeds - searched, 0)
        made = Counter(record.of for record in records if record.role == "confirm")
        wanted = self._wanted(records).items()
        if search or self._open(records):
            confirm = self._confirmations - sum(min(runs, made[n]) for n, runs in wanted)
        else:
            confirm = sum(max(runs - made[n], 0) for n, runs in wanted)
        ablation = self.ablation.runs - self.ablation.made(records) if self.ablation else 0
        return {"search": search, "confirm": confirm, "ablation": ablation}

    def _open(self, records: Sequence[Record]) -> set[int]:
        """The trials of the search and the baselines of which a run has not ended."""
        searched = (r for r in records if r.role not in AFTER and not r.ended)
        return {r.number if r.of is None else r.of for r in searched}

    def _wanted(self, records: Sequence[Record]) -> dict[int, int]:
        """Who is to be confirmed, on how many fresh seeds: those of whom that is certain, since too
        few trials of the search have yet to end to come before them all."""
        confirm = self.space.confirm
        if not self._confirmations:
            return {}
        unknown = self._open(records)
        rivals = sum(records[number].baseline is None for number in unknown)
        rivals += max(self.trials - sum(record.of is None for record in records), 0)
        known = [number for number in best(records, len(records)) if number not in unknown]
        wanted = dict.fromkeys(known[: max(confirm.top - rivals, 0)], confirm.seeds)
        ran = {r.number: self.space.search.seeds for r in records if r.baseline}
        return wanted | {number: max(confirm.seeds - runs, 0) for number, runs in ran.items()}

    def _confirmation(self, records: Sequence[Record]) -> Due | None:
        """The best on fresh seeds, one seed of each after the other."""
        made = Counter(record.of for record in records if record.role == "confirm")
        wanted = self._wanted(records)
        for index in range(self.space.confirm.seeds):
            for number, runs in wanted.items():
                if made[number] <= index < runs:
                    return Due("confirm", number, index)
        return None


def best(records: Sequence[Record], top: int) -> list[int]:
    """The trials of the search that are best by the mean of their runs' logarithms, best first.
    One of which a run broke is none of them."""
    known = merits(map(Run.tells, records))
    searched = [n for n in known if records[n].baseline is None]
    return sorted(searched, key=lambda number: (known[number], number))[:top]


def ordered(records: Sequence[Record], seeds: int) -> list[int]:
    """The trials of the search that count for something, best first: those that were confirmed, on
    so many fresh ``seeds``, by their fresh runs once all have ended, and the others by what the
    search knows."""
    fresh = confirmed(map(Run.tells, records), seeds)
    sure = fresh.order if fresh is not None and fresh.complete else ()
    first = [c.number for c in sure if c.baseline is None and c.mean is not None]
    return list(dict.fromkeys([*first, *best(records, len(records))]))
