"""JSON that others wrote, as values that can be written down again.

JSON can spell text that no UTF-8 holds (RFC 8259, section 8.2: half of a
surrogate pair as ``\\ud800``), and Python's reader lets it through, as it does
``NaN`` and UTF-16. Such a text breaks the first thing that prints, stores or
sends it, far from where it came in. So bytes of an upstream, of another zone or
of a file are read here; for what Sluice signs or digests there is
`manifests.canonical`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isinf
from typing import Any, NoReturn


def loads(
    data: bytes,
    *,
    objects: Callable[[list[tuple[str, Any]]], Any] | None = None,
    integers: Callable[[str], int] | None = None,
) -> Any:
    """The value of ``data``: JSON (RFC 8259) in UTF-8, in any form.

    ``objects`` makes a value of the names and values of each object, ``integers``
    of the digits of each integer (default: dict, int).

    Raises ``ValueError`` alone, for whatever is no such JSON: the caller knows
    which error of ours that is.
    """
    text = data.decode("utf-8")
    try:
        value = json.loads(
            text,
            object_pairs_hook=objects,
            parse_int=integers,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        if "\\u" in text:
            # Looking at the escapes would not do: "\\ud800" is six innocent characters.
            json.dumps(value, ensure_ascii=False, check_circular=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    return value


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")
