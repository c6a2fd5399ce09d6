"""Nonlinearities."""
