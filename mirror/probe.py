"""One cheap request to an upstream, as a sync would ask, in bounded time.

It proves that the address, proxy, certificates, name and password are right; not that the
repository is whole.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urljoin

from manifests.errors import UpstreamRefused, UpstreamUnreachable
from manifests.zone import model as zone
from mirror.report import Quiet, printable
from mirror.rsync import Rsync
from mirror.web import Web

_ABSENT = frozenset({404, 410})
_TRIED = {"yum": "repodata/repomd.xml", "oci": "v2/"}


def address(repository: zone.Repository) -> str:
    """What is asked, for people."""
    upstream = repository.upstream
    if upstream.system:
        return "system"
    return upstream.mirrorlist or upstream.urls[0]


def probe(repository: zone.Repository, seconds: float) -> str:
    """Ask the first mirror that answers; what it said, in a word or two.

    ``seconds`` bound each step of one try. Raises UpstreamUnreachable, UpstreamRefused,
    ConfigError: those of the last mirror.
    """
    upstream = repository.upstream
    if upstream.system:
        return "whatever this machine's Maven is set to; asked when it is synced"
    connection = replace(
        repository.connection, timeout=min(seconds, repository.connection.timeout), retries=0
    )
    quick = replace(repository, connection=connection)
    urls = (upstream.mirrorlist,) if upstream.mirrorlist else upstream.urls
    failed: UpstreamUnreachable | None = None
    for url in urls:
        try:
            return _ask(quick, url)
        except UpstreamUnreachable as error:
            failed = error
    assert failed is not None
    raise failed


def _ask(repository: zone.Repository, url: str) -> str:
    if url.startswith("file://"):
        return _near(url)
    if url.startswith("rsync://"):
        return _rsync(repository, url)
    return _web(repository, url)


def _near(url: str) -> str:
    path = Path(unquote(url.removeprefix("file://")))
    if not os.access(path, os.R_OK):
        raise UpstreamRefused(
            "it is not there, or cannot be read",
            where=printable(str(path)),
            remedy="mount it, or correct `upstream`",
        )
    return "it is there"


def _rsync(repository: zone.Repository, url: str) -> str:
    with tempfile.TemporaryFile() as nothing:
        rsync = Rsync(
            url,
            repository.connection,
            repository.format,
            lock=nothing.fileno(),
            progress=Quiet(),
            pause=lambda _: None,
        )
        names = rsync.listing("")
    return "the daemon answers" if names else "the daemon answers; the folder is empty"


def _web(repository: zone.Repository, url: str) -> str:
    named = url == repository.upstream.mirrorlist
    target = url if named else urljoin(url, _TRIED.get(repository.format, ""))
    if repository.format == "oci":
        from mirror.registry.transport import logins_of
        from mirror.registry.web import RegistryWeb

        web: Web = RegistryWeb(repository.connection, url, logins_of(repository))
    else:
        web = Web(repository.connection, [url])
    with closing(web), web.get(target, {}) as answer:
        status = answer.status
    if status in (401, 407) or (status == 403 and named):
        raise UpstreamRefused(
            f"it does not let us in (status {status})",
            where=printable(url),
            remedy="check `username` and `password_file`, or `auth_file`, or the proxy",
        )
    if status >= 500 or status == 429:
        raise UpstreamUnreachable(
            f"it answers with status {status}", where=printable(url), remedy="try again later"
        )
    if status in _ABSENT and target != url and repository.format == "yum":
        raise UpstreamRefused(
            f"it has no {_TRIED['yum']} (status {status})",
            where=printable(url),
            remedy="check the address in `upstream`",
        )
    return f"it answers (status {status})"
