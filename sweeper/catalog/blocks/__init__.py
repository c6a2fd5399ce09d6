"""Layers that follow an activation."""
