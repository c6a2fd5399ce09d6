"""Layers that double the size of an image."""
