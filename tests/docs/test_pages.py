"""Every command of the pages below docs/, typed in order by a reader who goes through them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.docs.documents import PAGES, ROOT, commands, fences, marked, read
from tests.docs.test_commands import typed

ORDER = ["tutorial.md", "howto/own_data.md", "howto/own_loss.md"]
"""Pages that come first, and in this order: later ones look at what these made."""

TINY = "--inline --set evaluation.samples=60 --set evaluation.full_samples=60"
SCRIPT = "docs/howto/from_python.md"
SHORTER = {
    "sweeper run mine.yaml": f"{TINY} --set budget.max=0.3",
    "sweeper resume results/mine --trials 10": "--inline",
    "sweeper trial mine.yaml --sample 3": "--set budget.max=0.3",
    "sweeper run search_spaces/ttur.yaml --data photos.store": (
        "--inline --trials 2 --set budget.max=0.3 --set evaluation.samples=20 --set confirm.top=0 "
        "--set architecture.dcgan.channels=4"
    ),
    "sweeper run tempered.yaml --use mine.py": (
        f"{TINY} --trials 2 --set budget.max=0.3 --set confirm.top=0"
    ),
    "sweeper run lin2018_ring.yaml": "--inline --set search.seeds=1 --set budget.max=9",
}
"""Commands that take minutes or a Ray, and what is added to make them short."""


CHECKOUT = [
    "cluster.yaml",
    "cluster",
    "sweeper",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements.lock",
    "requirements-uv.lock",
]
"""What a cluster is given of the project, in whose folder its reader therefore is."""


def ordered() -> list[Path]:
    first = [ROOT / "docs" / name for name in ORDER]
    return first + [page for page in PAGES if page not in first]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pages_from_first_to_last(desk: Path) -> None:
    for name in CHECKOUT:
        (desk / name).symlink_to(ROOT / name)
    lines = []
    for page in ordered():
        text = page.read_text("utf-8")
        for name in re.findall(r"<!-- file: (\S+) -->", text):
            (desk / name).write_text(marked(text, f"file: {name}"))
        lines += [f"{line} {SHORTER.get(line, '')}" for line in commands(text)]
    typed(lines, desk)
    script = "\n".join(code for kind, code in fences(read(SCRIPT)) if kind == "python")
    (desk / "page.py").write_text(script)
    assert "but results/nothing" in typed([f"{sys.executable} page.py"], desk)
    assert {"mine", "mine-2", "tempered", "ttur", "lin2018_ring"} <= {
        p.name for p in desk.glob("results/*")
    }
    assert (desk / "best.png").is_file()


def test_what_is_shortened_is_shown() -> None:
    shown = {command for page in PAGES for command in commands(page.read_text("utf-8"))}
    assert set(SHORTER) <= shown


def test_the_loss_of_the_page_is_that_of_the_readme() -> None:
    page = read("docs/howto/own_loss.md")
    assert marked(page, "file: mine.py") == marked(read("README.md"), "file: mine.py")
