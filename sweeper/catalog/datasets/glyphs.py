"""Letters and digits, drawn from the fonts that ship with matplotlib."""

from __future__ import annotations

import colorsys
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from string import ascii_letters, ascii_uppercase, digits
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
from annotated_types import Ge, Le, MinLen
from PIL import Image, ImageFont, features
from PIL import __version__ as pillow

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.families import datasets
from sweeper.registry import Law

Font = Literal[
    "DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Oblique", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmti10", "cmss10", "cmtt10",
]  # fmt: skip
"""The text fonts of matplotlib, by their files: those that have all letters and digits."""

FONTS: tuple[Font, ...] = get_args(Font)
CONTENT: Font = "DejaVuSans"
"""The font that the content of a triple is written in."""

BOLD: dict[Font, Font] = {
    "DejaVuSans": "DejaVuSans-Bold",
    "DejaVuSans-Oblique": "DejaVuSans-BoldOblique",
    "DejaVuSansMono": "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique": "DejaVuSansMono-BoldOblique",
    "DejaVuSerif": "DejaVuSerif-Bold",
    "DejaVuSerif-Italic": "DejaVuSerif-BoldItalic",
    "STIXGeneral": "STIXGeneralBol",
    "STIXGeneralItalic": "STIXGeneralBolIta",
    "cmr10": "cmb10",
}
"""The bold face of each font that has one."""

CAPITAL, BASELINE, WIDEST = 0.54, 0.71, 0.74
"""How high a capital is, where it stands, and how wide a character may be, of the image's side."""

TURN, SHIFT, SCALE = math.radians(5), 0.025, 0.06
"""The largest jitter: an angle, a part of the image's side, and a part of the character's size."""

FINER = 2
"""Characters are turned at so many times the resolution, and then reduced."""

COARSER = 4
"""How many pixels of an image become one of its low resolution."""

INKED = 64
"""The level from which a pixel counts as ink: what is left of the thinnest strokes."""

HOLES, REACH, GAP = 2, (0.1, 0.2), 128
"""How many holes there are, how far they reach from their middles, of the image's side, and the
level inside."""

Task = Literal["plain", "thin_to_bold", "low_to_high", "holes_to_whole", "masks", "triples"]
SOURCES = ("thin_to_bold", "low_to_high", "holes_to_whole", "triples")
Colour = tuple[int, ...]
WHITE: Colour = (255, 255, 255)


@cache
def path_of(font: Font) -> Path:
    """Where a font's file is."""
    # Only drawing needs it, and the import is slow.
    import matplotlib

    return Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")


@cache
def faces() -> str:
    """Changes with the fonts, and with what draws them."""
    digest = hashlib.sha256(f"{features.version('freetype2')} {pillow}".encode())
    for font in FONTS:
        digest.update(path_of(font).read_bytes())
    return digest.hexdigest()[:12]


@cache
def opened(font: Font, capital: float) -> ImageFont.FreeTypeFont:
    """A font of the size at which its capitals are so many pixels high."""
    at = ImageFont.truetype(path_of(font), 1000, layout_engine=ImageFont.Layout.BASIC)
    _, top, _, _ = at.getbbox("H", anchor="ls")
    return at.font_variant(size=-1000 * capital / top)


