"""Signing keys and the root of trust: there, private, and valid for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from manifests.documents import RootDocument
from manifests.errors import SluiceError
from manifests.roots import read_pinned
from manifests.state import format_time
from manifests.trust import ROOT_WARNING, TrustState
from manifests.zone import InsideStream, OutsideStream
from sluice.ceremonies import StreamKeys
from sluice.health.finding import Finding, ok, problem, warning
from sluice.health.owners import may
from sluice.health.site import Site
from sluice.keys import key_files, passphrase_from, read_key
from sluice.pinned import pinned_root
from store.seam import Seam

_ROLES = ("targets", "timestamp")
"""What the outside signs with day by day."""


def keys(site: Site) -> Iterator[Finding]:
    """Each stream's, and the vendors' public keys that zone.yaml names."""
    for path in sorted(_vendors(site)):
        if not may(path, os.R_OK):
            remedy = "bring the vendor's key in, compare its fingerprint, and put it there"
            yield problem(path, "the vendor's key is not there, or cannot be read", remedy)
    for stream in site.zone.streams.values():
        try:
            if isinstance(stream, OutsideStream):
                yield from _outside(site, stream)
            else:
                yield from _inside(site, stream)
        except SluiceError as error:
            yield problem(error.where or stream.name, error.what, error.remedy)


def _vendors(site: Site) -> set[Path]:
    if site.outside is not None:
        signers = [one.signers for one in site.outside.repositories.values()]
    else:
        signers = list(site.inside.require.values()) if site.inside is not None else []
    return {path for one in signers for path in one.signed_by}


def _outside(site: Site, stream: OutsideStream) -> Iterator[Finding]:
    found = StreamKeys(Seam(), stream.name, stream.keys)
    root = found.trusted().newest
    yield from judge_root(stream.name, root, site.now, site.days, _RENEW)
    here = found.root_keys_here()
    if here:
        yield warning(here[0], "the root key lies on this host", "move it to removable media")
    for role in _ROLES:
        paths = key_files(stream.keys, stream.name, role)
        threshold = root.roles[role].threshold
        if not paths:
            yield judge_absent(stream.name, role, threshold)
        for path in paths:
            try:
                signer = read_key(path, passphrase_from(os.environ))
            except SluiceError as error:
                say = warning if "passphrase" in error.what else problem
                yield say(error.where or path, error.what, error.remedy)
                continue
            if signer.public_key.keyid in root.roles[role].keyids:
                yield ok(path, f"signs as {role}")
            else:
                yield warning(path, f"the root names no such key for {role}", "remove it")


def judge_absent(stream: str, role: str, threshold: int) -> Finding:
    """Pure: no key of a role is here."""
    what = f"no key of the role {role} is here"
    if threshold > 1:
        return ok(stream, f"{what}: those who release bring it")
    return problem(stream, what, f"restore it from a backup, or `sluice trust rotate {role}`")


_RENEW = "outside, with the root key: `sluice trust renew`; then `pack`, `send`"


def _inside(site: Site, stream: InsideStream) -> Iterator[Finding]:
    root = pinned_root(stream)  # `receive` reads it each time, whatever the ledger remembers
    if site.store is not None:
        with site.store.ledger.read() as tx:
            saved = tx.trust_state(stream.name)
        if saved is not None:
            root = read_pinned(TrustState.from_bytes(saved).roots[-1])
    yield from judge_root(stream.name, root, site.now, site.days, _RENEW)


def judge_root(
    stream: str, root: RootDocument, now: datetime, days: int, remedy: str
) -> Iterator[Finding]:
    """Pure: whether the root of trust is valid, and how long."""
    name, ends = f"root version {root.version}", format_time(root.expires)
    if now >= root.expires:
        what = f"{name} expired on {ends}: nothing new is accepted"
        yield problem(stream, what, remedy)
    elif now >= root.expires - max(ROOT_WARNING, timedelta(days=days)):
        left = (root.expires - now).days
        yield warning(stream, f"{name} expires on {ends}, in {left} days", remedy)
    else:
        yield ok(stream, f"{name} is valid until {ends}")
