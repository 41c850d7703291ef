"""What zone.yaml says of a stream's carrier: each has its own keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from manifests.zone.common import NAME_KEYS, read_part_names
from manifests.zone.model import (
    GIB,
    After,
    PartNames,
    Retain,
    TcpListening,
    TcpSending,
    Tls,
)
from manifests.zone.reader import Section, Value, nearest
from manifests.zone.urls import read_listen, read_target

CARRIERS = ("file", "tcp", "media")
MIN_PART_SIZE = 1 << 16
"""Smallest ``part_size`` in bytes: one stripe of parity."""

_REPEAT = 64 << 20
_TIMEOUT = 60.0
_TCP_BOTH = ("timeout", "tls")
_SENDING: Mapping[str, tuple[str, ...]] = {
    "file": ("outbox", "retain", *NAME_KEYS),
    "tcp": ("to", "rate", "repeat", *_TCP_BOTH),
    "media": ("folder", "volume"),
}
_RECEIVING: Mapping[str, tuple[str, ...]] = {
    "file": ("inbox", "after", "done", "settle", *NAME_KEYS),
    "tcp": ("listen", "inbox", "connections", "max_part", *_TCP_BOTH),
    "media": ("folder", "volume", "inbox"),
}
SENDING_KEYS = tuple(dict.fromkeys(key for keys in _SENDING.values() for key in keys))
RECEIVING_KEYS = tuple(dict.fromkeys(key for keys in _RECEIVING.values() for key in keys))
TLS_KEYS = ("cert", "key", "pin")


class Sending(TypedDict):
    """The arguments of ``model.OutsideStream`` that the carrier decides."""

    carrier: str
    outbox: Path | None
    retain: Retain | None
    names: PartNames
    tcp: TcpSending | None
    media: Path | None
    volume: int | None


class Receiving(TypedDict):
    """The arguments of ``model.InsideStream`` that the carrier decides."""

    carrier: str
    inbox: Path
    after: After
    done: Path | None
    settle: float
    names: PartNames
    tcp: TcpListening | None
    media: Path | None
    volume: int | None


def read_sending(section: Section, folder: Path, part_size: int) -> Sending:
    """The carrier of an outside's stream. Raises ConfigError."""
    carrier = _carrier(section, _SENDING)
    tcp = _tcp_sending(section, folder) if carrier == "tcp" else None
    outbox = media = volume = None
    if carrier == "file":
        outbox = section.need("outbox", lambda v: v.file(folder), "outbox")
    if carrier == "media":
        media = section.need("folder", lambda v: v.file(folder), "/media/x")
        volume = section.need("volume", lambda v: v.size(2 * MIN_PART_SIZE), "25GB")
        if volume < part_size + MIN_PART_SIZE:
            section.at("volume").fail(
                f"a volume of {volume} bytes has no room for a part of {part_size} bytes",
                "make `part_size` smaller or `volume` larger",
            )
    return Sending(
        carrier=carrier,
        outbox=outbox,
        retain=section.get("retain", _retain, None),
        names=read_part_names(section, ".tar"),
        tcp=tcp,
        media=media,
        volume=volume,
    )


def read_receiving(section: Section, folder: Path, name: str) -> Receiving:
    """The carrier of an inside's stream. Raises ConfigError."""
    carrier = _carrier(section, _RECEIVING)
    tcp = _tcp_listening(section, folder) if carrier == "tcp" else None
    media = None
    if carrier == "media":
        media = section.need("folder", lambda v: v.file(folder), "/media/x")
    if carrier == "file":
        inbox = section.need("inbox", lambda v: v.file(folder), "inbox")
    else:
        inbox = section.get("inbox", lambda v: v.file(folder), folder / "inbox" / name)
    after = After(section.get("after", lambda v: v.choice(tuple(After)), "delete"))
    done = section.get("done", lambda v: v.file(folder), None)
    if after is After.MOVE and done is None:
        section.at("after").fail(
            f"`{section.value.path}` has `after: move` without `done`", "add `done: PATH`"
        )
    if done is not None and (after is not After.MOVE or done == inbox):
        section.at("done").fail(
            f"`{section.value.path}.done` needs `after: move` and must not be the inbox",
            "add `after: move`, name another folder, or remove `done`",
        )
    return Receiving(
        carrier=carrier,
        inbox=inbox,
        after=after,
        done=done,
        # Whatever is not a file drop puts parts down whole.
        settle=section.get("settle", Value.duration, 2.0 if carrier == "file" else 0.0),
        names=read_part_names(section, ""),  # a guard may have renamed parts
        tcp=tcp,
        media=media,
        volume=section.get("volume", lambda v: v.size(1), None),
    )


def _carrier(section: Section, keys: Mapping[str, tuple[str, ...]]) -> str:
    """The carrier's name; no key of another carrier may stand beside it."""
    carrier = section.need("carrier", _known, "file")
    every = {key for some in keys.values() for key in some}
    for key in section.entries:
        if key in every and key not in keys[carrier]:
            owners = " or ".join(name for name in keys if key in keys[name])
            section.at(key).fail(
                f"`{section.value.path}.{key}` is of no use with the carrier {carrier}",
                f"remove it, or write `carrier: {owners}`",
            )
    return carrier


def _known(value: Value) -> str:
    word = value.text()
    if word not in CARRIERS:
        value.fail(f"`{value.path}`: there is no carrier {word[:80]!r}", nearest(word, CARRIERS))
    return word


def _tcp_sending(section: Section, folder: Path) -> TcpSending:
    host, port = section.need("to", read_target, '"cds.example.org:9000"')
    return TcpSending(
        host=host,
        port=port,
        rate=section.get("rate", Value.rate, None),
        repeat=section.get("repeat", Value.size, _REPEAT),
        timeout=section.get("timeout", Value.timeout, _TIMEOUT),
        tls=section.get("tls", lambda v: _tls(v, folder), None),
    )


def _tcp_listening(section: Section, folder: Path) -> TcpListening:
    host, port = section.need("listen", read_listen, '"127.0.0.1:9000"')
    return TcpListening(
        host=host,
        port=port,
        connections=section.get("connections", lambda v: v.integer(1, 256), 8),
        max_part=section.get("max_part", lambda v: v.size(MIN_PART_SIZE), 16 * GIB),
        timeout=section.get("timeout", Value.timeout, _TIMEOUT),
        tls=section.get("tls", lambda v: _tls(v, folder), None),
    )


def _tls(value: Value, folder: Path) -> Tls:
    section = value.section(TLS_KEYS, {})
    found = {key: section.need(key, lambda v: v.file(folder), f"{key}.pem") for key in TLS_KEYS}
    return Tls(cert=found["cert"], key=found["key"], pin=found["pin"])


def _retain(value: Value) -> Retain:
    section = value.section(("age", "size"), {})
    if not section.entries:
        value.fail(
            f"`{value.path}` ends nothing", "write {age: 7d}, {size: 100GiB} or both, or remove it"
        )
    return Retain(
        age=section.get("age", Value.positive, None),
        size=section.get("size", lambda v: v.size(1), None),
    )
