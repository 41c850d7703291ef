"""Certificates of TLS: the server's, and those that carriers and upstreams are reached by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from manifests.errors import ConfigError
from manifests.state import format_time
from repo_server.pair import read_pair, warnings
from sluice.health.finding import Finding, ok, problem, warning
from sluice.health.site import Site

_MAX = 1 << 20
_RENEW = "put a renewed one there"


def certificates(site: Site) -> Iterator[Finding]:
    """All that zone.yaml names."""
    if site.inside is not None and site.inside.serve.tls is not None:
        yield from _server(site)
    for path, remedy in _others(site):
        yield from judge(path, _ends(path), site.now, site.days, remedy)


def _server(site: Site) -> Iterator[Finding]:
    assert site.inside is not None
    serve = site.inside.serve
    assert serve.tls is not None
    try:
        pair = read_pair(serve.tls)
    except ConfigError as error:
        yield problem(error.where or serve.tls.cert, error.what, error.remedy)
        return
    lines = warnings(serve.tls, pair, serve.external_url, site.now)
    for line in lines:
        say = warning if " expires on " in line else problem
        yield say(serve.tls.cert, line, "put a certificate there that is right (see HTTPS)")
    if not lines:
        yield from judge(
            serve.tls.cert, pair.leaf().not_valid_after_utc, site.now, site.days, _RENEW
        )


def _others(site: Site) -> Iterator[tuple[Path, str]]:
    if site.outside is not None:
        for repository in site.outside.repositories.values():
            if repository.connection.client_cert is not None:
                yield repository.connection.client_cert, _RENEW
        pinned = [stream.tcp.tls for stream in site.outside.streams.values() if stream.tcp]
    else:
        assert site.inside is not None
        pinned = [stream.tcp.tls for stream in site.inside.streams.values() if stream.tcp]
    for tls in pinned:
        if tls is not None:
            yield tls.cert, "make a new pair, and pin it on the other side"
            yield tls.pin, "have the other side make a new pair, and put its certificate there"


def _ends(path: Path) -> datetime | str:
    """When the first certificate in a file ends, or why it cannot be told."""
    try:
        with path.open("rb") as file:
            return x509.load_pem_x509_certificate(file.read(_MAX)).not_valid_after_utc
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, x509.InvalidVersion):
        return "is no certificate in PEM"


def judge(
    path: Path, ends: datetime | str, now: datetime, days: int, remedy: str
) -> Iterator[Finding]:
    """Pure: whether a certificate is valid, and how long."""
    if isinstance(ends, str):
        yield problem(path, ends, "put the right file there, readable by the zone's account")
    elif now >= ends:
        yield problem(path, f"expired on {format_time(ends)}", remedy)
    elif now >= ends - timedelta(days=days):
        yield warning(path, f"expires on {format_time(ends)}, in {(ends - now).days} days", remedy)
    else:
        yield ok(path, f"valid until {format_time(ends)}")
