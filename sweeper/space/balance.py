"""A balanced design: rows in which every option of a choice stands equally often, and every range
is filled evenly, however many rows there are and whatever those before were."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.space.draw import Draw
from sweeper.space.holes import Float, Int

FEW = 8
"""So many values of a range, at most, are balanced one by one."""
FINEST = 1e-9
"""No part of a range is halved that is smaller than this share of it."""


class Row(Draw):
    """A draw of what the rows of a design so far lack most.

    A choice takes the option that stands least often among the ``rows`` that came to it; of those
    that are equal, one that stands least often beside what this row has already (so that choices
    are not mistaken for one another), else any. A range is halved, and its emptier half halved
    again, until nothing is in it: two to any power of rows are a Latin hypercube (McKay et al.
    1979). Where what is lacking most breaks laws, ``slack`` lets parts have so many rows more than
    others.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], source: random.Random, slack: int = 0
    ) -> None:
        super().__init__()
        self.rows = rows
        self.source = source
        self.slack = slack
        self._chosen: dict[str, Any] = {}

    def option(self, name: str, options: Sequence[Any]) -> Any:
        came = [row for row in self.rows if name in row]
        with_it = [[row for row in came if row[name] == option] for option in options]
        least = min(map(len, with_it)) + self.slack

        def lacks(index: int) -> tuple[int, int]:
            rows = with_it[index]
            return max(len(rows), least), 0 if self.slack else sum(map(self._agreement, rows))

        order = self.source.sample(range(len(options)), len(options))
        self._chosen[name] = options[min(order, key=lacks)]
        return self._chosen[name]

    def _agreement(self, row: Mapping[str, Any]) -> int:
        """In how many choices this row is as another."""
        return sum(name in row and row[name] == option for name, option in self._chosen.items())

    def number(self, name: str, hole: Float | Int) -> Any:
        values = hole.values()
        if values is not None and not hole.log and len(values) <= FEW:
            return self.option(name, values)
        inside = [hole.share(row[name]) for row in self.rows if name in row]
        low, width = 0.0, 1.0
        while inside and width > FINEST:
            width /= 2
            lower = [share for share in inside if share < low + width]
            more = 2 * len(lower) - len(inside)
            if self.source.random() < 0.5 if abs(more) <= self.slack else more > 0:
                low, inside = low + width, [share for share in inside if share >= low + width]
            else:
                inside = lower
        return hole.quantile(low + width * self.source.random())
