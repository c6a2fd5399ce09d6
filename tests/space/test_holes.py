"""Holes: what they draw, what they are called, and where they cannot stand."""

from __future__ import annotations

import pytest

from sweeper.space.holes import Choice, Float, Int, Maybe, Ratio, at, holes

ADAM = "generator.optimizer.adam"


def knob(name: str, hole: str) -> str:
    return f"trial: {{generator: {{optimizer: {{adam: {{{name}: {hole}}}}}}}}}"


@pytest.mark.parametrize(
    ("hole", "kind", "low", "high", "log"),
    [
        ("{uniform: [0.1, 0.9]}", float, 0.1, 0.9, False),
        ("{loguniform: [1e-4, 1e-2]}", float, 1e-4, 1e-2, True),
        ("{int: [1, 2]}", int, 1, 2, False),
        ("{logint: [1, 64]}", int, 1, 64, True),
    ],
)
def test_a_range_draws_numbers_within_its_bounds(space, asks, hole, kind, low, high, log):
    loaded = space(knob("lr", hole))
    (parameter,) = loaded.parameters
    assert parameter["name"] == f"{ADAM}.lr"
    assert (parameter["low"], parameter["high"], parameter["log"]) == (low, high, log)
    for ask in asks(30):
        value = at(loaded.sample(ask).plain(), f"{ADAM}.lr")
        assert low <= value <= high
        assert type(ask.params[f"{ADAM}.lr"]) is kind


def test_both_bounds_of_integers_are_drawn(space, asks):
    loaded = space("trial: {batch: {size: {int: [8, 10]}}}")
    assert {loaded.sample(ask).batch.size for ask in asks(40)} == {8, 9, 10}


def test_a_step_draws_only_every_so_many(space, asks):
    loaded = space("trial: {batch: {size: {int: [16, 64], step: 16}}}")
    assert {loaded.sample(ask).batch.size for ask in asks(60)} == {16, 32, 48, 64}
    loaded = space(knob("beta1", "{uniform: [0, 0.9], step: 0.3}"))
    drawn = {round(at(loaded.sample(a).plain(), f"{ADAM}.beta1"), 9) for a in asks(60)}
    assert drawn == {0.0, 0.3, 0.6, 0.9}


def test_what_is_not_chosen_is_not_asked_for(space, asks):
    text = """
trial:
  loss: {choice: [wasserstein, {hinge: {margin: auto}}]}
  tricks: {ema: {maybe: auto}}
"""
    loaded = space(
        text, "discriminator.constraint=spectral_norm", "discriminator.normalization=none"
    )
    for ask in asks(40):
        loaded.sample(ask)
        expected = {"loss", "tricks.ema"}
        expected |= {"loss.hinge.margin"} if ask.params["loss"] == "hinge" else set()
        ema = {"tricks.ema.half_life_kimg", "tricks.ema.warmup"}
        expected |= ema if ask.params["tricks.ema"] else set()
        assert ask.params.keys() == expected


def test_conditionals_nest(space, asks):
    text = """
trial:
  discriminator:
    optimizer:
      choice:
        - {adam: {beta1: {choice: [0.0, 0.5]}}}
        - {rmsprop: {alpha: {uniform: [0.9, 0.99]}}}
  regularizers:
    r1_penalty: {maybe: {gamma: auto, every: {choice: [1, 4]}}}
"""
    loaded = space(text)
    names = [p["name"] for p in loaded.parameters]
    assert len(names) == len(set(names)) == 6
    drawn = [frozenset(a.params) for a in asks(60) if loaded.sample(a)]
    assert len(set(drawn)) == 4


def test_maybe_draws_its_technique_or_nothing(space, asks):
    loaded = space("trial: {tricks: {ema: {maybe: {half_life_kimg: 2}}}}")
    drawn = {bool(loaded.sample(a).tricks) for a in asks(20)}
    assert drawn == {True, False}


def test_maybe_may_hold_a_whole_slot(space, asks):
    loaded = space(
        "trial: {discriminator: {normalization: none, constraint: {maybe: spectral_norm}}}"
    )
    drawn = {loaded.sample(a).discriminator.constraint is None for a in asks(20)}
    assert drawn == {True, False}


