"""Techniques that are no entry of their own: each is a knob of another, or a part of the trial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """A technique by the name it is known by, and where in a trial it is set.

    ``paths`` lead through a trial; ``*`` is any technique that stands there. Those that begin with
    ``measurement`` are in every measurement, and set nowhere.
    """

    name: str
    paths: tuple[str, ...]
    paper: str
    summary: str


_ALL = (
    Alias(
        "n_critic",
        ("schedule.alternating_update.d_steps", "schedule.alternating_update.g_steps"),
        "arjovsky2017",
        "How many moves D makes for how many of G, each of D's on new real examples.",
    ),
    Alias(
        "update_order",
        ("schedule.alternating_update.first",),
        "zhu2017",
        "Who moves first in a round.",
    ),
    Alias(
        "ttur",
        ("generator.optimizer.*.lr", "discriminator.optimizer.*.lr"),
        "heusel2017",
        "Two time scales: a learning rate for each player, D's written as a ratio_of G's.",
    ),
    Alias(
        "d_pretraining",
        ("schedule.*.pretraining",),
        "",
        "D makes so many moves alone, before G's first.",
    ),
    Alias(
        "shared_forward",
        ("schedule.simultaneous_update.shared_forward",),
        "",
        "Both players learn from one pass of the fakes through D.",
    ),
    Alias(
        "gradient_accumulation",
        ("batch.accumulate",),
        "",
        "A move's gradient is taken in so many equal parts of the batch, one after another.",
    ),
    Alias(
        "separate_real_fake_batches",
        ("batch.mixed",),
        "",
        "D is shown real examples and fakes as two batches, unless they are mixed into one.",
    ),
    Alias(
        "batch_size",
        ("batch.size",),
        "",
        "How many real examples a move of D is given.",
    ),
    Alias(
        "param_group_lr",
        ("generator.optimizer.*.rates", "discriminator.optimizer.*.rates"),
        "",
        "Multiples of the learning rate for parameters whose names match a pattern.",
    ),
    Alias(
        "freeze_layers",
        ("generator.freeze", "discriminator.freeze"),
        "",
        "Parameters whose names match a pattern are never trained.",
    ),
    Alias(
        "lr_decay",
        ("generator.optimizer.*.decay", "discriminator.optimizer.*.decay"),
        "",
        "The learning rate falls to zero towards the end of the horizon.",
    ),
    Alias(
        "lazy_regularization",
        ("regularizers.*.every",),
        "karras2020b",
        "A regularizer is taken in every so-manieth move, at so many times its weight.",
    ),
    Alias(
        "autocast",
        ("precision",),
        "",
        "Matrix products are taken in bfloat16, everything else stays in float32.",
    ),
    Alias(
        "fid",
        ("evaluation",),
        "heusel2017",
        "The Fréchet distance of samples from real examples, which is the score of every trial.",
    ),
    Alias(
        "loss_curves",
        ("measurement.losses", "measurement.windows"),
        "",
        "Every term of both losses, by itself: its mean since the measurement before.",
    ),
    Alias(
        "progress_axes",
        (
            "measurement.images",
            "measurement.d_steps",
            "measurement.g_steps",
            "measurement.seconds",
        ),
        "",
        "Where a trial stands, in real images seen, moves of each player, and seconds.",
    ),
)

ALIASES = {alias.name: alias for alias in _ALL}
"""Every alias by its name."""

SPELLINGS = {
    "lambda": "weight",
    "lambda_": "weight",
    "coefficient": "weight",
    "interval": "every",
    "n_critic": "d_steps",
    "n_d": "d_steps",
    "n_g": "g_steps",
    "learning_rate": "lr",
    "betas": "beta1",
    "std": "sigma",
}
"""What knobs are called elsewhere, and here: for the hints of errors."""
