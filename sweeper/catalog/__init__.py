"""Every technique that a trial can be composed of: each module of this package registers what it
holds."""

from __future__ import annotations

import pkgutil
from importlib import import_module

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)
