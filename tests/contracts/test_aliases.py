"""Names of techniques that are knobs of others, and whether every name of the step is known."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from sweeper.catalog.aliases import ALIASES, SPELLINGS, Alias
from sweeper.cli import app
from sweeper.config import Trial, unknown, unknown_key
from sweeper.space.listing import fields_at
from sweeper.space.space import shipped
from sweeper.stream import Measurement
from tests.contracts.cases import ENTRIES, REGISTRIES

NAMES = {entry.name for entry in ENTRIES}
WRITTEN = """
minimax non_saturating least_squares wasserstein hinge relativistic relativistic_average
total_variation_loss feature_matching auxiliary_classifier
gradient_penalty r1_penalty r2_penalty zero_centered_gp dragan spectral_norm_regularization
historical_averaging
weight_clipping spectral_norm weight_norm
minibatch_discrimination minibatch_stddev packing separate_real_fake_batches image_pool
discriminator_loss_scale
generator_noise_injection generator_dropout adversarial_loss_weight
one_sided_label_smoothing label_smoothing label_flipping label_noise
gaussian_latent uniform_latent spherical_latent slerp_interpolation instance_noise
adam sgd sgd_momentum rmsprop adagrad ttur gradient_clip_value gradient_clip_norm param_group_lr
alternating_update n_critic update_order simultaneous_update one_step_joint_loss shared_forward
d_pretraining unrolled_gan loss_statistics_balancing gradient_accumulation
ema moving_average
d_loss_zero grad_norm_monitor d_loss_variance g_loss_steady_fall d_output_half wgan_loss_trend
mode_collapse mode_hopping loss_curves progress_axes
"""
STEP = re.findall(r"\w+", WRITTEN)
"""What the training step can be made of, by the names that the literature's techniques have."""


@pytest.mark.parametrize("name", STEP)
def test_every_technique_of_the_step_is_known(name: str) -> None:
    assert name in NAMES or name in ALIASES


@pytest.mark.parametrize("alias", ALIASES.values(), ids=lambda alias: alias.name)
def test_an_alias_leads_somewhere(alias: Alias) -> None:
    assert alias.name not in NAMES
    assert alias.summary.endswith(".")
    assert len(alias.summary) <= 96
    assert all(fields_at(path) for path in alias.settings)
    for path in set(alias.paths) - set(alias.settings):
        if path.startswith("base/"):
            assert (shipped() / path).is_file()
            continue
        root, _, name = path.replace(" ", ".").partition(".")
        known = {
            "measurement": {field.name for field in fields(Measurement)},
            "sweeper": {command.callback.__name__ for command in app.registered_commands},
        }
        assert name in known[root]


@pytest.mark.parametrize("path", ["schedule.alternating_update.d_step", "bach.size", "batch.siz"])
def test_a_path_that_leads_nowhere_is_none(path: str) -> None:
    with pytest.raises(LookupError):
        fields_at(path)


def test_a_spelling_leads_to_a_knob() -> None:
    knobs = {knob for entry in ENTRIES for knob in entry.knobs.model_fields}
    assert set(SPELLINGS.values()) <= knobs


def test_errors_know_the_other_names() -> None:
    known = {registry.family: registry for registry in REGISTRIES}
    problem = unknown("n_critic", known["tricks"], ("tricks", "n_critic"))
    assert problem.hint == "schedule.alternating_update.d_steps"
    penalty = known["regularizers"]["gradient_penalty"]
    assert unknown_key("lambda", list(penalty.knobs.model_fields), ()).hint == "weight"
    assert unknown_key("bach", list(Trial.model_fields), ()).hint == "batch"
