"""A small Nexus Repository 3: its assets API with pages, errors and logins, and its files.

Written from Sonatype's documentation of the REST API ("Assets API", "Pagination"): pages follow
each other by ``continuationToken``, an unknown token is a 406 (a real 3.71 answers 500), an unknown
repository a 404, a wrong password 401. ``era`` 313 leaves out what Nexus 3.13 did not
tell: ``fileSize``, ``lastModified``, SHA-256. A proxy fetches what it has not cached when it is
asked for the file.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.mavenweb import MavenWeb, Said

_API = "service/rest/v1/assets"


@dataclass
class Nexus:
    """``files`` are cached; ``remote`` is what a proxy repository can still fetch."""

    files: dict[str, bytes]
    remote: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Listed, but nobody finds them."""
    repository: str = "maven-releases"
    login: tuple[str, str] | None = None
    era: int = 360
    page: int = 10
    pages: list[str] = field(default_factory=list)
    """The tokens that were asked for, "" for the first page."""
    fetched: list[str] = field(default_factory=list)
    break_at: int | None = None
    """The number of the page request that fails, from 1."""
    odd: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda items: items
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator[Nexus]:
        web = MavenWeb({}, handlers={"": self._answer})
        with web.serving():
            self.url = web.url.rstrip("/")
            yield self

    def get(self, path: str) -> bytes | None:
        return self.files.get(path)

    def _answer(self, request: BaseHTTPRequestHandler) -> Said:
        if self.login is not None:
            given = request.headers.get("Authorization", "")
            wanted = base64.b64encode(":".join(self.login).encode()).decode()
            if given != f"Basic {wanted}":
                return Said(401, b"", {"WWW-Authenticate": 'BASIC realm="Sonatype Nexus"'})
        parts = urlsplit(request.path)
        path = unquote(parts.path).removeprefix("/")
        if path == _API:
            return self._list(parse_qs(parts.query))
        start = f"repository/{self.repository}/"
        if not path.startswith(start):
            return Said(404, b"<html>not found</html>")
        return self._file(path.removeprefix(start))

    def _list(self, query: dict[str, list[str]]) -> Said:
        token = query.get("continuationToken", [""])[0]
        self.pages.append(token)
        if self.break_at is not None and len(self.pages) >= self.break_at:
            return Said(500, b"<html>starting</html>")
        if query.get("repository") != [self.repository]:
            return Said(404, b"")
        names = sorted(self.files)
        tokens = {hashlib.md5(str(n).encode()).hexdigest(): n
                  for n in range(self.page, len(names), self.page)}  # fmt: skip
        if token and token not in tokens:
            return Said(406 if self.era < 370 else 500, b"")
        start = tokens.get(token, 0)
        items = self.odd([self._asset(name) for name in names[start : start + self.page]])
        following = start + self.page
        after = hashlib.md5(str(following).encode()).hexdigest()
        page = {
            "items": items,
            "continuationToken": after if following < len(names) else None,
        }
        return Said(200, json.dumps(page, indent=2).encode(), {"Content-Type": "application/json"})

    def _asset(self, path: str) -> dict[str, Any]:
        data = self.files[path]
        kinds = ("md5", "sha1") if self.era <= 313 else ("md5", "sha1", "sha256", "sha512")
        asset: dict[str, Any] = {
            # As a Nexus behind another name tells it: of no use to anybody else.
            "downloadUrl": f"http://nexus.example.org/repository/{self.repository}/{path}",
            "path": path if self.era < 370 else f"/{path}",
            "id": base64.b64encode(path.encode()).decode(),
            "repository": self.repository,
            "format": "maven2",
            "checksum": {kind: hashlib.new(kind, data).hexdigest() for kind in kinds},
        }
        if self.era > 313:
            asset["fileSize"] = len(data)
            asset["lastModified"] = "2024-05-01T12:00:00.000+00:00"
        return asset

    def _file(self, path: str) -> Said:
        if path not in self.files and path in self.remote:
            self.files[path] = self.remote[path]
        data = None if path in self.gone else self.files.get(path)
        if data is None:
            file, _, kind = path.rpartition(".")
            whole = self.files.get(file)
            if whole is None or kind not in ("sha1", "md5"):
                return Said(404, b"<html>not found</html>")
            return Said(200, hashlib.new(kind, whole).hexdigest().encode())
        self.fetched.append(path)
        return Said(200, data, {"ETag": f'"{{SHA1{{{hashlib.sha1(data).hexdigest()}}}}}"'})
