"""The wants file: what clients inside asked for and did not get, carried outside by a person.

Text, so that whoever carries it can read every line before it leaves: a header, then one line
for each want, sorted, each once. No client, no time and no count stands in it::

    sluice-wants 1 STREAM LF
    REPOSITORY SPACE WANT LF

Names are the outside's. WANT is what the format calls the missing thing (for Maven its
coordinates), its UTF-8 bytes percent-encoded (RFC 3986, section 2.1) but for letters, digits
and ``-._~/:@+,=^``. There is exactly one way to write a want, and a reader takes no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

from manifests.errors import UsageError
from manifests.state import is_name

VERSION = 1
MAX_BYTES = 1 << 20
"""Size of a wants file."""
MAX_WANTS = 10_000
MAX_WANT = 1024
"""Length of one want, in bytes of UTF-8."""
_HEADER = re.compile(r"sluice-wants ([1-9][0-9]{0,8}) ([^ ]{1,64})")
_SAFE = "/:@+~^,="
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_AGAIN = "have it exported again; lines may be taken out, but not rewritten"


@dataclass(frozen=True, slots=True, order=True)
class Want:
    """``what`` was asked for in ``repository`` and was not there."""

    repository: str
    what: str


@dataclass(frozen=True, slots=True)
class WantsFile:
    """The wants of one stream, sorted."""

    stream: str
    wants: tuple[Want, ...]


def is_want(what: str) -> bool:
    """Whether ``what`` may be kept and carried: a short, plain line that is not empty."""
    if not what or len(what) > MAX_WANT or _CONTROL.search(what):
        return False
    try:
        return len(what.encode()) <= MAX_WANT
    except UnicodeEncodeError:
        return False


def escaped(what: str) -> str:
    """``what`` as it stands in the file: printable ASCII without blanks."""
    return quote(what, safe=_SAFE)


def ignored(what: str, globs: Iterable[str]) -> bool:
    """Whether a glob keeps ``what`` inside. Upper and lower case are the same, and so are
    dots and slashes: a name must not leak because a path is written in another way."""
    one = _folded(what)
    return any(fnmatchcase(one, _folded(glob)) for glob in globs)


def _folded(text: str) -> str:
    return text.casefold().replace("/", ".")


def write(stream: str, wants: Iterable[Want]) -> bytes:
    """The file. Raises UsageError: more than it may hold."""
    rows = sorted({f"{want.repository} {escaped(want.what)}\n" for want in wants})
    data = "".join([f"sluice-wants {VERSION} {stream}\n", *rows]).encode("ascii")
    if len(rows) > MAX_WANTS or len(data) > MAX_BYTES:
        raise UsageError(
            f"{len(rows)} wants of {len(data)} bytes do not fit into one file",
            remedy="forget those that nobody needs: sluice wants forget",
        )
    return data


def read(data: bytes, where: str) -> WantsFile:
    """Read a file that may come from anybody. Raises UsageError, which names the line."""
    if len(data) > MAX_BYTES:
        _refuse(f"larger than {MAX_BYTES} bytes", where)
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse("a byte that is not ASCII", where, line)
    if not text.endswith("\n"):
        _refuse("cut short: the last line has no end", where)
    head, *rows = text[:-1].split("\n")
    stream = _read_header(head, where)
    if len(rows) > MAX_WANTS:
        _refuse(f"more than {MAX_WANTS} wants", where)
    last = ""
    wants = []
    for number, row in enumerate(rows, 2):
        if row <= last:
            _refuse("lines that are not in order, or twice", where, number)
        last = row
        wants.append(_read_row(row, where, number))
    return WantsFile(stream, tuple(wants))


def _read_header(head: str, where: str) -> str:
    found = _HEADER.fullmatch(head)
    if found is None or not is_name(found[2]):
        _refuse("not a wants file", where, 1)
    if int(found[1]) != VERSION:
        raise UsageError(
            f"a wants file of version {found[1]}; this Sluice reads version {VERSION}",
            where=where,
            remedy="install the same Sluice on both sides",
        )
    return found[2]


def _read_row(row: str, where: str, number: int) -> Want:
    repository, blank, raw = row.partition(" ")
    if not blank or not is_name(repository):
        _refuse("not REPOSITORY and WANT with one blank between", where, number)
    try:
        what = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        _refuse("an escape that is not UTF-8", where, number)
    if not is_want(what) or escaped(what) != raw:
        _refuse("a want that is not written as Sluice writes it", where, number)
    return Want(repository, what)


def _refuse(what: str, where: str, line: int = 0) -> NoReturn:
    place = f"{where}, line {line}" if line else where
    raise UsageError(what, where=place, remedy=_AGAIN)
