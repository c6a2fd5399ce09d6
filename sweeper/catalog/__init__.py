"""Every technique that a trial can be composed of: each module of this package registers what it
holds, and so does each installed package that has an entry point ``sweeper.techniques``."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from sweeper.registry import ForeignError

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)
for _point in sorted(entry_points(group="sweeper.techniques"), key=lambda point: point.name):
    try:
        _point.load()
    except Exception as error:
        raise ForeignError(_point.name, _point.value, error) from error
