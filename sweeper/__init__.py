"""Sweeps over GAN training techniques: what trains the best GAN on your data, and at what cost."""

__version__ = "0.1.0"
