"""Short names are unique, do not depend on the order, and read as in the field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.ledger.names import format_score, format_value, short_names

PARTS = st.sampled_from(
    [
        "generator",
        "discriminator",
        "optimizer",
        "adam",
        "lr",
        "lr_g",
        "lr_d",
        "size",
        "norm",
        "normalization",
        "x",
        "ratio",
    ]
)
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=4).map(".".join), max_size=12)


@given(NAMES)
def test_short_names_are_unique_and_no_longer(names: list[str]) -> None:
    short = short_names(names)
    assert set(short) == set(names)
    assert len(set(short.values())) == len(short)
    assert all(len(value) <= len(name) for name, value in short.items())


@given(NAMES, st.randoms())
def test_short_names_do_not_depend_on_the_order(names: list[str], random: object) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert short_names(shuffled) == short_names(names)


def test_players_are_marked_as_in_papers() -> None:
    names = ["generator.optimizer.adam.lr", "discriminator.optimizer.adam.lr", "loss"]
    assert list(short_names(names).values()) == ["lr_g", "lr_d", "loss"]


def test_owners_are_added_only_where_needed() -> None:
    names = [
        "generator.optimizer.adam.lr",
        "generator.optimizer.rmsprop.lr",
        "schedule.alternating_update.d_steps",
        "regularizers.r1_penalty",
        "regularizers.r1_penalty.every",
        "discriminator.normalization",
        "batch.size",
        "discriminator.optimizer.adam.lr.ratio",
    ]
    assert list(short_names(names).values()) == [
        "adam.lr_g",
        "rmsprop.lr_g",
        "d_steps",
        "r1_penalty",
        "r1_penalty.every",
        "norm_d",
        "batch.size",
        "lr_d.ratio",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0012, "1.2e-03"),
        (0.5, "0.5"),
        (2.0, "2"),
        (1000.0, "1000"),
        (12345.6, "1.2e+04"),
        (0.0, "0"),
        (float("nan"), "nan"),
        (64, "64"),
        (True, "yes"),
        ("hinge", "hinge"),
        (None, "–"),
    ],
)
def test_values_are_short(value: object, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (42.13, "42.1"),
        (7.891, "7.89"),
        (0.01234, "0.0123"),
        (1350.2, "1,350"),
        (12345678.0, "1.2e+07"),
        (0.0, "0"),
        (float("inf"), "inf"),
        (None, "–"),
    ],
)
def test_scores_have_about_three_digits(value: float | None, text: str) -> None:
    assert format_score(value) == text
