"""The README's table of faults says of the stock stack what was observed of it."""

from __future__ import annotations

import re

from tests.docs.documents import ROOT, read

ROW = re.compile(r"^\| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
OBSERVED = ROOT / "results" / "reference" / "faults" / "README.md"


def test_what_it_says_was_observed() -> None:
    kept = dict(re.findall(r"^\| (.+) \| (.+) \|$", OBSERVED.read_text("utf-8"), re.MULTILINE))
    _, section = read("README.md").split("## When something breaks")
    _, *rows = ROW.findall(section.partition("\n## ")[0])
    assert {fault: stock for fault, stock, _ in rows} == {
        fault: stock
        for fault, stock in kept.items()
        if fault not in ("fault", "nothing") and "|" not in fault
    }
    assert all("](tests/" in ours for *_, ours in rows)
