"""Techniques that are no entry of their own: each is a knob of another, or a part of the trial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """A technique by the name it is known by, and where in a trial it is set.

    ``paths`` lead through a trial; ``*`` is any technique that stands there. Those that begin with
    ``measurement`` are in every measurement, and set nowhere; those that begin with ``sweeper`` are
    commands, and those that begin with ``base`` what a space can extend.
    """

    name: str
    paths: tuple[str, ...]
    paper: str
    summary: str

    @property
    def settings(self) -> tuple[str, ...]:
        """The paths to what is set in a trial."""
        return tuple(
            p for p in self.paths if not p.startswith(("measurement.", "sweeper ", "base/"))
        )


_ALL = (
    Alias(
        "biggan",
        ("base/biggan.yaml",),
        "brock2019",
        "A residual GAN of large batches, with attention, orthogonal weights, and shared classes.",
    ),
    Alias(
        "sagan",
        ("base/sagan.yaml",),
        "zhang2019b",
        "A residual GAN with attention, spectral norm on both sides, and two time scales.",
    ),
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
        "conditional_gan",
        ("generator.conditioning", "discriminator.conditioning", "generator.normalization"),
        "mirza2014",
        "Both networks are told the class: beside their inputs, in their layers, or in the score.",
    ),
    Alias(
        "pixel_range",
        ("feed.pixel_range",),
        "",
        "The range in which networks see images: [-1, 1], [0, 1], or mean 0 and variance 1.",
    ),
    Alias(
        "tanh_output",
        ("feed.pixel_range",),
        "radford2016",
        "G ends in tanh where images are seen in [-1, 1].",
    ),
    Alias(
        "sigmoid_output",
        ("feed.pixel_range",),
        "goodfellow2014",
        "G ends in a sigmoid where images are seen in [0, 1].",
    ),
    Alias(
        "output_conv",
        ("generator.output_conv",),
        "",
        "The last convolution of G has a kernel of 1, 3, 7 or 9 px, and keeps the size.",
    ),
    Alias(
        "weight_init",
        ("generator.initialization", "discriminator.initialization"),
        "glorot2010",
        "How weights are drawn, where it is not as the architecture has it.",
    ),
    Alias(
        "kaiming_normal",
        ("generator.initialization.he_normal.gain", "discriminator.initialization.he_normal.gain"),
        "he2015",
        "Weights from N(0, 2 / n_in).",
    ),
    Alias(
        "multi_scale_discriminator",
        ("discriminator.scales", "discriminator.pyramid"),
        "wang2018",
        "A discriminator of the same structure at every one of several sizes.",
    ),
    Alias(
        "sampler",
        ("feed.sampler", "feed.subset"),
        "",
        "Examples are drawn as they are shuffled, each class equally often, or from a subset.",
    ),
    Alias(
        "kornia_augmentation",
        ("tricks.classic_augmentation.mirror", "tricks.classic_augmentation.strength"),
        "",
        "Images, real or both, are mirrored, moved and recoloured at random, as tensors.",
    ),
    Alias(
        "data_loader",
        ("feed.workers",),
        "",
        "What does not fit in memory is read ahead by so many processes.",
    ),
    Alias(
        "worker_seeding",
        ("feed.workers",),
        "",
        "Processes that read data have seeds of their own, derived from the trial's.",
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
        "latent_pixel_norm",
        ("prior.spherical_latent.radius",),
        "karras2018",
        "Latents over their root mean square: those of spherical_latent at radius sqrt_d.",
    ),
    Alias(
        "parameter_count",
        ("sweeper describe",),
        "",
        "How many parameters each network of a trial has, and how many of them are trained.",
    ),
    Alias(
        "layer_summary",
        ("sweeper describe",),
        "",
        "Every layer of a trial's networks, its output's shape, parameters and memory.",
    ),
    Alias(
        "attention_map_visualization",
        ("sweeper inspect",),
        "zhang2019b",
        "What the self-attention of a trained network looks at from chosen points.",
    ),
    Alias(
        "grad_cam",
        ("sweeper inspect",),
        "selvaraju2017",
        "Where in real examples and fakes a trained D finds what raises its score.",
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
