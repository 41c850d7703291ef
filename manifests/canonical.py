"""Canonical JSON: the one form of every signed or digested document.

The form is RFC 8259 JSON in ASCII: names sorted by code point, no white space,
every character outside ASCII and every control character escaped in lower-case
hexadecimal (what Python's ``json.dumps(sort_keys=True, separators=(",", ":"))``
writes), integers within ±(2**53 - 1) (RFC 7493, I-JSON), no fractions, no
exponents, no lone surrogates, every name once per object. python-tuf's compact
serialiser writes exactly these bytes, so one rule holds for its documents and
for ours; and since the text is ASCII, nothing a terminal shows can differ from
what was signed. One value has one text: `loads` refuses every other.

What is *signed* inside a TUF envelope is the OLPC canonical form of the same
value (TUF specification 1.0, section 4.2); the two forms determine each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NoReturn, TypeAlias

from manifests.digest import Digest, is_digest
from manifests.errors import MalformedManifest, NotCanonical
from manifests.state import parse_time

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"

MAX_INTEGER = 2**53 - 1


def dumps(value: object) -> bytes:
    """The canonical bytes of ``value``; tuples are written as lists.

    Raises ``TypeError`` or ``ValueError`` for what canonical JSON cannot hold
    (floats, names that are not text, large integers): a mistake of the caller.
    """
    _must_be_plain(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def loads(data: bytes, *, cap: int, where: str = "document") -> Json:
    """The value of canonical ``data`` of at most ``cap`` bytes.

    Raises `MalformedManifest` for what is too large or no JSON at all, and
    `NotCanonical` for JSON in any other form than `dumps` writes.
    """
    if len(data) > cap:
        raise MalformedManifest(
            f"{len(data)} bytes, but at most {cap} are allowed", where=where, remedy=_RESEND
        )
    try:
        value: Json = json.loads(
            data.decode("ascii"),
            object_pairs_hook=_object,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
            parse_int=_integer,
        )
        same = dumps(value) == data
    except _NotPlainError as err:
        raise NotCanonical(str(err), where=where, remedy=_RESEND) from None
    except (ValueError, RecursionError) as err:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors.
        raise MalformedManifest(f"not JSON: {err}", where=where, remedy=_RESEND) from None
    if not same:
        raise NotCanonical(
            "not in canonical form (white space, order of names, or escapes)",
            where=where,
            remedy=_RESEND,
        )
    return value


_RESEND = "have it sent again; if it stays so, something on the way rewrites files"


class _NotPlainError(ValueError):
    """JSON that canonical JSON excludes."""


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _NotPlainError("a name stands twice in one object")
    return value


def _no_fraction(text: str) -> NoReturn:
    raise _NotPlainError(f"{text[:40]} is no integer")


def _integer(text: str) -> int:
    if len(text) > 17:  # a sign and 16 digits; longer ones cost quadratic time
        raise _NotPlainError(f"the integer {text[:20]}... is too large")
    return int(text)


def _must_be_plain(value: object) -> None:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise _NotPlainError("text with a lone surrogate") from None
    elif isinstance(value, bool) or value is None:
        pass
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise _NotPlainError(f"the integer {value} is too large")
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"a name must be text, not {type(name).__name__}")
            _must_be_plain(name)
            _must_be_plain(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _must_be_plain(item)
    else:
        raise TypeError(f"canonical JSON cannot hold {type(value).__name__}")


class Record:
    """Reads one object of a document strictly: every name known, every type right.

    Every method raises `MalformedManifest` that names the field.
    """

    def __init__(
        self,
        value: object,
        *,
        where: str,
        required: Collection[str],
        optional: Collection[str] = (),
    ) -> None:
        if not isinstance(value, dict):
            raise MalformedManifest("must be an object", where=where, remedy=_RESEND)
        self.where = where
        self.value: Mapping[str, object] = value
        for name in required:
            if name not in value:
                self.fail(f"{name} is missing")
        for name in value:
            if name not in required and name not in optional:
                self.fail(f"unknown field {name[:60]!r}")

    def fail(self, what: str) -> NoReturn:
        """Raise `MalformedManifest` about this object."""
        raise MalformedManifest(what, where=self.where, remedy=_RESEND)

    def text(self, name: str, *, most: int = 1024, pattern: re.Pattern[str] | None = None) -> str:
        """A text of at most ``most`` characters that ``pattern`` matches as a whole."""
        value = self.value.get(name)
        if not isinstance(value, str) or len(value) > most:
            self.fail(f"{name} must be text of at most {most} characters")
        if pattern is not None and not pattern.fullmatch(value):
            self.fail(f"{name} is malformed: {value[:80]!r}")
        return value

    def digest(self, name: str) -> Digest:
        """A digest: SHA-256 in 64 lower-case hexadecimal digits."""
        value = self.value.get(name)
        if not isinstance(value, str) or not is_digest(value):
            self.fail(f"{name} must be a SHA-256 digest")
        return Digest(value)

    def number(self, name: str, *, least: int = 0, most: int = MAX_INTEGER) -> int:
        """An integer in ``least..most``; ``true`` is none."""
        value = self.value.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.fail(f"{name} must be an integer from {least} to {most}")
        return value

    def flag(self, name: str) -> bool:
        """``true`` or ``false``."""
        value = self.value.get(name)
        if not isinstance(value, bool):
            self.fail(f"{name} must be true or false")
        return value

    def time(self, name: str) -> datetime:
        """A moment in UTC as `manifests.state.format_time` writes it."""
        try:
            return parse_time(self.text(name, most=20))
        except MalformedManifest as err:
            self.fail(f"{name}: {err.what}")

    def items(self, name: str, *, most: int) -> list[object]:
        """A list of at most ``most`` items."""
        value = self.value.get(name)
        if not isinstance(value, list) or len(value) > most:
            self.fail(f"{name} must be a list of at most {most} items")
        return value

    def mapping(self, name: str, *, most: int) -> dict[str, object]:
        """An object of at most ``most`` names that are not fixed by the format."""
        value = self.value.get(name)
        if not isinstance(value, dict) or len(value) > most:
            self.fail(f"{name} must be an object of at most {most} names")
        return value

    def record(
        self, name: str, *, required: Collection[str], optional: Collection[str] = ()
    ) -> Record:
        """A nested object."""
        return Record(
            self.value.get(name),
            where=f"{self.where}: {name}",
            required=required,
            optional=optional,
        )
