"""Sizes, durations, rates and percentages as people write them.

Sizes are bytes: decimal units (``kB MB GB TB PB``, powers of 1000, SI) and
binary ones (``KiB MiB GiB TiB PiB``, powers of 1024, IEC 80000-13). Durations
are seconds. Rates are bytes a second. All ``parse_*`` raise ``ConfigError``
without a place; whoever knows the file and the line adds it.
"""

from __future__ import annotations

import re
from fractions import Fraction

from manifests.errors import ConfigError

_DECIMAL = {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
_SIZES = {"": 1, "B": 1, "byte": 1, "bytes": 1, **_DECIMAL, **_BINARY}
_BITS = {"bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9, "Tbit": 10**12}
_MILLISECONDS = {
    "ms": 1,
    "s": 1000,
    "min": 60_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_STEPS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_QUANTITY = re.compile(rf"({_NUMBER}) ?([A-Za-z]*)")
_DURATION_PART = re.compile(rf" ?({_NUMBER}) ?([A-Za-z]+)")
_PERCENT = re.compile(rf"({_NUMBER}) ?%")
_LONGEST = 40
"""No honest quantity has more characters; keeps numbers small before they are parsed."""
_LARGEST = 2**63 - 1
_LONGEST_TIME = 100 * 365 * 86_400_000
"""Milliseconds: a moment so far from today is still a date, and a program can wait so long."""

_SIZE_REMEDY = "write bytes as a whole number, or with a unit: 512KiB, 64MiB, 25GB, 2TiB"
_RATE_REMEDY = "write bytes a second (10MiB, 25MB) or bits a second (800Mbit)"
_DURATION_REMEDY = "write a number with a unit: 500ms, 30s, 15m, 6h, 30d, 2w"
_PERCENT_REMEDY = "write a percentage from 0% to 100%, such as 30%"


def _quantity(text: str, units: dict[str, int], kind: str, remedy: str) -> Fraction:
    """``text`` as a number times its unit."""
    match = _QUANTITY.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None or match[2] not in units:
        raise ConfigError(f"{_shown(text)} is not a {kind}", remedy=remedy)
    value = Fraction(match[1]) * units[match[2]]
    if value > _LARGEST:
        raise ConfigError(f"{_shown(text)} is too large for a {kind}", remedy=remedy)
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")


def parse_size(text: str) -> int:
    """Bytes, rounded down: ``64MiB``, ``25GB``, ``1.5 GiB``, ``4096``.

    Raises ConfigError: not a size, or above 2^63-1.
    """
    return int(_quantity(text, _SIZES, "size", _SIZE_REMEDY))


def parse_rate(text: str) -> int:
    """Bytes a second, rounded down: ``10MiB``, ``25MB/s``, ``800Mbit`` (100,000,000).

    Raises ConfigError: not a rate, or above 2^63-1 bits or bytes.
    """
    plain = text.strip().removesuffix("/s")
    if plain.endswith("bit"):
        return int(_quantity(plain, _BITS, "rate", _RATE_REMEDY) / 8)
    return int(_quantity(plain, _SIZES, "rate", _RATE_REMEDY))


def parse_duration(text: str) -> float:
    """Seconds: ``500ms``, ``30s``, ``15m``, ``6h``, ``30d``, ``2w``, ``1h 30m``; a bare ``0``.

    Raises ConfigError: not a duration, or above 36,500 days.
    """
    plain = text.strip()
    if plain == "0":
        return 0.0
    total, position = Fraction(0), 0
    while position < len(plain) <= _LONGEST:
        match = _DURATION_PART.match(plain, position)
        if match is None or match[2] not in _MILLISECONDS:
            break
        total += Fraction(match[1]) * _MILLISECONDS[match[2]]
        position = match.end()
    if not plain or position < len(plain):
        raise ConfigError(f"{_shown(text)} is not a duration", remedy=_DURATION_REMEDY)
    if total > _LONGEST_TIME:
        raise ConfigError(f"{_shown(text)} is too long a duration", remedy=_DURATION_REMEDY)
    return float(total / 1000)


def parse_percent(text: str) -> float:
    """A fraction from 0.0 to 1.0: ``30%`` is 0.3.

    Raises ConfigError: no percentage, or above 100 %.
    """
    match = _PERCENT.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None or Fraction(match[1]) > 100:
        raise ConfigError(f"{_shown(text)} is not a percentage", remedy=_PERCENT_REMEDY)
    return float(Fraction(match[1]) / 100)


def format_bytes(count: int) -> str:
    """``count`` bytes for a person, to a tenth: ``512 bytes``, ``64 MiB``, ``1.5 GiB``."""
    if abs(count) < 1024:
        return f"{count} byte" if abs(count) == 1 else f"{count} bytes"
    sign, size = ("-" if count < 0 else ""), abs(count)
    units = list(_BINARY.items())
    for number, (unit, factor) in enumerate(units):
        tenths = (size * 10 + factor // 2) // factor
        if tenths < 10240 or number == len(units) - 1:
            whole, rest = divmod(tenths, 10)
            return f"{sign}{whole}.{rest} {unit}" if rest else f"{sign}{whole} {unit}"
    raise AssertionError("the last unit takes every size")


def format_size(count: int) -> str:
    """``count`` bytes exactly, as zone.yaml takes it: ``64MiB``, ``25GB``, ``4097``.

    ``parse_size`` gives ``count`` back.
    """
    for unit, factor in sorted({**_BINARY, **_DECIMAL}.items(), key=lambda item: -item[1]):
        if unit != "KB" and count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def format_rate(count: int) -> str:
    """``count`` bytes a second for a person: ``10 MiB/s``."""
    return f"{format_bytes(count)}/s"


def format_duration(seconds: float, *, exact: bool = False) -> str:
    """``seconds`` for a person: ``350ms``, ``45s``, ``1h 30m``, ``2d 3h``.

    The two largest units, rounded down, and no milliseconds above a minute;
    with ``exact`` all of them, to the millisecond, so that ``parse_duration``
    gives the same number back.
    """
    left = round(abs(seconds) * 1000)
    sign = "-" if seconds < 0 and left else ""
    if left == 0:
        return "0s"
    parts: list[str] = []
    first: int | None = None
    for place, (unit, factor) in enumerate(_STEPS):
        amount, left = divmod(left, factor)
        if first is None and amount:
            first = place
        if amount and (exact or first is None or place <= first + 1):
            parts.append(f"{amount}{unit}")
    return sign + " ".join(parts)
