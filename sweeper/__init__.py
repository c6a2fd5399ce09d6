"""Sweeps over GAN training techniques: what trains the best GAN on your data, and at what cost.

From Python: ``sweeper.run`` sweeps a search space, ``sweeper.load`` opens a results folder, and
``sweeper.generator`` a generator that was exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.api import Results as Results
    from sweeper.api import load as load
    from sweeper.api import run as run
    from sweeper.sweep.imported import generator as generator

__version__ = "0.1.0"
__all__ = ["Results", "__version__", "generator", "load", "run"]


def __getattr__(name: str) -> Any:
    """What is heavy is imported when it is asked for, so that the command line starts at once."""
    if name not in ("Results", "generator", "load", "run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "generator":
        from sweeper.sweep import imported

        return imported.generator
    from sweeper import api

    return getattr(api, name)
