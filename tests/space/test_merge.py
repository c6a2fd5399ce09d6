"""Putting a space together: extends, data presets, --set, and what YAML makes of it all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.config import Problem
from sweeper.space.merge import merge
from sweeper.space.source import InputError, Source, read
from sweeper.space.space import load, shipped


def merged(base, over):
    return merge({"trial": base}, {"trial": over})["trial"]


def test_mappings_merge_deeply_and_all_else_is_replaced():
    base = {"generator": {"optimizer": {"adam": {"lr": 1, "beta1": 0}}}, "batch": {"size": 2}}
    over = {"generator": {"optimizer": {"adam": {"lr": {"uniform": [1, 2]}}}}}
    assert merged(base, over) == {
        "generator": {"optimizer": {"adam": {"lr": {"uniform": [1, 2]}, "beta1": 0}}},
        "batch": {"size": 2},
    }
    assert merge([1, 2], [3]) == [3]


@pytest.mark.parametrize("over", ["rmsprop", {"rmsprop": {}}, ["rmsprop"]])
def test_where_one_technique_stands_another_replaces_it(over):
    result = merged(
        {"generator": {"optimizer": {"adam": {"lr": 1}}}}, {"generator": {"optimizer": over}}
    )
    assert result == {"generator": {"optimizer": {"rmsprop": {}}}}


def test_where_many_stand_they_add_up_and_false_removes_one():
    base = {"tricks": {"ema": {"half_life_kimg": 1}}}
    assert merged(base, {"tricks": "instance_noise"})["tricks"].keys() == {"ema", "instance_noise"}
    assert merged(base, {"tricks": ["instance_noise"]})["tricks"].keys() == {
        "ema",
        "instance_noise",
    }
    assert merged(base, {"tricks": {"ema": False}}) == {"tricks": {"ema": False}}
    assert merged(base, {"tricks": False}) == {"tricks": False}


def test_naming_a_technique_again_keeps_its_knobs():
    base = {"tricks": {"ema": {"half_life_kimg": 1}}, "loss": {"hinge": {"margin": 2}}}
    assert merged(base, {"tricks": {"ema": True}, "loss": "hinge"}) == base


def test_a_hole_replaces_and_is_replaced():
    hole = {"choice": ["hinge", "wasserstein"]}
    assert merged({"loss": {"hinge": {"margin": 2}}}, {"loss": hole}) == {"loss": hole}
    assert merged({"loss": hole}, {"loss": {"hinge": {}}}) == {"loss": {"hinge": {}}}


def test_preset_then_base_then_own_then_override(tmp_path: Path):
    (tmp_path / "below.yaml").write_text(
        "extends: base/dcgan.yaml\n"
        "trial: {batch: {size: 1}, architecture: resnet_gan, seed: 1, evaluation: {seed: 1}}\n"
    )
    preset = {
        "trial": {
            "prior": {"gaussian_latent": {"size": 2}},
            "architecture": {"mlp_gan": {"hidden": 2}},
            "batch": {"size": 2},
            "seed": 2,
            "evaluation": {"seed": 2},
        },
        "budget": {"max": 9.0},
    }
    own = tmp_path / "own.yaml"
    own.write_text("extends: below.yaml\ntrial: {seed: 3, evaluation: {seed: 3}}")
    tree = load(
        own, preset=Source(preset, {}), overrides=["evaluation.seed=4"], data={"digits": {}}
    ).tree
    assert tree["prior"]["gaussian_latent"]["size"] == 2
    assert tree["batch"]["size"] == 1
    assert list(tree["architecture"]) == ["resnet_gan"]
    assert tree["seed"] == 3
    assert tree["evaluation"]["seed"] == 4
    assert tree["horizon_kimg"] == 9.0
    assert tree["evaluation"]["every_kimg"] == 1.0


@pytest.mark.parametrize(
    "own",
    [
        "extends: base/dcgan.yaml\ntrial: {architecture: resnet_gan}",
        "extends: mine.yaml\ntrial: {loss: hinge}",
        "extends: base/sagan.yaml\ntrial: {loss: hinge}",
    ],
)
def test_a_preset_does_not_replace_what_is_named(tmp_path: Path, own):
    base = (shipped() / "base" / "dcgan.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(base.replace(": dcgan", ": resnet_gan"))
    (tmp_path / "own.yaml").write_text(own)
    preset = Source({"trial": {"architecture": {"dcgan": {}}}, "budget": {"max": 9.0}}, {})
    for file in ("own.yaml", "mine.yaml"):
        tree = load(tmp_path / file, preset=preset, data={"digits": {}}).tree
        assert list(tree["architecture"]) == ["resnet_gan"]


def test_a_preset_adapts_the_base_of_all(tmp_path: Path):
    own = tmp_path / "own.yaml"
    own.write_text("extends: base/dcgan.yaml\ntrial: {loss: hinge}")
    preset = Source({"trial": {"architecture": {"mlp_gan": {}}}, "budget": {"max": 9.0}}, {})
    assert list(load(own, preset=preset, data={"ring": {}}).tree["architecture"]) == ["mlp_gan"]


def test_extends_looks_beside_the_file_before_the_shipped_ones(tmp_path: Path, space):
    (tmp_path / "base").mkdir()
    mine = tmp_path / "base" / "dcgan.yaml"
    mine.write_text((shipped() / "base" / "dcgan.yaml").read_text() + "  seed: 7\n")
    assert space("trial: {}").tree["seed"] == 7
    mine.unlink()
    assert space("trial: {}").tree["seed"] == 0


def test_a_space_does_not_extend_itself(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\ntrial: {}")
    (tmp_path / "b.yaml").write_text("trial: {}\nextends: a.yaml")
    with pytest.raises(InputError, match=r"b.yaml:2:1: .*a.yaml extends b.yaml extends a.yaml"):
        load(tmp_path / "a.yaml")


def test_a_name_is_not_inherited(tmp_path: Path, space):
    (tmp_path / "below.yaml").write_text("extends: base/dcgan.yaml\nname: below\ntrial: {}")
    assert space("extends: below.yaml\ntrial: {}", base=False).name == "space"
    assert space("extends: below.yaml\nname: mine\ntrial: {}", base=False).name == "mine"


def test_a_file_may_be_a_trial_and_nothing_else(tmp_path: Path, space):
    plain = space("trial: {}").source.tree["trial"]
    path = tmp_path / "trial.json"
    path.write_text(json.dumps({**plain, "horizon_kimg": 3}))
    assert load(path).tree["horizon_kimg"] == 3


@pytest.mark.parametrize(
    ("override", "at", "value"),
    [
        ("batch.size=32", ("batch", "size"), 32),
        ("trial.batch.size=32", ("batch", "size"), 32),
        ("generator.optimizer.adam.lr=1e-3", ("generator", "optimizer", "adam", "lr"), 1e-3),
        ("loss=hinge", ("loss", "hinge", "margin"), 1.0),
        ("loss={hinge: {margin: 2}}", ("loss", "hinge", "margin"), 2.0),
        ("loss.hinge.margin=2", ("loss", "hinge", "margin"), 2.0),
        ("tricks.ema=true", ("tricks", "ema", "half_life_kimg"), 10.0),
        ("discriminator.constraint=false", ("discriminator", "constraint"), None),
    ],
)
def test_set_reaches_any_path(space, override, at, value):
    node = space("trial: {}", override).tree
    for key in at:
        node = node[key]
    assert node == value


def test_set_reaches_what_is_beside_the_trial(space):
    loaded = space("trial: {}", "search.trials=5", "budget.rungs.first=1/3", "name=other")
    assert (loaded.search.trials, loaded.budget.rungs.first, loaded.name) == (5, 1 / 3, "other")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("1e3", 1000.0),
        ("on", "on"),
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("64:1", "64:1"),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("'2'", "2"),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("2.0", 2.0),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text, value):
    path = tmp_path / "x.yaml"
    path.write_text(f"x: {text}")
    found = read(path).tree["x"]
    assert found == value
    assert type(found) is type(value)


def test_anchors_and_merge_keys_are_read(space):
    loaded = space(
        "trial:\n"
        "  generator: {optimizer: {adam: &adam {lr: 1.0e-3, beta1: 0.9}}}\n"
        "  discriminator: {optimizer: {adam: {<<: *adam, lr: 2.0e-3}}}\n"
    )
    assert loaded.tree["discriminator"]["optimizer"]["adam"]["beta1"] == 0.9
    assert loaded.tree["discriminator"]["optimizer"]["adam"]["lr"] == 2e-3


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("trial: {loss: on}", "there is no 'on' among the losses"),
        (
            "trial: {schedule: {alternating_update: {fresh_latents: yes}}}",
            "must be true or false, but got 'yes'",
        ),
        ("trial: {schedule: {alternating_update: {d_steps: 64:1}}}", "YAML reads as text"),
        ("trial: {batch: {size: '64'}}", "must be a whole number, but got '64'"),
        ("trial: {batch: {size: true}}", "must be a whole number, but got true"),
        ("trial: {batch: {size: 1, size: 2}}", 'found duplicate key "size"'),
        ("trial: {batch: {size: !!python/object:os.system 3}}", "size must be a whole number"),
        ("trial: {}\n---\ntrial: {}", "expected a single document"),
    ],
)
def test_traps_of_yaml_are_refused(refused, text, law):
    assert law in refused(text)


def test_a_list_that_contains_itself_is_refused(refused):
    assert "does not contain itself" in refused("- &a [1, *a]", base=False)


def test_every_problem_is_told_at_once_and_in_order(refused):
    told = refused(
        "trial:\n  loss: hing\n  batch: {size: 0}\n"
        "search: {trials: 0}\nconstraints: ['1 +']\nextra: 1\n",
        "generator.optimizer.adam.lr=-1",
    )
    assert [line.partition(" ")[0] for line in told.splitlines() if line[0] != " "] == [
        "--set",
        "space.yaml:3:3:",
        "space.yaml:4:11:",
        "space.yaml:5:10:",
        "space.yaml:6:15:",
        "space.yaml:7:1:",
    ]


def test_a_fault_of_a_draw_is_where_its_option_is_written(space):
    loaded = space("trial:\n  loss:\n    choice:\n      - hinge\n      - wasserstein\n")
    assert loaded.fault(Problem(("loss", "wasserstein"), "law")).mark.line == 6
