"""Fetching from a registry: tags are looked at before they are fetched, failures stay with files.

A 401 for one image, a layer that stalls, a redirect that leads nowhere: a registry may answer so
for one image and be well otherwise. Only a registry that does not answer at all ends a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from manifests import errors
from manifests.formats.base import Wanted
from manifests.zone import model as zone
from mirror.http import HttpTransport
from mirror.registry.authfile import Login, Logins, read_auth_file
from mirror.registry.web import RegistryWeb
from mirror.report import Progress
from mirror.rsync import read_secret
from mirror.transport import Got
from mirror.web import Answer
from store.records import Validator

_ABSENT = frozenset({401, 403, 404, 410})


def logins_of(repository: zone.Repository) -> Logins:
    """Who we are at the registry: by ``auth_file``, or by name and password. Raises ConfigError."""
    connection = repository.connection
    if connection.username is not None:
        password = connection.password or read_secret(connection.password_file)
        return Logins({"": Login(connection.username, password)})
    if repository.oci.auth_file is None:
        return Logins()
    return read_auth_file(repository.oci.auth_file, urlsplit(repository.upstream.urls[0]).netloc)


class RegistryTransport(HttpTransport):
    """See ``HttpTransport``. Manifests by tag are those whose bytes nobody promises."""

    def __init__(
        self,
        repository: zone.Repository,
        folder: Path,
        *,
        progress: Progress,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        base = repository.upstream.urls[0]
        self._base = base
        self._registry = RegistryWeb(repository.connection, base, logins_of(repository))
        connection = replace(repository.connection, username=None, password_file=None)
        super().__init__(
            repository.upstream,
            connection,
            folder,
            progress=progress,
            pause=pause,
            web=self._registry,
        )

    def _safely(self, wanted: Wanted, known: Validator | None) -> Got:
        """Turn what concerns one file alone into what ``Wanted.alone`` forgives."""
        got = super()._safely(wanted, known)
        if isinstance(got.error, errors.UpstreamRefused):
            return replace(got, error=_one_file(got.error))
        if isinstance(got.error, errors.UpstreamUnreachable) and self._answers():
            return replace(got, error=_one_file(got.error))
        return got

    def _answers(self) -> bool:
        """Whether the registry itself is there; only one of its files is not."""
        if self._ended.is_set():
            return False
        try:
            with self._registry.get(urljoin(self._base, "v2/"), {}) as answer:
                return answer.status < 500 and answer.status != 429
        except errors.UpstreamError:
            return False

    def _fetch(self, wanted: Wanted, known: Validator | None) -> Got:
        by_tag = wanted.volatile and "/manifests/" in wanted.url
        if by_tag and known is not None:
            got = self._looked_at(wanted, known)
            if got is not None:
                return got
        got = super()._fetch(wanted, None if by_tag else known)
        if by_tag and got.file is not None:
            # Not every registry gives an ETag; the digest of the bytes is what counts anyhow.
            stated = got.headers.get("docker-content-digest", "none")
            return replace(got, headers={"etag": stated, **got.headers})
        return got

    def _looked_at(self, wanted: Wanted, known: Validator) -> Got | None:
        """The answer without a body, if the tag still names the same; None: it must be fetched."""
        url = urljoin(self._base, wanted.url)
        try:
            with self._registry.get(url, wanted.headers, method="HEAD") as answer:
                if answer.status == 200 and _is_same(answer, known):
                    return Got(wanted, unchanged=known, headers=answer.headers, url=answer.url)
                if answer.status in _ABSENT:
                    return Got(wanted, absent=answer.status, headers=answer.headers, url=answer.url)
        except errors.UpstreamUnreachable:
            pass  # asked for with all patience next
        return None

    def _verdict(self, answer: Answer, wanted: Wanted, known: Validator | None) -> Got:
        if answer.status != 407 and not (answer.status == 304 and known is not None):
            return Got(wanted, absent=answer.status, headers=answer.headers, url=answer.url)
        return super()._verdict(answer, wanted, known)


def _is_same(answer: Answer, known: Validator) -> bool:
    stated = answer.headers.get("docker-content-digest", "").strip()
    if stated:
        return stated == f"sha256:{known.digest}"
    etag = answer.headers.get("etag", "")
    return bool(etag) and not etag.startswith("W/") and etag == known.etag


def _one_file(error: errors.UpstreamError) -> errors.UpstreamMismatch:
    return errors.UpstreamMismatch(error.what, where=error.where, remedy=error.remedy)
