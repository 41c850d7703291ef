"""What a Nexus Repository 3 holds, by its REST API (``/service/rest/v1/assets``).

Pages follow each other by continuation tokens. Each page is written down as it comes, so that a
listing that broke off goes on where it stopped. Listings since 3.13 are read: ``fileSize``,
``lastModified`` and SHA-256 may be missing, and the address of a file is never believed, since
Nexus builds it from a base address that may be wrong outside its own network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from manifests import errors
from manifests.formats.base import Wanted
from manifests.formats.maven.layout import METADATA, checksum_of
from manifests.tree import MAX_SIZE
from manifests.zone.model import Nexus
from mirror.http import HttpTransport
from mirror.report import printable

_API = "/service/rest/v1/assets"
_MAX_PAGE = 64 << 20
_MOST_ASSETS = 5_000_000
_MAX_TOKEN = 4096
_GOES_ON = timedelta(days=1)
"""For how long a listing that broke off is continued."""
_STRENGTHS = (("sha512", "sha256"), ("sha1", "md5"))
_SKIPPED = (".index/", ".meta/", ".nexus/")

Asset = Mapping[str, object]
"""As ``manifests.formats.maven.roots`` reads it: ``path``, perhaps ``size``, checksums."""


class Listing:
    """The assets of one repository. ``notes`` is where pages wait for the next run.

    They stay there: what is held in memory does not grow with the listing.
    """

    def __init__(self, nexus: Nexus, transport: HttpTransport, notes: Path) -> None:
        self._nexus = nexus
        self._transport = transport
        self._notes = notes
        self._fingerprint = ""

    def fingerprint(self) -> str:
        """What stands for all assets and their promises in the order of the listing.

        Lists them, once. Raises UpstreamError, MalformedIndex, OversizedIndex.
        """
        if not self._fingerprint:
            self._fingerprint = self._listed()
        return self._fingerprint

    def assets(self) -> Iterator[Asset]:
        """All of them, as they were listed. Raises what ``fingerprint`` does."""
        self.fingerprint()
        with self._notes.open(encoding="utf-8") as notes:
            next(notes)
            for line in notes:
                yield from json.loads(line)["items"]

    def forget(self) -> None:
        """The listing was used."""
        self._notes.unlink(missing_ok=True)
        self._fingerprint = ""

    # --- pages

    def _listed(self) -> str:
        found, token = self._resumed()
        if token is not None:
            try:
                return self._go_on(found, token)
            except errors.UpstreamError as error:
                # A token that Nexus no longer knows is a 406 or a 500. If it lists at all, that
                # was the reason: from the beginning.
                try:
                    self._page("")
                except errors.UpstreamError:
                    raise error from None
        self._begin()
        return self._go_on(_Found(), "")

    def _go_on(self, found: _Found, token: str) -> str:
        """Write down every page from ``token`` on; the fingerprint of all."""
        seen = {token}
        with self._notes.open("a", encoding="utf-8") as notes:
            while True:
                rows, following = self._page(token)
                text = json.dumps(rows)
                found.add(text, len(rows))
                if found.count > _MOST_ASSETS:
                    raise errors.OversizedIndex(
                        f"more than {_MOST_ASSETS} files are listed", where=self._where
                    )
                if following in seen:
                    raise errors.MalformedIndex(
                        "a listing that leads back to an earlier page", where=self._where
                    )
                notes.write(f'{{"items": {text}, "next": {json.dumps(following)}}}\n')
                notes.flush()
                if following is None:
                    return found.fingerprint()
                seen.add(following)
                token = following

    @property
    def _where(self) -> str:
        return f"{self._nexus.url}{_API}?repository={self._nexus.repository}"

    def _page(self, token: str) -> tuple[list[Asset], str | None]:
        words = {"repository": self._nexus.repository}
        if token:
            words["continuationToken"] = token
        url = f"{self._nexus.url}{_API}?{urlencode(words)}"
        got = self._transport.fetch(
            Wanted(
                "listing",
                url,
                headers={"Accept": "application/json"},
                limit=_MAX_PAGE,
                required=False,
                volatile=True,
            )
        )
        if got.error is not None:
            raise got.error
        if got.file is None:
            raise errors.UpstreamRefused(
                f"Nexus does not list the repository {self._nexus.repository}"
                f" (status {got.absent})",
                where=self._nexus.url,
                remedy="check `nexus`, `repository` and `username`: the user needs the privilege"
                " to browse it (nx-repository-view-maven2-NAME-browse)",
            )
        try:
            return _read(got.file.read_bytes(), self._where)
        finally:
            got.file.unlink(missing_ok=True)

    # --- notes

    def _head(self) -> dict[str, object]:
        return {"nexus": self._nexus.url, "repository": self._nexus.repository}

    def _begin(self) -> None:
        self._notes.parent.mkdir(parents=True, exist_ok=True)
        begun = datetime.now(UTC).isoformat()
        self._notes.write_text(json.dumps({**self._head(), "begun": begun}) + "\n", "utf-8")

    def _resumed(self) -> tuple[_Found, str | None]:
        """What an interrupted listing brought, and the token to go on with; None: begin anew."""
        found = _Found()
        token: str | None = None
        try:
            with self._notes.open("r+b") as notes:
                head = json.loads(notes.readline())
                begun = datetime.fromisoformat(head.pop("begun"))
                if head != self._head() or datetime.now(UTC) - begun > _GOES_ON:
                    return found, None
                whole = notes.tell()
                for line in notes:
                    if not line.endswith(b"}\n"):
                        break  # it was cut
                    page = json.loads(line)
                    found.add(json.dumps(page["items"]), len(page["items"]))
                    token = page["next"]
                    whole += len(line)
                notes.truncate(whole)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return _Found(), None
        return found, token


class _Found:
    """What was listed so far: how much, and a hash of it that knows no pages."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, rows: str, count: int) -> None:
        """Take a page: its rows as a JSON list."""
        if count:
            self._hash.update(rows[1:-1].encode() + b", ")
        self.count += count or 1  # a page with nothing in it counts, too: they must end

    def fingerprint(self) -> str:
        return self._hash.hexdigest()


