"""Original registries: whose place a repository takes."""

from __future__ import annotations

import re

_MAX_NAME = 200
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*(?::[1-9][0-9]{0,4})?")


def is_origin(text: str) -> bool:
    """Whether ``text`` names a registry as images do: ``HOST`` or ``HOST:PORT``, lower case."""
    return len(text) <= _MAX_NAME and _NAME.fullmatch(text) is not None


def component(origin: str) -> str:
    """The registry's name as the first component of an image's name, which has no colon."""
    return origin.replace(":", "_")