@cache
def upright(font: Font, character: str, side: int) -> Image.Image:
    """A character in the middle of a square, on the line that all of its font stand on: its ink, of
    255 levels. What is too wide is condensed."""
    shape = opened(font, CAPITAL * side)
    left, top, right, bottom = shape.getbbox(character, anchor="ls")
    width, height = int(right - left), int(bottom - top)
    ink = Image.new("L", (width, height))
    mask = shape.getmask(character, mode="L")
    ink.paste(Image.frombytes("L", mask.size, bytes(mask)), (0, 0))
    if width > WIDEST * side:
        width = round(WIDEST * side)
        ink = ink.resize((width, height), Image.Resampling.LANCZOS)
    square = Image.new("L", (side, side))
    square.paste(ink, ((side - width) // 2, round(BASELINE * side + top)))
    return square


class Pose(NamedTuple):
    """How a character is turned (radians), how large it is, and where it is moved, in parts of the
    image's side."""

    angle: float = 0.0
    scale: float = 1.0
    right: float = 0.0
    down: float = 0.0

    @classmethod
    def random(cls, random: np.random.Generator, jitter: float) -> Pose:
        """Uniform within the largest jitter times ``jitter``."""
        turn, grow, right, down = jitter * random.uniform(-1, 1, 4)
        return cls(TURN * turn, 1 + SCALE * grow, SHIFT * right, SHIFT * down)


def drawn(font: Font, character: str, size: int, pose: Pose) -> np.ndarray:
    """The ink of a character: uint8 (H, W), 255 where a pixel is covered by it."""
    side = FINER * size
    middle, cos, sin = side / 2, math.cos(pose.angle), math.sin(pose.angle)
    # Pillow asks where each pixel comes from: back by the shift, the angle and the scale.
    a, b = cos / pose.scale, sin / pose.scale
    x, y = middle + side * pose.right, middle + side * pose.down
    back = (a, b, middle - a * x - b * y, -b, a, middle + b * x - a * y)
    turned = upright(font, character, side).transform(
        (side, side), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR
    )
    return np.asarray(turned.reduce(FINER))


def coloured(ink: np.ndarray, colour: Colour, paper: Colour) -> np.ndarray:
    """An image, uint8 (C, H, W), of ink of one colour on paper of another."""
    below, above = (np.array(level, float).reshape(-1, 1, 1) for level in (paper, colour))
    levels: np.ndarray = np.rint(below + (above - below) * (ink / 255)).astype(np.uint8)
    return levels


def colours(random: np.random.Generator, channels: int) -> tuple[Colour, Colour]:
    """Of ink and paper: white on black, or a dark or vivid colour on a pale one of another hue."""
    if channels == 1:
        return (255,), (0,)
    hue, apart, lightness = (
        random.uniform(0, 1),
        random.uniform(0.3, 0.7),
        random.uniform(0.18, 0.36),
    )
    return _rgb(hue + apart, lightness, 0.75), _rgb(hue, 0.9, 0.6)


def _rgb(hue: float, lightness: float, saturation: float) -> Colour:
    return tuple(round(255 * c) for c in colorsys.hls_to_rgb(hue % 1, lightness, saturation))


@dataclass(frozen=True)
class Sheet:
    """What one example is drawn from: a character, a font, and everything that was drawn by lot."""

    character: str
    font: Font
    size: int
    jitter: float
    pose: Pose
    colour: Colour
    paper: Colour
    other: str
    random: np.random.Generator

    def ink(self) -> np.ndarray:
        """The ink of the character: uint8 (H, W)."""
        return drawn(self.font, self.character, self.size, self.pose)

    def image(self) -> np.ndarray:
        """The character in its colours: uint8 (C, H, W)."""
        return coloured(self.ink(), self.colour, self.paper)


def plain(sheet: Sheet) -> Example:
    return Example(sheet.image())


def thin_to_bold(sheet: Sheet) -> Example:
    bold = replace(sheet, font=BOLD[sheet.font])
    return Example(bold.image(), source=sheet.image())


def low_to_high(sheet: Sheet) -> Example:
    image = sheet.image()
    channels, height, width = image.shape
    blocks = image.reshape(channels, height // COARSER, COARSER, width // COARSER, COARSER)
    low = np.rint(blocks.mean((2, 4))).astype(np.uint8)
    return Example(image, source=low.repeat(COARSER, 1).repeat(COARSER, 2))


def holes_to_whole(sheet: Sheet) -> Example:
    ink, image = sheet.ink(), sheet.image()
    inked = np.argwhere(ink >= INKED)
    mask = np.zeros((1, *ink.shape), np.uint8)
    for _ in range(HOLES):
        middle = inked[sheet.random.integers(len(inked))]
        reach = np.rint(sheet.size * sheet.random.uniform(*REACH, 2)).astype(int)
        top, left = np.maximum(middle - reach, 0)
        bottom, right = middle + reach
        mask[0, top:bottom, left:right] = 255
    return Example(image, source=np.where(mask, np.uint8(GAP), image), mask=mask)


def masks(sheet: Sheet) -> Example:
    return Example(
        sheet.image(), mask=np.where(sheet.ink() >= INKED, 255, 0).astype(np.uint8)[None]
    )


def triples(sheet: Sheet) -> Example:
    content = replace(sheet, font=CONTENT, colour=WHITE[: len(sheet.colour)], paper=(0,)).image()
    pose = Pose.random(sheet.random, sheet.jitter)
    style = replace(sheet, character=sheet.other, pose=pose).image()
    return Example(sheet.image(), source=content, style=style)


TASKS: dict[Task, Callable[[Sheet], Example]] = {
    "plain": plain,
    "thin_to_bold": thin_to_bold,
    "low_to_high": low_to_high,
    "holes_to_whole": holes_to_whole,
    "masks": masks,
    "triples": triples,
}


@datasets.register(
    provides={
        "images",
        "labels",
        *(Law("source", when=f"task == {task}") for task in SOURCES),
        *(Law("mask", when=f"task == {task}") for task in ("holes_to_whole", "masks")),
        Law("style", when="task == triples"),
    }
)
class Glyphs(Synthetic):
    """Letters and digits in 21 fonts, slightly turned, moved and scaled; no download.

    They are drawn from the text fonts that ship with matplotlib, white on black, or, with
    ``channels: 3``, in colours. The label is the character, or, with ``label: font``, its font.
    ``characters`` and ``fonts`` say which there are: a later test on those that were left out
    sees what a network makes of characters or fonts that it does not know. ``jitter`` is a part of
    5 degrees, 2.5 % of the side and 6 % of the size, the most that one is turned, moved and scaled.

    ``task`` says what each example holds beside its image and label: nothing (plain); as its
    source, the same character in the font's thin face (thin_to_bold), in blocks of 4 px
    (low_to_high), or with holes, in grey, and their mask (holes_to_whole); the mask of its ink
    (masks); or (triples), as its source, its content, the same character in DejaVu Sans, white on
    black, and as its style another character in the same font and colours.

    Example i is of character i mod C and font (i div C) mod F, of C characters and F fonts, so all
    pairs are equally frequent. Raises ValueError where no font has a bold face, where there are too
    few characters for the task, or where the size does not divide into blocks.
    """

    name = "glyphs"

    def __init__(
        self,
        *,
        size: Annotated[int, Ge(16), Le(128)] = 32,
        channels: Literal[1, 3] = 1,
        task: Task = "plain",
        label: Literal["character", "font"] = "character",
        characters: Annotated[str, MinLen(1)] = ascii_uppercase + digits,
        fonts: Annotated[tuple[Font, ...], MinLen(1)] = FONTS,
        jitter: Annotated[float, Ge(0), Le(1)] = 1.0,
        length: Annotated[int, Ge(1)] = 15_120,
        seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.size, self.channels, self.task, self.label = size, channels, task, label
        self.characters, self.jitter, self.length, self.seed = characters, jitter, length, seed
        self.fonts = tuple(font for font in fonts if task != "thin_to_bold" or font in BOLD)
        if odd := sorted(set(characters) - set(ascii_letters + digits)):
            raise ValueError(f"characters are letters and digits, but got {''.join(odd)!r}")
        if len(set(characters)) < len(characters):
            raise ValueError(f"each character is named once, but got {characters!r}")
        if task == "triples" and len(characters) < 2:
            raise ValueError("a style is seen on another character, but there is one alone")
        if task == "low_to_high" and size % COARSER:
            raise ValueError(f"size divides into blocks of {COARSER} px, but got {size}")
        if not self.fonts:
            thin = ", ".join(BOLD)
            raise ValueError(f"thin_to_bold takes fonts that have a bold face: {thin}")

    def fingerprint(self) -> str:
        knobs = (self.size, self.channels, self.task, self.label, self.characters, self.fonts)
        return f"glyphs {knobs} {self.jitter} {self.length} {self.seed} {faces()}"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.characters) if self.label == "character" else self.fonts

    def __len__(self) -> int:
        return self.length

    def pair(self, index: int) -> tuple[str, Font]:
        """The character and the font of an example."""
        row, column = divmod(index, len(self.characters))
        return self.characters[column], self.fonts[row % len(self.fonts)]

    def sheet(self, index: int) -> Sheet:
        """What an example is drawn from."""
        (character, font), random = self.pair(index), np.random.default_rng((self.seed, index))
        pose = Pose.random(random, self.jitter)
        others = self.characters.replace(character, "") or character
        other = others[random.integers(len(others))]
        return Sheet(
            character,
            font,
            self.size,
            self.jitter,
            pose,
            *colours(random, self.channels),
            other,
            random,
        )

    def __getitem__(self, index: int) -> Example:
        sheet = self.sheet(index)
        name = sheet.character if self.label == "character" else sheet.font
        return replace(TASKS[self.task](sheet), label=self.classes.index(name))
