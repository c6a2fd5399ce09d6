"""Where on the site a file of the project is, and links that lead there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages that are written elsewhere than in docs/."""
SOURCE = "source"
"""The pages that show what is no page itself: code, search spaces, files of clusters, folders."""
LINK = re.compile(r"(?P<text>\[[^\]]*\])\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"[a-z]+:")


def place(path: str) -> str:
    """The page of a file or folder, both as their paths: in the project, and on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return BESIDE.get(path, f"{SOURCE}/{path}.md")


def origin(page: str) -> str:
    """The folder of the project that the links of a page are written from."""
    if page.startswith(("catalog/", f"{SOURCE}/")):  # made as the site is built
        return ""
    written = {place(path): path for path in BESIDE}.get(page, f"docs/{page}")
    return posixpath.dirname(written)


def targets(text: str, folder: str) -> Iterator[str]:
    """The files and folders of the project that a text written in one of its folders links to."""
    for part in FENCED.split(text)[::2]:
        for match in LINK.finditer(part):
            if not ELSEWHERE.match(match["target"]):
                yield _resolved(match["target"], folder)


def rewritten(text: str, page: str, better: Callable[[str, str], str | None]) -> str:
    """A page's text with links as the site needs them; ``better`` may know a page for what a link
    says and the file it leads to."""
    folder, here = origin(page), posixpath.dirname(page)

    def led(match: re.Match[str]) -> str:
        if ELSEWHERE.match(match["target"]):
            return match[0]
        path = _resolved(match["target"], folder)
        there = better(match["text"].strip("[`]"), path) or place(path)
        return f"{match['text']}({posixpath.relpath(there, here)}{match['anchor'] or ''})"

    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(led, part) for part in parts[::2]]
    return "".join(parts)


def _resolved(target: str, folder: str) -> str:
    return posixpath.normpath(posixpath.join(folder, target))
