"""Passwords, tokens and keys, taken out of whatever is stored or shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

NAMED = re.compile(r"(TOKEN|PASSWORD|PASSWD|SECRET|API_KEY|PRIVATE_KEY|ACCESS_KEY(_ID)?)$")
"""Environment variables that hold a secret: ``MLFLOW_TRACKING_PASSWORD``, ``AWS_ACCESS_KEY_ID``."""

USER = re.compile(r"(?<=://)[^\s/'\"]+@")
"""What stands before the host in an address: ``user:password@``."""

ASKED = re.compile(
    r"(?<=[?&])([\w-]*(?:token|password|secret|signature|credential|access_key)[\w-]*)=[^&\s'\"]+",
    re.IGNORECASE,
)
"""A secret in an address's query: ``?password=…``, ``&X-Amz-Signature=…``."""

SHORT = 6
"""Shorter values are no secrets, and words like ``true`` would be hidden everywhere."""

HIDDEN = "***"


def hide(text: str) -> str:
    """The text with every password of an address, and every secret of the environment, as
    ``***``."""
    for value in secrets():
        text = text.replace(value, HIDDEN)
    if "://" in text:
        text = ASKED.sub(rf"\1={HIDDEN}", USER.sub(f"{HIDDEN}@", text))
    return text


def credentials(address: str) -> bool:
    """Whether a password, or another secret, stands in an address."""
    return any(pattern.search(address) for pattern in (USER, ASKED))


def secrets() -> list[str]:
    """The values of the environment that nobody is to read, longest first, since one may be part of
    another."""
    named = {value for name, value in os.environ.items() if NAMED.search(name)}
    return sorted((value for value in named if len(value) >= SHORT), key=len, reverse=True)


def hidden(data: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts hide what they must."""
    return {key: hide(value) if isinstance(value, str) else value for key, value in data.items()}
