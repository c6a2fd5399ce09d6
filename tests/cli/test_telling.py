"""What takes long says how far it is, in the way that suits where it is read."""

from __future__ import annotations

import io
import sys
import time

import pytest

from sweeper.cli.telling import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "term", "said"),
    [
        (Terminal(), "xterm", "\rpacking: 1 of 2,000\rpacking: 2,000 of 2,000\n"),
        (Terminal(), "dumb", "packing (2,000)\n"),
        (io.StringIO(), "xterm", "packing (2,000)\n"),
    ],
    ids=["terminal", "dumb", "pipe"],
)
def test_progress_is_rewritten_only_where_a_line_can_be(
    monkeypatch: pytest.MonkeyPatch, out: io.StringIO, term: str, said: str
) -> None:
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("TERM", term)
    show = progress()
    show("packing", 1, 2000)
    show("packing", 2000, 2000)
    assert out.getvalue() == said


def test_what_is_soon_done_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", out := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    show = progress(2.0)
    show("drawing", 1, 3)
    assert out.getvalue() == ""
    clock[0] = 2.0
    show("drawing", 2, 3)
    show("drawing", 3, 3)
    assert out.getvalue() == "\rdrawing: 2 of 3\rdrawing: 3 of 3\n"
