"""Getting into a registry: nothing, a password with every request, or tokens.

Docker Registry v2 authentication ("Token Authentication Specification" and its OAuth2 form): a
request without a valid token is answered with 401 and the address of a token server, which gives a
token for one image and some minutes. Tokens are renewed before they expire and whenever the
registry no longer takes them, so that a download of hours goes on where it stood.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urlsplit

from manifests import errors, jsontext
from manifests.zone.model import Connection
from mirror.registry.authfile import Login, Logins
from mirror.registry.challenge import Challenge, challenges
from mirror.report import printable
from mirror.web import Answer, Web

_MAX_ANSWER = 1 << 20
_DEFAULT_LIFE = 60.0
_CALL = re.compile(r"(.+)/(?:(?:manifests|blobs|referrers)/[^/]+|tags/list)")
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    until: float


class Doorkeeper:
    """Knows the ``Authorization`` header of each image; safe to share between threads."""

    def __init__(
        self,
        connection: Connection,
        base: str,
        logins: Logins,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._base = base
        self._logins = logins
        self._clock = clock
        self._tokens: dict[str, _Token] = {}
        self._challenges: dict[str, Challenge] = {}
        self._basic = False
        """Whether the registry wants the password itself, for every image."""
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def headers(self, url: str) -> Mapping[str, str]:
        """What a request for ``url`` carries. Raises as ``renew``."""
        image = image_of(url)
        with self._lock(image):
            token = self._tokens.get(image)
            login = self._logins.of(image) if token is None and self._basic else None
            if login is not None and not login.identity:
                return {"Authorization": login.basic}
            if token is not None and token.until <= self._clock():
                token = self._fetch(image, self._challenges[image])
        return {} if token is None else {"Authorization": token.header}

    def renew(self, url: str, answer: Answer, used: str) -> bool:
        """After a 401: whether another header than ``used`` is worth a try.

        Raises UpstreamRefused (the token server says no) and UpstreamUnreachable.
        """
        image = image_of(url)
        with self._lock(image):
            token = self._tokens.get(image)
            if token is not None and token.header != used:
                return True
            found = challenges(answer.headers.get("www-authenticate", ""))
            bearer = next((one for one in found if one.scheme == "bearer"), None)
            if bearer is not None:
                self._challenges[image] = bearer
                return self._fetch(image, bearer).header != used
            login = self._logins.of(image)
            if login is None or login.identity or not any(one.scheme == "basic" for one in found):
                return False
            self._basic = True
            return login.basic != used

    def _lock(self, image: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(image, threading.Lock())

    def _fetch(self, image: str, challenge: Challenge) -> _Token:
        """A new token. The caller holds the image's lock."""
        realm = challenge.values.get("realm", "")
        try:
            ours, theirs = urlsplit(self._base), urlsplit(realm)
            good = theirs.scheme in ("http", "https") and bool(theirs.hostname)
        except ValueError:
            good = False
        if not good or (ours.scheme == "https" and theirs.scheme != "https"):
            raise errors.UpstreamRefused(
                f"the registry names a token server that is not asked: {printable(realm)}",
                where=printable(self._base),
            )
        asked = self._clock()
        found = self._ask(realm, challenge, image, self._logins.of(image))
        text = next((found[k] for k in ("token", "access_token") if found.get(k)), None)
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise errors.UpstreamRefused(
                "the token server gave no token", where=printable(realm), remedy=_REMEDY
            )
        life = found.get("expires_in")
        seconds = float(life) if isinstance(life, int) and 0 < life < 1 << 31 else _DEFAULT_LIFE
        token = self._tokens[image] = _Token(f"Bearer {text}", asked + seconds * 0.9)
        return token

    def _ask(
        self, realm: str, challenge: Challenge, image: str, login: Login | None
    ) -> Mapping[str, object]:
        query = [("service", challenge.values.get("service", ""))]
        scopes = challenge.values.get("scope", "").split() or _scopes(image)
        query += [("scope", scope) for scope in scopes]
        query = [(key, value) for key, value in query if value]
        secrets: Mapping[str, str] = {}
        body = b""
        if login is not None and login.identity:
            form = [("grant_type", "refresh_token"), ("client_id", "sluice"), *query]
            body = urlencode([*form, ("refresh_token", login.identity)]).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            url = realm
        else:
            headers = {}
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
            if login is not None:
                secrets = {"Authorization": login.basic}
        own = urlsplit(realm).hostname == urlsplit(self._base).hostname
        connection = replace(
            self._connection, username=None, password=None, password_file=None,
            client_cert=self._connection.client_cert if own else None,
            client_key=self._connection.client_key if own else None,
        )  # fmt: skip
        web = Web(connection, [realm], stay=True, secrets=lambda _: secrets)
        try:
            with web.get(url, headers, method="POST" if body else "GET", data=body) as answer:
                return _parsed(answer, realm)
        finally:
            web.close()


_REMEDY = "check `username` and `password_file`, or `auth_file`"


def _parsed(answer: Answer, realm: str) -> Mapping[str, object]:
    if answer.status in _AGAIN:
        raise errors.UpstreamUnreachable(
            f"the token server answered {answer.status}",
            where=printable(realm),
            remedy="sync again later",
        )
    if answer.status != 200:
        raise errors.UpstreamRefused(
            f"the token server answered {answer.status}", where=printable(realm), remedy=_REMEDY
        )
    data = b""
    for block in answer.blocks(64 << 10, 1):
        data += block
        if len(data) > _MAX_ANSWER:
            break
    try:
        found = jsontext.loads(data) if len(data) <= _MAX_ANSWER else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise errors.UpstreamRefused(
            "the token server did not answer with a token", where=printable(realm), remedy=_REMEDY
        )
    return found


def image_of(url: str) -> str:
    """The image that a call of the distribution API is about; "" for none."""
    _, sign, rest = urlsplit(url).path.partition("/v2/")
    match = _CALL.fullmatch(rest) if sign else None
    return "" if match is None else match[1]


def _scopes(image: str) -> list[str]:
    return [f"repository:{image}:pull"] if image else []
