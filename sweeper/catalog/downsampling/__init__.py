"""Layers that halve the size of an image."""
