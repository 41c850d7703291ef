"""What a Nexus Repository 3 holds, by its REST API (``/service/rest/v1/assets``).

Pages follow each other by continuation tokens. Each page is written down as it comes, so that a
listing that broke off goes on where it stopped. Listings since 3.13 are read: ``fileSize``,
``lastModified`` and SHA-256 may be missing, and the address of a file is never believed, since
Nexus builds it from a base address that may be wrong outside its own network.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

from manifests import errors
from manifests.formats.base import Wanted
from manifests.formats.maven.layout import CHECKSUMS, METADATA, checksum_of, shown
from manifests.zone.model import Nexus
from mirror.http import HttpTransport
from mirror.report import printable

_API = "/service/rest/v1/assets"
_MAX_PAGE = 64 << 20
_MOST_ASSETS = 5_000_000
_MAX_TOKEN = 4096
_GOES_ON = timedelta(days=1)
"""For how long a listing that broke off is continued."""
_SKIPPED = (".index/", ".meta/", ".nexus/")

Asset = Mapping[str, object]
"""As ``manifests.formats.maven.roots`` reads it: ``path``, ``url``, perhaps ``size``, checksums."""


class Listing:
    """The assets of one repository. ``notes`` is where pages wait for the next run."""

    def __init__(self, nexus: Nexus, transport: HttpTransport, notes: Path) -> None:
        self._nexus = nexus
        self._transport = transport
        self._notes = notes

    def assets(self) -> list[Asset]:
        """All of them. Raises UpstreamError, MalformedIndex, OversizedIndex."""
        rows, token = self._resumed()
        if token is None:
            self._begin()
            return list(self._pages(""))
        try:
            return [*rows, *self._pages(token)]
        except errors.UpstreamError as error:
            # A token that Nexus no longer knows is a 406 or a 500. If it lists at all, that
            # was the reason: from the beginning.
            try:
                self._page("")
            except errors.UpstreamError:
                raise error from None
        self._begin()
        return list(self._pages(""))

    def forget(self) -> None:
        """The listing was used."""
        self._notes.unlink(missing_ok=True)

    # --- pages

    def _pages(self, token: str) -> Iterator[Asset]:
        seen = {token}
        count = 0
        while True:
            rows, following = self._page(token)
            self._note({"items": rows, "next": following})
            count += len(rows)
            if count > _MOST_ASSETS:
                raise errors.OversizedIndex(
                    f"more than {_MOST_ASSETS} files are listed", where=self._where
                )
            yield from rows
            if following is None:
                return
            if following in seen:
                raise errors.MalformedIndex(
                    "a listing that leads back to an earlier page", where=self._where
                )
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

    def _note(self, page: Mapping[str, object]) -> None:
        with self._notes.open("a", encoding="utf-8") as file:
            file.write(json.dumps(page) + "\n")

    def _resumed(self) -> tuple[list[Asset], str | None]:
        """What an interrupted listing brought, and the token to go on with; None: begin anew."""
        rows: list[Asset] = []
        token: str | None = None
        try:
            lines = self._notes.read_text("utf-8").split("\n")
            head = json.loads(lines[0])
            begun = datetime.fromisoformat(head.pop("begun"))
            if head != self._head() or datetime.now(UTC) - begun > _GOES_ON:
                return [], None
            whole = [line for line in lines[1:] if line.endswith("}")]
            for line in whole:
                page = json.loads(line)
                rows += page["items"]
                token = page["next"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return [], None
        if token is not None:
            # Only whole pages: the last line may have been cut.
            with contextlib.suppress(OSError):
                self._notes.write_text("\n".join([lines[0], *whole]) + "\n", "utf-8")
        return rows, token


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
        if not isinstance(item, dict) or not isinstance(item.get("path"), str):
            raise errors.MalformedIndex("an asset without a path", where=where)
        kind = item.get("format", "maven2")
        if kind != "maven2":
            raise errors.ConfigError(
                f"a repository of Nexus's format {printable(str(kind))}, not maven2",
                where=where,
                remedy="name a Maven repository of this Nexus",
            )
        path = str(item["path"]).removeprefix("/")
        if path.startswith(_SKIPPED) or path.rpartition("/")[2] == METADATA or checksum_of(path):
            continue  # made here
        url = quote(path)
        row: dict[str, object] = {"path": path, "url": path if url == path else url}
        size = item.get("fileSize")
        if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
            row["size"] = size
        sums = item.get("checksum")
        for name, value in sums.items() if isinstance(sums, dict) else ():
            if name in CHECKSUMS and isinstance(value, str):
                row[name] = value.lower()
        if "sha256" in row or "sha512" in row:  # what is weaker proves nothing more
            row.pop("sha1", None)
            row.pop("md5", None)
        yield row


def label(asset: Asset) -> str:
    """How a report names an asset."""
    return shown(str(asset["path"]))
