"""Where a reader of the documents sits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.docs.documents import ROOT, marked, read


@pytest.fixture
def desk() -> Iterator[Path]:
    """A folder as the README's reader has it: the search spaces, what is kept, some photos."""
    folder = Path(tempfile.mkdtemp(prefix="swd-", dir="/tmp"))
    (folder / "search_spaces").symlink_to(ROOT / "search_spaces")
    (folder / "results").mkdir()
    (folder / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    (folder / "mine.py").write_text(marked(read("README.md"), "file: mine.py"))
    random = np.random.default_rng(0)
    for i in range(24):
        kind = folder / "photos" / ("dark", "light")[i % 2]
        kind.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 100, (40, 48, 3), np.uint8) + np.uint8(155 * (i % 2))
        Image.fromarray(pixels).save(kind / f"{i:02d}.png")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
