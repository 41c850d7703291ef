"""One HTTP request at a time: proxies, certificates, passwords, redirects (RFC 9110).

A password or client certificate goes to the hosts that zone.yaml names and to no other,
wherever a redirect leads. Nothing is ever decoded: a file is what the upstream stores.
"""

from __future__ import annotations

import base64
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3

from manifests import errors
from manifests.zone.model import Connection
from mirror.report import printable
from mirror.rsync import read_secret
from mirror.ways import Ways, origin_of

_MAX_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
_MAX_WAIT = 300.0
_SMALL = 16 << 10
_MIN_RATE = 1024
"""Bytes a second below which an answer counts as stalled."""
_LENGTH = re.compile(r"[0-9]{1,19}")
_log = logging.getLogger("sluice.mirror")


class Answer:
    """A response whose body is read piece by piece. ``url`` is where it came from."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, patience: float) -> None:
        self._response = response
        self._patience = patience
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): response.headers[name] for name in response.headers
        }

    @property
    def length(self) -> int | None:
        """Bytes of the body, if the server says a number that can be one."""
        return _length(self.headers)

    def blocks(self, size: int, slowest: int) -> Iterator[bytes]:
        """The body as stored upstream. Raises UpstreamUnreachable when it breaks off, or

        in ``timeout`` seconds fewer bytes came than ``slowest`` a second would bring.
        """
        promised = self.length
        total = fresh = 0
        since = time.monotonic()
        try:
            while block := self._response.read1(size, decode_content=False):
                total += len(block)
                fresh += len(block)
                yield block
                spent = time.monotonic() - since
                if spent >= self._patience:
                    if fresh < slowest * spent:
                        raise _unreachable(f"only {fresh} bytes in {spent:.0f} s", self.url)
                    fresh, since = 0, time.monotonic()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(f"the answer broke off after {total} bytes", self.url) from error
        if promised is not None and total < promised:
            raise _unreachable(f"the answer ended after {total} of {promised} bytes", self.url)

    def wait(self) -> float | None:
        """Seconds that the server asks to wait (``Retry-After``), at most five minutes."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return min(float(value[:9]), _MAX_WAIT)
        try:
            moment = parsedate_to_datetime(value).timestamp()
        except (TypeError, ValueError, OverflowError, OSError):
            return None
        return max(0.0, min(moment - time.time(), _MAX_WAIT))


