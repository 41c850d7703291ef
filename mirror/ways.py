"""How each host is reached: proxy, certificates, and the connections that are kept open.

It is worked out once for each host. A small file costs hardly more than its request then, and a
listing of a million files is as many requests.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy

from manifests.zone.model import Connection

Origin = tuple[str, str, int]
_SYSTEMS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
"""Whom the machine trusts, where Debian and RHEL keep it."""
_HOSTS = 1000
"""So many are known at a time: a list of mirrors or a redirect may name any number."""
_KEPT = 32
"""Connections to one host that stay open; more threads than that open new ones."""


class Way(NamedTuple):
    """The connections to one host."""

    pool: urllib3.HTTPConnectionPool
    before: str
    """What a request's target begins with: "", or the host, for a proxy that wants to know it."""


class Ways(HTTPAdapter):
    """The ways of one ``Connection``; safe to share between threads."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(pool_connections=_HOSTS, pool_maxsize=_KEPT)
        self._connection = connection
        self._known: dict[Origin, Way] = {}

    def to(self, url: str, *, certificate: bool) -> Way:
        """The way to the host of ``url``, with the client's certificate if it may see that.

        Raises what ``requests`` does for an address or a proxy that is none, and OSError for
        a certificate that is not there.
        """
        origin = origin_of(url)
        way = self._known.get(origin)
        if way is None:
            if len(self._known) >= _HOSTS:  # so that none of ours is closed for a newer one
                self._known.clear()
            way = self._known[origin] = self._find(url, certificate=certificate)
        return way

    def _find(self, url: str, *, certificate: bool) -> Way:
        request = requests.Request("GET", url).prepare()  # names the host as in the DNS
        proxies = self._proxies(url)
        cert = self._pair() if certificate else None
        verify = self._authorities()
        pool = self.get_connection_with_tls_context(request, verify, proxies, cert)
        assert isinstance(pool, urllib3.HTTPConnectionPool)
        self.cert_verify(pool, url, verify, cert)  # type: ignore[no-untyped-call]
        parts = urlsplit(request.url or url)
        if parts.scheme != "http" or select_proxy(url, proxies) is None:
            return Way(pool, "")
        return Way(pool, f"http://{parts.netloc.rpartition('@')[2]}")

    def _pair(self) -> str | tuple[str, str] | None:
        cert, key = self._connection.client_cert, self._connection.client_key
        if cert is None:
            return None
        return str(cert) if key is None else (str(cert), str(key))

    def _authorities(self) -> str | bool:
        if self._connection.ca_file is not None:
            return str(self._connection.ca_file)
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            if os.environ.get(name) and Path(os.environ[name]).is_file():
                return os.environ[name]
        # Where a site adds its own authority; the list that comes with Python's libraries
        # knows only the public ones, and is for a machine without any.
        return next((path for path in _SYSTEMS if Path(path).is_file()), True)

    def _proxies(self, url: str) -> dict[str, str]:
        if self._connection.proxy is not None:
            return {"http": self._connection.proxy, "https": self._connection.proxy}
        found: dict[str, str] = get_environ_proxies(url, no_proxy=None)
        return found


def origin_of(url: str) -> Origin:
    """Scheme, host and port."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    return parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else 80)
