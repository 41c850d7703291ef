"""What the packages in the middle need of each other, handed to them here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from manifests.digest import Digest
from manifests.errors import ConfigError, SignatureInvalid
from manifests.formats.base import KEYS, Problem, Spec
from manifests.zone import InsideZone, Signers, Zone
from sluice.text import some
from store import checks
from store.keyfiles import read_key_file
from store.openpgp import RepositoryKey, passphrase
from store.records import Publication
from store.signatures import read_keys, verify_signed
from store.store import Store

_MAX_KEY = 1 << 20
_KEYS_OF_ONE_TREE = 16
_KEY_FILE = 256 << 10


def repository_key(zone: Zone) -> RepositoryKey | None:
    """The key that signs derived metadata, if the zone has one."""
    if zone.repository_key is None:
        return None
    return RepositoryKey(zone.repository_key, passphrase(None))


def read_key_files(paths: Sequence[Path]) -> list[bytes]:
    """Armored public keys from the files that zone.yaml names. Raises ConfigError."""
    return [read_key_file(path, _MAX_KEY) for path in paths]


class InsideChecks:
    """What the importer asks before it publishes: complete, signed, and derived.

    Completeness is proved from the tree alone, so the outside need not be trusted.
    """

    def __init__(self, store: Store, zone: InsideZone) -> None:
        self._store = store
        self._zone = zone

    def problems(self, format_name: str, repository: str, tree: Digest) -> Sequence[Problem]:
        """What the format's check finds."""
        return checks.check_tree(self._store, format_name, Spec(repository), tree).problems

    def signatures(self, format_name: str, repository: str, tree: Digest) -> bool:
        """Verify upstream signatures with the keys pinned here; False if none are.

        Raises SignatureInvalid.
        """
        required = self._zone.require.get(repository, Signers())
        if not required.signed_by:
            return False
        keys = read_key_files(required.signed_by)
        signed = checks.signatures(
            self._store,
            format_name,
            Spec(repository),
            tree,
            packages=required.check_packages,
        )
        if not signed:
            raise SignatureInvalid(
                "nothing in it is signed, but `require` asks for signatures",
                where=repository,
                remedy="ask the outside for the signed repository, or change `require`",
            )
        found = [
            f"{problem.path}: {problem.what}"
            for problem in verify_signed(self._store.view(tree), signed, keys)
        ]
        if found:
            raise SignatureInvalid(
                some(found, 3),
                where=repository,
                remedy="do not trust this snapshot; if the vendor has a new key, verify its"
                " fingerprint and add it to `require`",
            )
        return True

    def derive(
        self, format_name: str, repository: str, tree: Digest, live: Publication | None
    ) -> Digest | None:
        """The overlay of derived indexes; the caller holds the shared lock."""
        previous = (
            (live.tree, live.overlay) if live is not None and live.format == format_name else None
        )
        kept = checks.derive_overlay(
            self._store,
            format_name,
            Spec(repository),
            tree,
            previous=previous,
            signer=repository_key(self._zone),
        )
        return None if kept is None else kept.digest


def offer_keys(store: Store, live: Publication, actor: str) -> list[str]:
    """Remember the public keys that a published tree carries; fingerprints that are new.

    They are neither trusted nor shown to clients before a person approves them, so
    one that cannot be read is passed over: it is only missing from the list.
    """
    view = store.view(live.tree)
    found = []
    for entry in itertools.islice(view.entries(KEYS), _KEYS_OF_ONE_TREE):
        if entry.size > _KEY_FILE:
            continue
        with view.open(entry.path) as file:
            armored = file.read(_KEY_FILE)
        try:
            found += read_keys(armored, where=entry.path)
        except ConfigError:
            continue
    if not found:
        return []
    fresh = []
    with store.ledger.write(actor) as tx:
        for key in found:
            if tx.offer_key(key.fingerprint, live.repository, live.stream, key.armored):
                fresh.append(key.fingerprint)
                tx.event("key.offered", live.stream, live.repository, fingerprint=key.fingerprint)
    return fresh
