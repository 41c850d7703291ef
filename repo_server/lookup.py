"""Looking a path up: the format's answer, the grace period, and the head to send."""

from __future__ import annotations

import time
from dataclasses import replace

from manifests.errors import BlobMissing
from manifests.formats.base import Answer, Missing, Request, SendEntry
from manifests.tree import PRIVATE, Entry
from repo_server.connection import Call
from repo_server.gate import Gate
from repo_server.ready import Ready, file_fields, full_head
from repo_server.settings import Settings
from repo_server.site import Edition, InRepository
from repo_server.target import Target
from store.store import Store

#: What a detached signature's name adds to that of the file that it signs.
SIGNATURES = (".asc", ".sig", ".gpg")
#: The same for a checksum; formats that have some make them of every file.
CHECKSUMS = (".sha1", ".md5", ".sha256", ".sha512")
#: Below this age (seconds) a time of whole seconds does not tell two publications apart.
YOUNG = 2.0


def look_up(
    store: Store,
    settings: Settings,
    edition: Edition,
    where: InRepository,
    call: Call,
    target: Target,
    *,
    past: bool = True,
    gate: Gate | None = None,
) -> tuple[Answer, Edition]:
    """Ask the format; for what is gone, with ``past`` ask the editions of the grace period.

    ``gate`` is for formats whose lists leave out what is denied.
    """
    path = where.path
    if path == PRIVATE.rstrip("/") or path.startswith(PRIVATE):
        return Missing(), edition
    headers = {name.lower(): ", ".join(call.headers.getall(name)) for name in call.headers}
    request = Request(path, call.method, target.query, headers, where.prefix)
    if gate is not None:
        request = replace(request, denied=lambda entry: not _allowed(gate, where, entry))
    answer = edition.format.answer(request, edition.view)
    if past and isinstance(answer, Missing) and where.live is not None:
        oldest = time.time() - settings.serve.grace
        for old in where.live.past:
            if old.replaced < oldest:
                break
            try:
                earlier = old.format.answer(request, old.view)
            except BlobMissing:
                continue
            if not isinstance(earlier, SendEntry) or not earlier.immutable:
                continue
            if store.blobs.has(earlier.entry.digest):
                answer, edition = earlier, old
                break
    if isinstance(answer, SendEntry) and answer.entry.path.startswith(PRIVATE):
        return Missing(), edition
    return answer, edition


def _allowed(gate: Gate, where: InRepository, entry: Entry) -> bool:
    return gate.allow("", where.name, entry.path, entry.digest)


def prepare(store: Store, edition: Edition, where: InRepository, answer: SendEntry) -> Ready:
    """Work out the head. Raises BlobMissing."""
    entry, body = answer.entry, answer.body
    size = entry.size if body is None else len(body)
    file = str(store.blobs.path(entry.digest))
    young = time.time() - edition.published < YOUNG
    modified = 0 if young and not answer.immutable else int(edition.published)
    fields = file_fields(
        entry.digest,
        answer.content_type,
        modified,
        immutable=answer.immutable or where.live is None,
        extra=answer.headers,
    )
    alone = answer.immutable or answer.negotiated or body is not None
    marks = where.live is not None and not alone and _has_companions(edition, entry.path)
    return Ready(
        digest=entry.digest,
        size=size,
        file=file,
        repository=where.name,
        path=entry.path,
        fields=fields,
        head=full_head(fields, size),
        modified=modified,
        marks=marks,
        identity=edition.identity,
        accept=answer.content_type if answer.negotiated else "",
        body=body,
    )


def _has_companions(edition: Edition, path: str) -> bool:
    """Whether there are signatures of a file in its tree, or checksums that its format makes."""
    view = edition.view
    if any(view.lookup(path + each) for each in SIGNATURES):
        return True
    return not isinstance(edition.format.answer(Request(path + CHECKSUMS[0]), view), Missing)


def signed_path(path: str) -> str | None:
    """What a file belongs to, if it is a detached signature or a checksum by its name."""
    for ending in (*SIGNATURES, *CHECKSUMS):
        if path.endswith(ending):
            return path.removesuffix(ending)
    return None
