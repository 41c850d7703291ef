"""One HTTP request at a time: proxies, certificates, passwords, redirects (RFC 9110).

A password or client certificate goes to the hosts that zone.yaml names and to no other,
wherever a redirect leads. Nothing is ever decoded: a file is what the upstream stores.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies

from manifests import errors
from manifests.zone.model import Connection
from mirror.report import printable
from mirror.rsync import read_secret

_MAX_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
_MAX_WAIT = 300.0
_SMALL = 16 << 10
_MIN_RATE = 1024
"""Bytes a second below which an answer counts as stalled."""
_log = logging.getLogger("sluice.mirror")


class Answer:
    """A response whose body is read piece by piece. ``url`` is where it came from."""

    def __init__(self, response: requests.Response, url: str, patience: float) -> None:
        self._response = response
        self._patience = patience
        self.url = url
        self.status = response.status_code
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }

    def blocks(self, size: int, slowest: int) -> Iterator[bytes]:
        """The body as stored upstream. Raises UpstreamUnreachable when it breaks off, or

        in ``timeout`` seconds fewer bytes came than ``slowest`` a second would bring.
        """
        expected = self.headers.get("content-length", "")
        promised = int(expected) if expected.isascii() and expected.isdigit() else None
        total = fresh = 0
        since = time.monotonic()
        raw = self._response.raw
        try:
            while block := raw.read1(size, decode_content=False):
                total += len(block)
                fresh += len(block)
                yield block
                spent = time.monotonic() - since
                if spent >= self._patience:
                    if fresh < slowest * spent:
                        raise _unreachable(f"only {fresh} bytes in {spent:.0f} s", self.url)
                    fresh, since = 0, time.monotonic()
        except (urllib3.exceptions.HTTPError, requests.RequestException, OSError) as error:
            raise _unreachable(f"the answer broke off after {total} bytes", self.url) from error
        if promised is not None and total < promised:
            raise _unreachable(f"the answer ended after {total} of {promised} bytes", self.url)

    def wait(self) -> float | None:
        """Seconds that the server asks to wait (``Retry-After``), at most five minutes."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return min(float(value[:9]), _MAX_WAIT)
        try:
            moment = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        return max(0.0, min(moment.timestamp() - time.time(), _MAX_WAIT))


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
        self._trusted = {_origin(url) for url in trusted}
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._guard = threading.Lock()
        self._auth = None
        if connection.username is not None:
            password = connection.password or read_secret(connection.password_file)
            # As bytes: requests would encode them as Latin-1.
            self._auth = HTTPBasicAuth(connection.username.encode(), password.encode())
        self.slowest = _MIN_RATE
        if connection.bandwidth is not None:
            shared = max(1, connection.bandwidth // (4 * max(1, connection.parallel)))
            self.slowest = min(_MIN_RATE, shared)

    def close(self) -> None:
        """Close all connections."""
        with self._guard:
            for session in self._sessions:
                session.close()

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str], *, method: str = "GET", data: bytes = b""
    ) -> Iterator[Answer]:
        """Ask, following at most five redirects. Raises UpstreamUnreachable, UpstreamRefused."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(url, headers, method, data)
            try:
                if response.status_code not in _MOVED or "location" not in response.headers:
                    yield Answer(response, url, self._connection.timeout)
                    return
                target = urljoin(url, response.headers["location"])
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
        if _origin(url) != _origin(target):
            _log.info("%s redirects to %s", printable(url), printable(target))

    def is_trusted(self, url: str) -> bool:
        """Whether that host may see secrets."""
        return _origin(url) in self._trusted

    def _send(
        self, url: str, headers: Mapping[str, str], method: str, data: bytes
    ) -> requests.Response:
        known = self.is_trusted(url)
        secrets = self._secrets(url) if known else {}
        cert = self._connection.client_cert
        pair: str | tuple[str, str] | None = None
        if known and cert is not None:
            key = self._connection.client_key
            pair = str(cert) if key is None else (str(cert), str(key))
        wait = self._connection.timeout
        try:
            return self._session(known).request(
                method,
                url,
                data=data or None,
                # Never compressed on the way: sizes and Range count stored bytes.
                headers={**headers, **secrets, "Accept-Encoding": "identity"},
                auth=self._auth if known else None,
                cert=pair,
                verify=self._authorities(),
                proxies=self._proxies(url),
                timeout=(wait, wait),
                stream=True,
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            raise errors.UpstreamRefused(
                f"no trust in the connection: {printable(str(error))}",
                where=printable(url),
                remedy="check `ca_file`, `client_cert` and `client_key`, and this machine's clock",
            ) from error
        except requests.exceptions.ProxyError as error:
            raise _unreachable(f"the proxy failed: {printable(str(error))}", url) from error
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidHeader,
            UnicodeError,
        ) as error:
            raise errors.UpstreamRefused("not a usable address", where=printable(url)) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _unreachable(f"no answer: {_reason(error)}", url) from error
        except OSError as error:
            # requests says so when a certificate's file is missing.
            raise errors.ConfigError(printable(str(error)), where=printable(url)) from error

    def _session(self, trusted: bool) -> requests.Session:
        """One per thread, and another for foreign hosts: cookies do not mix."""
        name = "own" if trusted else "foreign"
        session: requests.Session | None = getattr(self._local, name, None)
        if session is None:
            session = requests.Session()
            # Else a ~/.netrc would add passwords that nobody wrote into zone.yaml.
            session.trust_env = False
            session.headers["User-Agent"] = "sluice"
            setattr(self._local, name, session)
            with self._guard:
                self._sessions.append(session)
        return session

    def _authorities(self) -> str | bool:
        if self._connection.ca_file is not None:
            return str(self._connection.ca_file)
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            if os.environ.get(name) and Path(os.environ[name]).is_file():
                return os.environ[name]
        return True

    def _proxies(self, url: str) -> dict[str, str]:
        if self._connection.proxy is not None:
            return {"http": self._connection.proxy, "https": self._connection.proxy}
        found: dict[str, str] = get_environ_proxies(url, no_proxy=None)
        return found


def _finish(response: requests.Response) -> None:
    """Let go of an answer; what is left of a small one is read, so that its connection serves

    the next request too. Upstreams answer many a 404 with a page.
    """
    length = response.headers.get("content-length", "")
    if response.status_code >= 300 and length.isdigit() and int(length) <= _SMALL:
        with suppress(urllib3.exceptions.HTTPError, OSError):
            response.raw.read(_SMALL, decode_content=False)
    response.close()


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    return parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else 80)


def _unreachable(what: str, url: str) -> errors.UpstreamUnreachable:
    return errors.UpstreamUnreachable(
        what,
        where=printable(url),
        remedy="check the network, `proxy` and the upstream, then sync again: it goes on "
        "where it stopped",
    )


def _reason(error: BaseException) -> str:
    """What the system or TLS said at the bottom of it, without the layers of libraries above."""
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "timed out"
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLError):
            break
        if isinstance(inner, OSError) and inner.strerror:
            return printable(inner.strerror.lower())
        inner = inner.__cause__ or inner.__context__
    return printable(str(inner or error))