def _read(data: bytes, where: str) -> tuple[list[Asset], str | None]:
    """One page: what is wanted of it, and the next token."""
    try:
        page = json.loads(data)
        items, token = page["items"], page.get("continuationToken")
        if not isinstance(items, list) or not (token is None or isinstance(token, str)):
            raise TypeError("not a page")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.MalformedIndex(
            "this is no listing of Nexus",
            where=where,
            remedy="check `nexus`: it is the address where its user interface opens",
        ) from error
    if token is not None and (len(token) > _MAX_TOKEN or not token.isprintable()):
        raise errors.MalformedIndex("a continuation token that is none", where=where)
    return list(_assets(items, where)), token or None


def _assets(items: list[object], where: str) -> Iterator[Asset]:
    for item in items:
        path = item.get("path") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(path, str):
            raise errors.MalformedIndex("an asset without a path", where=where)
        kind = item.get("format", "maven2")
        if kind != "maven2":
            raise errors.ConfigError(
                f"a repository of Nexus's format {printable(str(kind))}, not maven2",
                where=where,
                remedy="name a Maven repository of this Nexus",
            )
        path = path.removeprefix("/")
        if path.startswith(_SKIPPED) or path.rpartition("/")[2] == METADATA or checksum_of(path):
            continue  # made here
        row: dict[str, object] = {"path": path}
        size = item.get("fileSize")
        if isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_SIZE:
            row["size"] = size
        sums = item.get("checksum")
        if isinstance(sums, dict):
            row.update(_strongest(sums))
        yield row


def _strongest(sums: dict[str, object]) -> dict[str, str]:
    """The strongest checksums that are there: beside them the others prove nothing more."""
    for kinds in _STRENGTHS:
        found = {kind: sums[kind] for kind in kinds if kind in sums}
        texts = {kind: value.lower() for kind, value in found.items() if isinstance(value, str)}
        if texts:
            return texts
    return {}
