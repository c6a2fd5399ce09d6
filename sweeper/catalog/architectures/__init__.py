"""Pairs of networks."""