def test_a_ratio_is_the_parameter_and_the_value_is_derived(space, asks):
    text = """
trial:
  generator: {optimizer: {adam: {lr: {loguniform: [1e-4, 1e-2]}}}}
  discriminator:
    optimizer: {adam: {lr: {ratio_of: generator.optimizer.adam.lr, loguniform: [0.25, 8]}}}
"""
    loaded = space(text)
    for ask in asks(20):
        plain = loaded.sample(ask).plain()
        ratio = ask.params["discriminator.optimizer.adam.lr.ratio"]
        base = ask.params[f"{ADAM}.lr"]
        assert at(plain, "discriminator.optimizer.adam.lr") == pytest.approx(ratio * base)
        assert ask.params.keys() == {f"{ADAM}.lr", "discriminator.optimizer.adam.lr.ratio"}


def test_a_ratio_may_be_of_a_default_that_nobody_wrote(space, asks):
    loaded = space(knob("eps", "{ratio_of: discriminator.optimizer.adam.eps, uniform: [2, 3]}"))
    (ask,) = asks(1)
    assert at(loaded.sample(ask).plain(), f"{ADAM}.eps") >= 2e-8


def test_a_ratio_that_some_branch_lacks_is_refused(refused):
    text = """
trial:
  discriminator: {optimizer: {choice: [adam, rmsprop]}}
  generator: {optimizer: {adam: {lr: {ratio_of: discriminator.optimizer.adam.lr, uniform: [1, 2]}}}}
"""
    assert "only some draws have discriminator.optimizer.adam.lr" in refused(text)


def test_a_ratio_within_a_branch_may_be_of_that_branch(space, asks):
    text = """
trial:
  regularizers:
    r1_penalty:
      maybe: {every: 4, gamma: {ratio_of: regularizers.r1_penalty.every, uniform: [1, 2]}}
"""
    loaded = space(text)
    drawn = [at(loaded.sample(a).plain(), "regularizers") for a in asks(20)]
    assert all(4 <= r["r1_penalty"]["gamma"] <= 8 for r in drawn if r)


def test_ratios_of_one_another_are_refused(refused):
    text = f"""
trial:
  generator: {{optimizer: {{adam: {{lr: {{ratio_of: {ADAM}.lr, uniform: [1, 2]}}}}}}}}
"""
    assert "leads back to itself" in refused(text)


def test_auto_is_the_recommended_range(space):
    tree = space("trial: {loss: {hinge: auto}, batch: {size: auto}}").tree
    assert tree["loss"]["hinge"]["margin"] == Float(0.5, 2.0, default=1.0)
    assert tree["batch"]["size"].labels == (16, 32, 64, 128)


def test_auto_is_refused_where_nothing_is_recommended(refused):
    assert "architecture.dcgan.init_std" not in refused(
        "trial: {prior: {gaussian_latent: {size: autp}}}"
    )
    assert "auto searches the recommended range" in refused("trial: {loss: {minimax: auto}}")


def test_the_plainest_draw_takes_defaults_and_leaves_out(space):
    text = """
trial:
  generator: {optimizer: {adam: {lr: {loguniform: [1e-5, 1e-1]}, beta1: {uniform: [0.6, 0.8]}}}}
  discriminator: {constraint: {choice: [weight_clipping, false]}}
  loss: {choice: [hinge, non_saturating]}
  tricks: {ema: {maybe: auto}}
  schedule: {alternating_update: {d_steps: {int: [2, 5]}}}
"""
    holes_of = {name: hole.plainest() for name, hole in holes(space(text).tree)}
    assert holes_of == {
        f"{ADAM}.lr": 2e-4,
        f"{ADAM}.beta1": pytest.approx(0.7),
        "discriminator.constraint": False,
        "loss": "hinge",
        "tricks.ema": False,
        "tricks.ema.half_life_kimg": 10.0,
        "tricks.ema.warmup": 0.0,
        "schedule.alternating_update.d_steps": 2,
    }


