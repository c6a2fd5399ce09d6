"""Constraints and reparametrizations of weights."""
