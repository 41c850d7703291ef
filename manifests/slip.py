"""The return slip: what an inside says of itself, in a text that a person may carry out.

ASCII, one line for each fact, in this order (``SEQ`` 0 and ``-``: none yet)::

    sluice-slip 1 STREAM
    key PUBLIC-KEY                 Ed25519, 64 hexadecimal digits
    time 2024-05-01T12:00:00Z
    mark EPOCH SEQ                 the high-water mark
    state DIGEST                   the state digest of the newest bundle that counts
    whole SEQ DIGEST               the newest bundle whose whole state is here
    missing SEQ [PARTS]            any number; without PARTS (3,7-9): all of it
    want REPOSITORY WANT           any number, as in a wants file
    signature SIGNATURE            Ed25519 (RFC 8032), 128 hexadecimal digits

The signature is over all bytes before its line. A reader takes only what `write` writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from manifests.digest import Digest
from manifests.errors import NotCanonical, SluiceError, Unsigned, UsageError
from manifests.state import format_time, is_name, parse_time
from manifests.wants import MAX_WANTS, Want, escaped, is_want

VERSION: Final = 1
MAX_SLIP: Final = 4 << 20
"""Bytes of a slip."""
MAX_MISSING: Final = 10_000
MAX_NAMED: Final = 1_000_000
"""Parts that all lines of a slip name together: a few bytes name 99,999."""
_MAX_PARTS: Final = 99_999

_NUMBER = r"(0|[1-9][0-9]{0,15})"
_DIGEST = r"([0-9a-f]{64}|-)"
_HEAD = re.compile(
    r"sluice-slip ([1-9][0-9]{0,8}) ([^ \n]{1,64})\nkey ([0-9a-f]{64})\ntime (\S{20})\n"
    rf"mark {_NUMBER} {_NUMBER}\nstate {_DIGEST}\nwhole {_NUMBER} {_DIGEST}\n"
)
_MISSING = re.compile(r"missing ([1-9][0-9]{0,15})(?: ([0-9,-]{1,200000}))?")
_SIGNATURE = re.compile(rb"signature ([0-9a-f]{128})\n")


@dataclass(frozen=True, slots=True)
class Slip:
    """``missing``: sequence and parts (empty: the whole bundle), sorted; times are UTC."""

    stream: str
    key: str
    time: datetime
    epoch: int
    sequence: int
    state: Digest | None
    whole: int
    whole_state: Digest | None
    missing: tuple[tuple[int, tuple[int, ...]], ...] = ()
    wants: tuple[Want, ...] = ()


def write(slip: Slip, sign: Callable[[bytes], bytes]) -> bytes:
    """The text; ``sign`` gives the 64 bytes of the signature. Raises UsageError: too large."""
    text = _unsigned(slip)
    data = text + f"signature {sign(text).hex()}\n".encode("ascii")
    named = sum(len(parts) for _, parts in slip.missing)
    if (
        len(data) > MAX_SLIP
        or len(slip.missing) > MAX_MISSING
        or named > MAX_NAMED
        or len(slip.wants) > MAX_WANTS
    ):
        raise UsageError(
            f"the slip would have {len(data)} bytes",
            remedy="leave the wants out (--no-wants), or have a full bundle sent",
        )
    return data


def read(data: bytes, where: str) -> Slip:
    """Read a slip that may come from anybody, and verify its own signature.

    Whose key it is, and whether it is new, the caller has to ask. Raises NotCanonical,
    Unsigned.
    """
    if len(data) > MAX_SLIP:
        _refuse(where, f"larger than {MAX_SLIP} bytes")
    start = data.rfind(b"signature ")
    signature = _SIGNATURE.fullmatch(data[max(0, start) :])
    if signature is None:
        _refuse(where, "no signature at its end")
    payload = data[:start]
    try:
        slip = _parse(payload.decode("ascii"), where)
        same = _unsigned(slip) == payload
    except (UnicodeDecodeError, ValueError) as error:
        raise NotCanonical(f"not a return slip: {error}", where=where, remedy=_AGAIN) from error
    if not same:
        _refuse(where, "not written as Sluice writes it")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(slip.key))
        key.verify(bytes.fromhex(signature[1].decode("ascii")), payload)
    except (InvalidSignature, ValueError) as error:
        raise Unsigned("its signature is wrong", where=where, remedy=_AGAIN) from error
    return slip


def format_parts(parts: Sequence[int]) -> str:
    """``3,7-9`` for sorted numbers."""
    runs: list[list[int]] = []
    for part in parts:
        if runs and part == runs[-1][1] + 1:
            runs[-1][1] = part
        else:
            runs.append([part, part])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _unsigned(slip: Slip) -> bytes:
    lines = [
        f"sluice-slip {VERSION} {slip.stream}",
        f"key {slip.key}",
        f"time {format_time(slip.time)}",
        f"mark {slip.epoch} {slip.sequence}",
        f"state {slip.state or '-'}",
        f"whole {slip.whole} {slip.whole_state or '-'}",
        *(f"missing {number} {format_parts(parts)}".rstrip() for number, parts in slip.missing),
        *sorted({f"want {want.repository} {escaped(want.what)}" for want in slip.wants}),
    ]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _parse(text: str, where: str) -> Slip:
    head = _HEAD.match(text)
    if head is None or not is_name(head[2]):
        _refuse(where, "not a return slip")
    if int(head[1]) != VERSION:
        _refuse(where, f"a slip of version {head[1]}; this Sluice reads version {VERSION}")
    missing: list[tuple[int, tuple[int, ...]]] = []
    named = 0
    wants: list[Want] = []
    for line in text[head.end() :].split("\n")[:-1]:
        word, _, rest = line.partition(" ")
        if word == "missing" and not wants and len(missing) < MAX_MISSING:
            missing.append(_missing(line, where))
            named += len(missing[-1][1])
            if named > MAX_NAMED:
                _refuse(where, f"it names more than {MAX_NAMED} parts")
        elif word == "want" and len(wants) < MAX_WANTS:
            wants.append(_want(rest, where))
        else:
            _refuse(where, f"a line that is none of a slip: {line[:80]!r}")
    if [number for number, _ in missing] != sorted({number for number, _ in missing}):
        _refuse(where, "bundles that are not in order, or twice")
    try:
        time = parse_time(head[4])
    except SluiceError as error:
        _refuse(where, error.what)
    return Slip(
        head[2],
        head[3],
        time,
        int(head[5]),
        int(head[6]),
        _digest(head[7]),
        int(head[8]),
        _digest(head[9]),
        tuple(missing),
        tuple(wants),
    )


def _digest(text: str) -> Digest | None:
    return None if text == "-" else Digest(text)


def _missing(line: str, where: str) -> tuple[int, tuple[int, ...]]:
    found = _MISSING.fullmatch(line)
    if found is None:
        _refuse(where, f"not a line of what is missing: {line[:80]!r}")
    return int(found[1]), tuple(_parts(found[2], where)) if found[2] else ()


def _parts(text: str, where: str) -> Iterable[int]:
    last = 0
    for run in text.split(","):
        first, _, end = run.partition("-")
        low, high = int(first), int(end or first)
        if not last < low <= high <= _MAX_PARTS:
            _refuse(where, f"not part numbers: {text[:80]!r}")
        yield from range(low, high + 1)
        last = high


def _want(rest: str, where: str) -> Want:
    repository, _, raw = rest.partition(" ")
    what = unquote_to_bytes(raw).decode()
    if not is_name(repository) or not is_want(what):
        _refuse(where, f"not a want: {rest[:80]!r}")
    return Want(repository, what)


def _refuse(where: str, what: str) -> NoReturn:
    raise NotCanonical(what, where=where, remedy=_AGAIN)


_AGAIN = "have the slip written again inside, and carried as it is: not one byte may change"
