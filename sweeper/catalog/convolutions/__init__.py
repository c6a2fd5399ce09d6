"""Convolutions that keep the size of an image."""
