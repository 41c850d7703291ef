"""Syslog: RFC 5424 by UDP (RFC 5426) or TCP (RFC 6587, octet counting), or this machine's own.

TCP acknowledges nothing by itself: after the message our side is closed, and a peer that
resets the connection instead of closing it has not taken it. By UDP a closed port shows
only where the other machine says so.
"""

from __future__ import annotations

import socket
from datetime import datetime

from manifests.errors import CarrierError
from manifests.zone.notices import Syslog
from sluice.notices.message import Sender, local_syslog, syslog
from sluice.notices.plan import Notice

SECONDS = 5.0
_ECHO = 0.2
"""Seconds to wait for a word that a datagram was refused."""
_GOODBYE = 1.0


def send_syslog(settings: Syslog, notice: Notice, sender: Sender, now: datetime) -> None:
    """Hand over one message. Raises CarrierError; its text names no more than the address."""
    if settings.path is not None:
        where, data = (
            str(settings.path),
            local_syslog(notice, sender, settings.facility, now),
        )
    else:
        where = f"{settings.transport}://{settings.host}:{settings.port}"
        data = syslog(notice, sender, settings.facility, now)
    try:
        if settings.path is not None:
            _local(str(settings.path), data)
        elif settings.transport == "udp":
            _datagram(settings.host, settings.port, data)
        else:
            _stream(settings.host, settings.port, data)
    except OSError as error:
        raise CarrierError(
            f"syslog does not take messages: {error.strerror or error}",
            where=where,
            remedy="see whether it listens there, then: `sluice notices test`",
        ) from error


def _local(path: str, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect(path)
        sock.send(data)


def _datagram(host: str, port: int, data: bytes) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(_ECHO)
        sock.connect(address)
        sock.send(data)
        try:
            sock.recv(1)
        except TimeoutError:
            return


def _stream(host: str, port: int, data: bytes) -> None:
    with socket.create_connection((host, port), SECONDS) as sock:
        sock.sendall(b"%d %b" % (len(data), data))
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(_GOODBYE)
        try:
            sock.recv(1)
        except TimeoutError:
            return
