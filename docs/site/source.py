"""Pages that show a file as it is, or what is in a folder."""

from __future__ import annotations

from pathlib import Path

from links import ROOT
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound


def heading(path: str) -> str:
    """What a page about a file begins with; of a folder, it is the whole page."""
    lines = [f"# `{path}`", ""]
    if (ROOT / path).is_dir():
        lines += [f"- [`{file.name}`]({below})" for file, below in within(path)]
    return "\n".join(lines)


def within(path: str) -> list[tuple[Path, str]]:
    """The files of a folder, with their paths."""
    files = sorted(file for file in (ROOT / path).glob("[!._]*") if file.is_file())
    return [(file, f"{path}/{file.name}") for file in files]


def shown(path: str) -> str:
    """The lines of a file as HTML; the anchor of line 7 is ``L-7``."""
    text = (ROOT / path).read_text("utf-8")
    try:
        lexer = get_lexer_for_filename(path)
    except ClassNotFound:
        lexer = TextLexer()
    style = HtmlFormatter(cssclass="codehilite", linespans="L", linenos="inline")
    return str(highlight(text, lexer, style))


def lines(path: str) -> set[str]:
    """The anchors of its lines."""
    count = len((ROOT / path).read_text("utf-8").splitlines())
    return {f"L-{line}" for line in range(1, count + 1)}
