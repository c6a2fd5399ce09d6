"""What is installed from the source is whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.docs.documents import ROOT


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("sweeper", "search_spaces"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "sweeper").rglob("*.py")}
    spaces = {f"sweeper/{p.relative_to(ROOT)}" for p in (ROOT / "search_spaces").rglob("*.*")}
    others = {"sweeper/py.typed", "sweeper/catalog/papers.bib", "sweeper/report/page.html.j2"}
    assert modules | spaces | others <= inside