class Web:
    """Sends requests as ``Connection`` says; safe to share between threads.

    ``trusted`` are the URLs whose hosts may see the password and the certificate. With
    ``stay`` no other host is asked at all, whatever a redirect says. ``secrets`` gives the
    headers that only those hosts may see, by URL.
    """

    def __init__(
        self,
        connection: Connection,
        trusted: Sequence[str],
        *,
        stay: bool = False,
        secrets: Callable[[str], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self._connection = connection
        self._secrets = secrets
        self._stay = stay
        self._trusted = {origin_of(url) for url in trusted}
        self._ways = Ways(connection)
        self._login: Mapping[str, str] = {}
        if connection.username is not None:
            password = connection.password or read_secret(connection.password_file)
            self._login = _basic(connection.username, password)
        self.slowest = _MIN_RATE
        if connection.bandwidth is not None:
            shared = max(1, connection.bandwidth // (4 * max(1, connection.parallel)))
            self.slowest = min(_MIN_RATE, shared)

    def close(self) -> None:
        """Close all connections."""
        self._ways.close()

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str], *, method: str = "GET", data: bytes = b""
    ) -> Iterator[Answer]:
        """Ask, following at most five redirects. Raises UpstreamUnreachable, UpstreamRefused."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(url, headers, method, data)
            try:
                if response.status not in _MOVED or "location" not in response.headers:
                    yield Answer(response, url, self._connection.timeout)
                    return
                target = _redirected(url, response.headers["location"])
            finally:
                _finish(response)
            self._allow(url, target)
            url = target
        raise errors.UpstreamRefused(
            f"more than {_MAX_REDIRECTS} redirects",
            where=printable(url),
            remedy="write the address where the files really are into `upstream`",
        )

    def _allow(self, url: str, target: str) -> None:
        """Refuse a redirect to anything but http(s), or from https to http, or to others.

        Raises UpstreamRefused; UpstreamMismatch where only the host is wrong: that may
        concern a single file.
        """
        ours, theirs = urlsplit(url), urlsplit(target)
        downgrade = ours.scheme == "https" and theirs.scheme != "https"
        if theirs.scheme not in ("http", "https") or downgrade or not theirs.hostname:
            raise errors.UpstreamRefused(
                f"a redirect to {printable(target)} is not followed", where=printable(url)
            )
        if self._stay and theirs.hostname != ours.hostname:
            raise errors.UpstreamMismatch(
                f"a redirect to another host, {printable(target)}, is not followed",
                where=printable(url),
                remedy="if the files are really there, write that address into `upstream`",
            )
        if origin_of(url) != origin_of(target):
            _log.info("%s redirects to %s", printable(url), printable(target))

    def is_trusted(self, url: str) -> bool:
        """Whether that host may see secrets."""
        return origin_of(url) in self._trusted

    def _send(
        self, url: str, headers: Mapping[str, str], method: str, data: bytes
    ) -> urllib3.BaseHTTPResponse:
        known = self.is_trusted(url)
        parts = urlsplit(url)
        sent = {"Accept": "*/*", "User-Agent": "sluice", **headers}
        if parts.username is not None:  # as a mirror list may say
            sent |= _basic(unquote(parts.username), unquote(parts.password or ""))
        if known:
            sent |= {**self._secrets(url), **self._login}
        # Never compressed on the way: sizes and Range count stored bytes.
        sent["Accept-Encoding"] = "identity"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        wait = self._connection.timeout
        try:
            way = self._ways.to(url, certificate=known)
            return way.pool.urlopen(
                method,
                way.before + target,
                body=data or None,
                headers=sent,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=urllib3.Timeout(connect=wait, read=wait),
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.SSLError as error:
            raise errors.UpstreamRefused(
                f"no trust in the connection: {_reason(error)}",
                where=printable(url),
                remedy="check `ca_file`, `client_cert` and `client_key`, and this machine's clock",
            ) from error
        except urllib3.exceptions.ProxyError as error:
            raise _unreachable(f"the proxy failed: {printable(str(error))}", url) from error
        except (ValueError, urllib3.exceptions.InvalidHeader) as error:
            # Also what requests and urllib3 say of hosts and proxies that are none.
            raise errors.UpstreamRefused("not a usable address", where=printable(url)) from error
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(f"no answer: {_reason(error)}", url) from error
        except (requests.RequestException, OSError) as error:
            # A certificate's file is missing, or a proxy of a kind that we do not speak to.
            raise errors.ConfigError(printable(str(error)), where=printable(url)) from error


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads. Raises UpstreamRefused for what is no address at all."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise errors.UpstreamRefused(
            f"a redirect to {printable(location)} is not followed", where=printable(url)
        ) from error


def _basic(username: str, password: str) -> dict[str, str]:
    """Who we are (RFC 7617), in UTF-8."""
    both = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {both}"}


def _finish(response: urllib3.BaseHTTPResponse) -> None:
    """Let go of an answer; what is left of a small one is read, so that its connection serves

    the next request too. Upstreams answer many a 404 with a page.
    """
    length = _length(response.headers)
    if response.status >= 300 and length is not None and length <= _SMALL:
        with suppress(urllib3.exceptions.HTTPError, OSError):
            response.read(_SMALL, decode_content=False)
    response.close()
    response.release_conn()


def _length(headers: Mapping[str, str]) -> int | None:
    """Content-Length (RFC 9110, 8.6); None for what is none, or for no size of any file."""
    match = _LENGTH.fullmatch(headers.get("content-length", ""))
    return int(match[0]) if match is not None else None


def _unreachable(what: str, url: str) -> errors.UpstreamUnreachable:
    return errors.UpstreamUnreachable(
        what,
        where=printable(url),
        remedy="check the network, `proxy` and the upstream, then sync again: it goes on "
        "where it stopped",
    )


def _reason(error: BaseException) -> str:
    """What the system or TLS said at the bottom of it, without the layers of libraries above."""
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
        return "timed out"
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLError):
            break
        if isinstance(inner, OSError) and inner.strerror:
            return printable(inner.strerror.lower())
        inner = inner.__cause__ or inner.__context__
    return printable(str(inner or error))
