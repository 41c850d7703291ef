"""What carriers use: folders of the CDS, ports, mounts of media."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from manifests.zone import InsideStream, OutsideStream, TcpListening, TcpSending
from manifests.zone.model import After
from sluice.health.finding import Finding, ok, problem, warning
from sluice.health.owners import account, may
from sluice.health.site import Site


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as this account finds it."""

    exists: bool
    read: bool = False
    write: bool = False
    owner: str = ""
    open: bool = False
    """Everybody may write."""
    mount: bool = False


def carriers(site: Site) -> Iterator[Finding]:
    """Each stream's."""
    for stream in site.zone.streams.values():
        if isinstance(stream, OutsideStream):
            yield from _outside(site, stream)
        else:
            yield from _inside(stream)


def _outside(site: Site, stream: OutsideStream) -> Iterator[Finding]:
    if stream.outbox is not None:
        yield from judge_outbox(stream.outbox, look(stream.outbox))
    if stream.media is not None:
        yield from judge_media(stream.media, look(stream.media), write=True)
    if stream.tcp is not None and not site.offline:
        yield judge_sending(stream.tcp, connect(stream.tcp, site.seconds))


def _inside(stream: InsideStream) -> Iterator[Finding]:
    if stream.media is not None:
        yield from judge_media(stream.media, look(stream.media), write=False)
    if stream.tcp is not None:
        yield judge_listening(stream.tcp, bind(stream.tcp))
    made = stream.tcp is not None or stream.media is not None
    yield from judge_inbox(
        stream.inbox, look(stream.inbox), keeps=stream.after is After.KEEP, made=made
    )
    if stream.done is not None:
        yield from judge_inbox(stream.done, look(stream.done), keeps=False, made=False)


def look(path: Path) -> Folder:
    """Ask the system."""
    try:
        status = path.stat()
    except OSError:
        return Folder(exists=False)
    if not stat.S_ISDIR(status.st_mode):
        return Folder(exists=False)
    everybody = bool(status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX)
    return Folder(
        True,
        may(path, os.R_OK | os.X_OK),
        may(path, os.W_OK | os.X_OK),
        account(status.st_uid),
        everybody,
        path.is_mount(),
    )


def connect(tcp: TcpSending, seconds: float) -> str:
    """Try it; "" if somebody answers. Nothing is sent."""
    try:
        with closing(socket.create_connection((tcp.host, tcp.port), seconds)):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def bind(tcp: TcpListening) -> str:
    """Try it for a moment; "" if the port is free or somebody listens there already."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            tcp.host, tcp.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with closing(socket.socket(family, kind, number)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return ""
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return ""
        return error.strerror or str(error)


def judge_outbox(path: Path, found: Folder) -> Iterator[Finding]:
    """Pure."""
    if not found.exists:
        yield problem(path, "there is no such folder", "mount it, or make it (`mkdir`)")
    elif not found.write:
        what = f"this account may not write there; it belongs to {found.owner}"
        yield problem(path, what, "give the zone's account write access")
    elif found.mount:
        what = "it is itself a mount point: parts cannot be put there by rename"
        yield problem(path, what, "let the CDS watch a folder below it, and name that `outbox`")
    elif found.open:
        yield warning(path, "everybody may write there", f"chmod o-w {path}")
    else:
        yield ok(path, "parts can be put out")


def judge_inbox(path: Path, found: Folder, *, keeps: bool, made: bool) -> Iterator[Finding]:
    """Pure: ``keeps``: nothing is removed there; ``made``: Sluice makes it when it is needed."""
    if not found.exists:
        if not made:
            yield problem(path, "there is no such folder", "mount it, or make it (`mkdir`)")
    elif not found.read:
        what = f"this account may not read there; it belongs to {found.owner}"
        yield problem(path, what, "give the zone's account read access")
    elif not found.write and not keeps:
        what = "this account may not remove parts there"
        yield problem(path, what, "give it write access, or set `after: keep`")
    elif found.open:
        what = "everybody may write there; bundles are verified, but anybody can fill the disk"
        yield warning(path, what, f"chmod o-w {path}")
    else:
        yield ok(path, "parts can be taken in")


def judge_media(path: Path, found: Folder, *, write: bool) -> Iterator[Finding]:
    """Pure: a medium that is not there is the usual state."""
    if not found.exists:
        yield ok(path, "no medium is inserted")
    elif not found.read or (write and not found.write):
        what = f"this account may not use it; it belongs to {found.owner}"
        yield problem(path, what, "mount the medium for the zone's account (uid=, or chown)")
    else:
        yield ok(path, "the medium can be used")


def judge_sending(tcp: TcpSending, why: str) -> Finding:
    """Pure."""
    where = f"{tcp.host}:{tcp.port}"
    if why:
        remedy = "does `receive` or the relay run there? then firewalls and `to` in zone.yaml"
        return problem(where, f"no connection: {why}", remedy)
    return ok(where, "somebody listens there")


def judge_listening(tcp: TcpListening, why: str) -> Finding:
    """Pure."""
    where = f"{tcp.host}:{tcp.port}"
    if why:
        remedy = "correct `listen` in zone.yaml; a port below 1024 needs CAP_NET_BIND_SERVICE"
        return problem(where, f"it is not possible to listen there: {why}", remedy)
    return ok(where, "can be listened at, or already is")
