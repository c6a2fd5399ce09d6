"""Constraints are read and never executed."""

from __future__ import annotations

import pytest

from sweeper.space.constraints import Constraint

TRIAL = {
    "batch": {"size": 64},
    "loss": {"least_squares": {"coding": "pearson"}},
    "discriminator": {"constraint": None},
    "schedule": {"alternating_update": {"d_steps": 3}},
    "tricks": {"ema": {"half_life_kimg": 1.0}, "instance_noise": {}},
    "regularizers": {},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("batch.size <= 64", True),
        ("batch.size < 64", False),
        ("schedule.alternating_update.d_steps * batch.size <= 192", True),
        ("32 < batch.size < 64", False),
        ("batch.size // 10 == 6 and batch.size % 10 == 4 and batch.size / 4 == 16", True),
        ("-batch.size + 1 < 0 and not batch.size - 64", True),
        ("loss == 'least_squares'", True),
        ("loss != 'hinge' or batch.size > 100", True),
        ("loss in ['hinge', 'wasserstein']", False),
        ("loss.least_squares.coding not in ('zero_one',)", True),
        ("'ema' in tricks and 'em' not in tricks", True),
        ("not regularizers", True),
        ("tricks.ema and tricks.instance_noise", True),
        ("discriminator.constraint == 'spectral_norm'", False),
        ("loss.hinge.margin > 1000", True),  # speaks of a branch that is not there
        ("discriminator.constraint.spectral_norm.iterations < 0", True),
        ("  batch.size == 64  ", True),
    ],
)
def test_a_constraint_holds_or_not(text, holds):
    assert Constraint.parse(text).holds(TRIAL) is holds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('x')",
        "batch.size.bit_length() > 3",
        "(lambda: 1)() == 1",
        "[x for x in (1, 2)]",
        "{x for x in (1, 2)}",
        "{1: 2}",
        "(x := 3)",
        "batch['size']",
        "f'{batch.size}' == '64'",
        "2 ** 100000000 > 1",
        "1 << 100000000",
        "1 if batch.size else 2",
        "(1).real",
        "'a'.upper",
        "None",
        "b'x'",
        "1j",
        "...",
        "*batch",
        "batch is loss",
        "~batch.size",
        "batch.size <",
        "import os",
        "a; b",
        "x = 3",
        "",
        "\0",
        "(" * 5000,
        "-" * 5000 + "1",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"a constraint is|a path is"):
        Constraint.parse(text)


@pytest.mark.parametrize(
    "text",
    ["'a' * 1000000000", "'%99999999d' % 1", "(1,) * 1000000000", "loss < 3", "1 / 0", "-loss"],
)
def test_what_cannot_be_judged_is_said_to_be_so(text):
    with pytest.raises(ValueError, match=r"divides by zero|not a number"):
        Constraint.parse(text).holds(TRIAL)


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("batch.sizes < 3", "there is no batch.sizes in this space"),
        ("loss.__class__ == 3", "there is no loss.__class__ in this space"),
        ("loss.hinge.margin < 3", "there is no loss.hinge.margin in this space"),
    ],
)
def test_paths_that_no_draw_has_are_refused(refused, text, law):
    assert law in refused(f'constraints: ["{text}"]\ntrial: {{}}')


def test_paths_of_defaults_and_of_branches_are_known(space, asks):
    loaded = space(
        "constraints: ['schedule.alternating_update.g_steps == 1', 'loss.hinge.margin < 1']\n"
        "trial: {loss: {choice: [non_saturating, {hinge: {margin: {uniform: [0.5, 0.9]}}}]}}"
    )
    assert {loaded.sample(a).loss.entry.name for a in asks(20)} == {"hinge", "non_saturating"}
