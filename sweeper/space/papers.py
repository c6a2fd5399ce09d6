"""The bibliography of the catalog, read."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

ENTRY = re.compile(r"^@\w+\{(?P<key>\w+),\n(?P<fields>.*?)^\}$", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)
ACCENTS = {"'": "\u0301", "`": "\u0300", '"': "\u0308", "^": "\u0302", "~": "\u0303"}
ACCENTS |= {"c": "\u0327", "v": "\u030c", "H": "\u030b", "k": "\u0328", "r": "\u030a"}
LETTERS = {
    r"\o": "ø",
    r"\O": "Ø",
    r"\l": "ł",
    r"\L": "Ł",
    r"\ss": "ß",
    r"\i": "ı",
    r"\ae": "æ",
    r"\aa": "å",
}
ACCENTED = re.compile(r"\\(?P<accent>['`\"^~]|[cvHkr](?=\{)|[cvHkr] )\{?(?P<letter>\\?[a-zA-Z])\}?")
LETTER = re.compile(r"(\\[a-zA-Z]+)(?:\{\}| |(?=\}))")
AUTHORS = 3
"""Authors that are named; of more, only the first is."""


@dataclass(frozen=True)
class Paper:
    """One entry of the bibliography, as it is written there and as it is read aloud."""

    key: str
    bibtex: str
    fields: dict[str, str]

    def __str__(self) -> str:
        title = unicode(self.fields["title"])
        end = "" if title.endswith(("?", "!")) else "."
        link = f" arXiv {self.fields['eprint']}." if "eprint" in self.fields else ""
        return f"{self.authors} ({self.fields['year']}). {title}{end}{link}"

    @property
    def authors(self) -> str:
        """The family names of its authors, or that of the first."""
        names = [name.partition(",")[0] for name in self.fields["author"].split(" and ")]
        if len(names) > AUTHORS:
            return f"{unicode(names[0])} et al."
        return " and ".join(filter(None, [", ".join(map(unicode, names[:-1])), unicode(names[-1])]))


@cache
def papers() -> dict[str, Paper]:
    """Every paper of the bibliography by its key."""
    text = files("sweeper.catalog").joinpath("papers.bib").read_text("utf-8")
    return {
        m["key"]: Paper(m["key"], m[0], dict(FIELD.findall(m["fields"])))
        for m in ENTRY.finditer(text)
    }


def unicode(text: str) -> str:
    """LaTeX's accents as letters, without its braces."""

    def accented(match: re.Match[str]) -> str:
        letter = match["letter"].removeprefix("\\")
        return unicodedata.normalize("NFC", letter + ACCENTS[match["accent"].strip()])

    text = ACCENTED.sub(accented, text)
    text = LETTER.sub(lambda match: LETTERS.get(match[1], match[0]), text)
    return re.sub(r"[{}]", "", text)
