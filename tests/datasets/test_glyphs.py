"""Glyphs: every character legible in every font, the same whenever they are drawn, and their pairs
aligned."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import product
from string import ascii_letters, digits
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.catalog.datasets.glyphs import (
    BOLD,
    COARSER,
    FONTS,
    GAP,
    INKED,
    SCALE,
    SHIFT,
    TASKS,
    TURN,
    Font,
    Glyphs,
    Pose,
    Task,
    drawn,
    upright,
)
from sweeper.catalog.datasets.store import pack
from sweeper.catalog.families import datasets

EVERY = ascii_letters + digits
PAIRS = 36 * len(FONTS)

knobs = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from([16, 32, 64]),
        "channels": st.sampled_from([1, 3]),
        "task": st.sampled_from(get_args(Task)),
        "label": st.sampled_from(["character", "font"]),
        "characters": st.permutations(EVERY).map(lambda c: "".join(c[:5])),
        "fonts": st.permutations(sorted(BOLD)).map(lambda f: tuple(f[:3])),
        "jitter": st.floats(0, 1),
        "seed": st.integers(0, 9),
    },
)


def levels(source: Glyphs, n: int) -> np.ndarray:
    """Images (n, pixels), smoothed a little, as ink in [0, 1]."""
    images = np.stack([source[i].image[0] for i in range(n)]).astype(np.float32) / 255
    for axis in (1, 2):
        images = (np.roll(images, 1, axis) + 2 * images + np.roll(images, -1, axis)) / 4
    return images.reshape(n, -1)


def test_the_nearest_of_other_draws_is_the_same_character() -> None:
    many = levels(Glyphs(seed=1), 6 * PAIRS)
    wanted = np.arange(PAIRS)
    apart = (many**2).sum(1) - 2 * levels(Glyphs(seed=2), PAIRS) @ many.T
    right = (apart.argmin(1) % 36 == wanted % 36).reshape(len(FONTS), 36)
    assert right.mean() > 0.94
    assert right.mean(1).min() > 0.8, "a font"
    assert right.mean(0).min() > 0.65, "a character"


@pytest.mark.parametrize("font", FONTS)
def test_no_two_characters_of_a_font_look_alike(font: Font) -> None:
    inks = np.stack([np.asarray(upright(font, c, 64), float) for c in EVERY])
    apart, total = np.abs(inks[:, None] - inks).sum((2, 3)), inks.sum((1, 2))
    np.fill_diagonal(apart, np.inf)
    # The tail of a Q is 6 % of it; boxes for what a font lacks would not differ at all.
    assert (apart / np.minimum(total[:, None], total)).min() > 0.05


@pytest.mark.parametrize("font", FONTS)
def test_no_jitter_moves_ink_out_of_the_image(font: Font) -> None:
    for character in EVERY:
        for angle, right, down in product((-TURN, TURN), (-SHIFT, SHIFT), (-SHIFT, SHIFT)):
            ink = drawn(font, character, 32, Pose(angle, 1 + SCALE, right, down))
            rim = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
            assert rim.max() < INKED, character


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_jitter_is_bounded(seed: int, jitter: float) -> None:
    pose = Pose.random(np.random.default_rng(seed), jitter)
    assert abs(pose.angle) <= TURN * jitter
    assert abs(pose.scale - 1) <= SCALE * jitter + 1e-12
    assert max(abs(pose.right), abs(pose.down)) <= SHIFT * jitter


def test_without_jitter_a_character_is_the_same_in_every_example() -> None:
    still = Glyphs(jitter=0)
    assert (still[5].image == still[5 + PAIRS].image).all()
    assert (Glyphs()[5].image != Glyphs()[5 + PAIRS].image).any()
    assert (Glyphs()[5].image != Glyphs(seed=1)[5].image).any()


@given(knobs, st.lists(st.integers(0, 15_119), min_size=1, max_size=3))
def test_an_example_is_a_function_of_index_and_knobs(chosen: dict, indices: list[int]) -> None:
    source = Glyphs(**chosen)
    again = pickle.loads(pickle.dumps(Glyphs(**chosen)))
    assert again.fingerprint() == source.fingerprint()
    shapes = {k: v.shape for k, v in source[0].arrays().items()}
    for index in reversed(indices):
        again[index]
    for index in indices:
        one, two = source[index], again[index]
        assert one.label == two.label
        character, font = source.pair(index)
        named = font if source.label == "font" else character
        assert source.classes[one.label or 0] == named
        assert {k: v.shape for k, v in one.arrays().items()} == shapes
        for name, array in one.arrays().items():
            assert array.dtype == np.uint8
            assert (array == two.arrays()[name]).all()


def test_fingerprints_tell_knobs_apart() -> None:
    changes = (
        {}, {"size": 64}, {"channels": 3}, {"label": "font"}, {"characters": "AB"}, {"seed": 1},
        {"fonts": FONTS[:2]}, {"jitter": 0.5}, {"length": 9},
        *({"task": task} for task in TASKS if task != "plain"),
    )  # fmt: skip
    assert len({Glyphs(**change).fingerprint() for change in changes}) == len(changes)  # type: ignore[arg-type]


def test_each_character_stands_in_each_font_equally_often() -> None:
    source = Glyphs(characters="Ab3", fonts=("cmr10", "STIXGeneral"), length=60)
    assert set(Counter(map(source.pair, range(60))).values()) == {10}
    assert source.classes == ("A", "b", "3")
    assert Glyphs(label="font").classes == FONTS


def test_what_is_left_out_is_what_another_set_holds() -> None:
    shown = Glyphs(fonts=FONTS[:-3])
    held = Glyphs(fonts=FONTS[-3:])
    assert not {shown.pair(i)[1] for i in range(PAIRS)} & {held.pair(i)[1] for i in range(PAIRS)}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_bold_face_lies_on_its_thin_one(channels: int) -> None:
    source = Glyphs(task="thin_to_bold", channels=channels, jitter=0)  # type: ignore[arg-type]
    assert source.fonts == tuple(BOLD)
    for index in range(0, 36 * len(BOLD), 7):
        character, font = source.pair(index)
        thin, bold = (np.asarray(upright(f, character, 64)) > 127 for f in (font, BOLD[font]))
        assert (thin & bold).sum() > 0.5 * thin.sum(), (character, font)
        assert bold.sum() > 1.1 * thin.sum(), (character, font)
        example = source[index]
        assert example.source is not None
        assert example.source.shape == example.image.shape == (channels, 32, 32)


def test_a_low_resolution_is_the_mean_of_blocks() -> None:
    example = Glyphs(task="low_to_high", size=64, channels=3)[3]
    assert example.source is not None
    for top in range(0, 64, COARSER):
        blocks = [
            x[:, top : top + COARSER, 8 : 8 + COARSER] for x in (example.image, example.source)
        ]
        assert np.ptp(blocks[1], (1, 2)).max() == 0
        assert np.abs(blocks[0].mean((1, 2)) - blocks[1][:, 0, 0]).max() <= 0.5


def test_holes_are_where_the_mask_says_and_hide_ink() -> None:
    source = Glyphs(task="holes_to_whole", channels=3)
    for index in range(50):
        example = source[index]
        assert example.source is not None
        assert example.mask is not None
        hole = np.broadcast_to(example.mask == 255, example.image.shape)
        assert set(np.unique(example.mask)) == {0, 255}
        assert (example.source[hole] == GAP).all()
        assert (example.source[~hole] == example.image[~hole]).all()
        assert (source.sheet(index).ink()[hole[0]] >= INKED).any()
        assert hole[0].mean() < 0.4


def test_a_mask_is_the_ink() -> None:
    grey, colour = (Glyphs(task="masks", channels=c)[7] for c in (1, 3))  # type: ignore[arg-type]
    assert grey.mask is not None
    assert colour.mask is not None
    assert ((grey.mask == 255) == (grey.image >= INKED)).all()
    assert (grey.mask == colour.mask).all()


def test_a_triple_is_content_style_and_both() -> None:
    source = Glyphs(task="triples", channels=3, jitter=0)
    for index in range(60):
        example, (character, font), sheet = source[index], source.pair(index), source.sheet(index)
        assert example.source is not None
        assert example.style is not None
        plain = drawn("DejaVuSans", character, 32, Pose())
        assert (example.source == plain).all(), "content: white on black, in one font"
        assert sheet.other != character
        colours = [{tuple(p) for p in x.reshape(3, -1).T} for x in (example.image, example.style)]
        assert {sheet.colour, sheet.paper} & colours[0] & colours[1] >= {sheet.paper}
        ink = drawn(font, sheet.other, 32, Pose())
        assert (
            (example.style == np.array(sheet.paper)[:, None, None]).all(0) == (ink == 0)
        ).mean() > 0.97


@given(st.integers(0, 15_119))
def test_ink_stands_out_from_its_paper(index: int) -> None:
    sheet = Glyphs(channels=3).sheet(index)
    dark, bright = (np.dot(c, (0.299, 0.587, 0.114)) for c in (sheet.colour, sheet.paper))
    assert bright - dark > 60


@pytest.mark.parametrize(
    ("chosen", "law"),
    [
        ({"characters": "A-B"}, "letters and digits, but got '-'"),
        ({"characters": "AAB"}, "named once, but got 'AAB'"),
        ({"characters": "A", "task": "triples"}, "another character, but there is one alone"),
        ({"size": 30, "task": "low_to_high"}, "blocks of 4 px, but got 30"),
        ({"fonts": ("cmtt10",), "task": "thin_to_bold"}, "that have a bold face: DejaVuSans, "),
    ],
)
def test_what_cannot_be_drawn_is_refused(chosen: dict, law: str) -> None:
    with pytest.raises(ValueError, match=law):
        datasets["glyphs"].make(**chosen)


def test_a_store_holds_what_was_drawn(tmp_path) -> None:
    source = Glyphs(task="triples", channels=3, length=20)
    store = pack(source, tmp_path)
    assert set(store.meta.fields) == {"image", "source", "style"}
    assert store.labels is not None
    assert store.labels.tolist() == [source[i].label for i in range(20)]
    assert (store.all("style")[7].numpy() == source[7].style).all()
