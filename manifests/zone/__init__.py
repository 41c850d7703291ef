"""zone.yaml: text in, an immutable ``OutsideZone`` or ``InsideZone`` out.

``parse`` is pure; only ``load`` reads a file. Every mistake is a ``ConfigError``
that names the line and says what to write instead.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from manifests.errors import ConfigError
from manifests.zone.carriers import CARRIERS
from manifests.zone.common import LEDGER_PASSWORD_VARIABLE
from manifests.zone.example import commented_example
from manifests.zone.inside import read_inside
from manifests.zone.model import (
    After,
    Common,
    Connection,
    Filters,
    InsideStream,
    InsideZone,
    Ledger,
    Login,
    Maven,
    Metadata,
    Nexus,
    OutsideStream,
    OutsideZone,
    PartNames,
    Repository,
    Retain,
    Signers,
    TcpListening,
    TcpSending,
    Tls,
    Upstream,
    Wants,
    Zone,
    ZoneKind,
)
from manifests.zone.outside import read_outside
from manifests.zone.reader import Value, nearest
from manifests.zone.served import Registry, Serve, ServerTls
from manifests.zone.yamltext import FILE_NAME, MAX_BYTES, check_size, compose, place

__all__ = [
    "CARRIERS",
    "FILE_NAME",
    "LEDGER_PASSWORD_VARIABLE",
    "After",
    "Common",
    "Connection",
    "Filters",
    "InsideStream",
    "InsideZone",
    "Ledger",
    "Login",
    "Maven",
    "Metadata",
    "Nexus",
    "OutsideStream",
    "OutsideZone",
    "PartNames",
    "Registry",
    "Repository",
    "Retain",
    "Serve",
    "ServerTls",
    "Signers",
    "TcpListening",
    "TcpSending",
    "Tls",
    "Upstream",
    "Wants",
    "Zone",
    "ZoneKind",
    "commented_example",
    "load",
    "parse",
]


def parse(text: str, folder: Path, formats: Collection[str]) -> Zone:
    """The zone that ``text`` describes; ``folder`` is where relative paths begin.

    ``formats`` are the names of the formats that exist. Raises ConfigError.
    """
    node = compose(text)
    first_step = "begin with `zone: outside` or `zone: inside`; `sluice init` writes an example"
    if node is None:
        raise ConfigError("the file is empty", where=place(1), remedy=first_step)
    root = Value(node, "", node.start_mark.line + 1)
    entries = root.entries()
    if "zone" not in entries:
        close = nearest("zone", entries) if entries else ""
        hint = f" ({close.partition('?')[0]}?)" if "did you mean" in close else ""
        root.fail(f"the file lacks the key `zone`{hint}", first_step)
    kind = entries["zone"].choice(tuple(ZoneKind))
    if kind == ZoneKind.OUTSIDE:
        return read_outside(root, folder, formats)
    return read_inside(root, folder)


def load(folder: Path, formats: Collection[str]) -> Zone:
    """Read and parse ``folder/zone.yaml``.

    Raises ConfigError: no such file, not readable, not UTF-8, too large, or wrong.
    """
    folder = folder.absolute()
    try:
        with (folder / FILE_NAME).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {FILE_NAME}",
            where=str(folder),
            remedy="name the zone's folder with -z DIR, or make one with `sluice init`",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}",
            where=str(folder / FILE_NAME),
            remedy="check that it is a file and that this user may read it",
        ) from error
    check_size(len(data))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            "this line is not UTF-8 text",
            where=place(data.count(b"\n", 0, error.start) + 1),
            remedy="save the file as UTF-8",
        ) from error
    return parse(text, folder, formats)