def test_options_that_are_no_scalars_have_labels_of_their_own(space, asks):
    text = "trial: {loss: {hinge: {choice: [{margin: 1}, {margin: 2}]}}}"
    loaded = space(text)
    assert loaded.parameters[0]["choices"] == ['{"margin": 1}', '{"margin": 2}']
    assert {loaded.sample(a).loss["margin"] for a in asks(20)} == {1.0, 2.0}


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("trial: {loss: {maybe: hinge}}", "there is always a loss"),
        (knob("lr", "{maybe: 1e-3}"), "there is always a lr"),
        (
            "trial: {loss: {uniform: [0, 1]}}",
            "uniform is of numbers, but loss is filled by techniques",
        ),
        ("trial: {batch: {maybe: {size: 8}}}", "a hole stands for a knob or a technique"),
        (knob("lr", "{choice: [{uniform: [0.1, 1]}, 1e-4]}"), "in a hole stand values"),
        (
            "trial: {tricks: {ema: {maybe: {choice: [{half_life_kimg: 1}, {half_life_kimg: 2}]}}}}",
            "in a hole stand",
        ),
        (knob("lr", "{choice: [1e-4, 0.0001]}"), "the options of a choice differ"),
        (
            "trial: {loss: {choice: [hinge, {hinge: {margin: 1}}]}}",
            "the options of a choice differ",
        ),
        (knob("lr", "{choice: [1e-4], step: 2}"), "choice goes with nothing else"),
        (
            knob("lr", "{uniform: [0.1, 1], loguniform: [0.1, 1]}"),
            "uniform goes with ratio_of and step",
        ),
        (knob("lr", "{loguniform: [0.1, 1], step: 0.1}"), "logarithmic"),
        (knob("lr", "{uniform: [0.1, 1], step: 0.4}"), "0.4 misses 1"),
        (knob("lr", "{uniform: [0.1, .inf]}"), "two numbers, but got [0.1, inf]"),
        (knob("lr", "{uniform: [false, true]}"), "two numbers"),
        (knob("lr", "{uniform: [0.1]}"), "two numbers"),
        ("trial: {batch: {size: {uniform: [8, 16]}}}", "searched by int or logint"),
        ("trial: {batch: {size: {int: [8.5, 16]}}}", "takes whole numbers"),
        ("trial: {batch: {size: {int: [8, 16], step: 1.5}}}", "step must be a whole number"),
        ("trial: {batch: {size: {int: [1, 2], ratio_of: batch.size}}}", "ratios are real numbers"),
        (knob("lr", "{uniform: [1, 2], ratio_of: 3}"), "ratio_of names a path"),
        (
            "trial: {loss: {choice: [{hinge: {margin: auto}}, {hinge: {margin: {int: [2, 3]}}}]}}",
            "searched in one way",
        ),
        ("trial: {seed: {int: [1, 3]}}", "the seeds of trials follow from search.seed"),
    ],
)
def test_a_hole_that_cannot_be_is_refused(refused, text, law):
    assert law in refused(text)


def test_every_kind_of_hole_is_described():
    described = [
        h.describe()["kind"] for h in (Float(0, 1), Int(0, 1), Choice((1,), (1,)), Maybe({}))
    ]
    assert described == ["float", "int", "choice", "choice"]
    assert list(holes({"a": Ratio("b", Float(1, 2))})) == [("a.ratio", Float(1, 2))]


def test_what_is_the_same_is_no_parameter(space, asks):
    rate = "generator.optimizer.adam.lr"
    found = space(
        "trial:\n"
        "  generator: {optimizer: {adam: {lr: {loguniform: [1.0e-5, 1.0e-2]}}}}\n"
        f"  discriminator: {{optimizer: {{adam: {{lr: {{same_as: {rate}}}}}}}}}\n"
        "  schedule: {alternating_update: {d_steps: {choice: [2, 3]},\n"
        "    g_steps: {same_as: schedule.alternating_update.d_steps}}}\n"
        f"baselines: [{{name: one, {rate}: 0.5}}]\n"
    )
    assert [p["name"] for p in found.parameters] == [rate, "schedule.alternating_update.d_steps"]
    for ask in asks(5):
        trial = found.sample(ask)
        assert trial.generator.optimizer["lr"] == trial.discriminator.optimizer["lr"]
        assert trial.schedule["g_steps"] == trial.schedule["d_steps"]
    assert found.baseline(found.baselines[0])[1].discriminator.optimizer["lr"] == 0.5


@pytest.mark.parametrize(
    ("same", "law"),
    [
        ("nothing.of.it", "same_as is of a number that every draw has, but there is no nothing.of"),
        ("loss", "same_as is of a number, but loss is none"),
        ("generator.optimizer.adam.lr", "same_as leads to a number, but generator.optimizer"),
        ("3", "same_as names a path such as batch.size, but got 3"),
    ],
)
def test_what_nothing_can_be_the_same_as(refused, same, law):
    rate = f"{{optimizer: {{adam: {{lr: {{same_as: {same}}}}}}}}}"
    assert law in refused(f"trial: {{generator: {rate}}}")
