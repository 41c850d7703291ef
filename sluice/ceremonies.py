"""Key ceremonies: create, rotate and renew the root of trust; sign releases.

The root documents of a stream lie beside its everyday keys, as
``STREAM.root.VERSION.json``; the newest version is what is in force. The root's
private keys may lie elsewhere (``--root-key-to DIR``) and are needed only by
the ceremonies that make a new root version.

Every signature is verified after it was made, and every document goes through
the same strict reader as on the inside before it is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, MetaFile, Role, Root, TargetFile, Targets, Timestamp

from manifests.caps import MAX_DOCUMENT
from manifests.digest import sha256_of
from manifests.documents import (
    EXTENSION,
    EXTENSION_FORMAT,
    MANIFEST_TARGET,
    ROLES,
    RootDocument,
    read_release,
    write_document,
)
from manifests.durable import Durable, publish_file
from manifests.errors import ConfigError, UsageError
from manifests.roots import Release, TrustedRoot, verify_release, walk_roots
from manifests.trust import LIFETIMES
from sluice.keys import key_files, new_signer, read_key, write_key

_RESTORE = "put the missing files back from a copy; any inside holds them too"
_CREATE = "for a new stream: `sluice trust create --stream {stream}`; else put its files back"


class StreamKeys:
    """The keys and root documents of one stream on its outside.

    ``folder`` holds everyday keys and root documents, ``root_folder`` the root's
    private keys. ``lifetimes`` override `manifests.trust.LIFETIMES`.
    """

    def __init__(
        self,
        files: Durable,
        stream: str,
        folder: Path,
        root_folder: Path | None = None,
        *,
        passphrase: bytes | None = None,
        lifetimes: Mapping[str, timedelta] | None = None,
    ) -> None:
        self.files = files
        self.stream = stream
        self.folder = folder
        self.root_folder = root_folder or folder / "root"
        self.passphrase = passphrase
        self.lifetimes = {**LIFETIMES, **(lifetimes or {})}

    # What is there

    def chain(self) -> list[bytes]:
        """All root documents, version 1 first; raises `ConfigError` if one is missing."""
        form = re.compile(rf"{re.escape(self.stream)}\.root\.([1-9][0-9]{{0,5}})\.json")
        found: dict[int, Path] = {}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if match := form.fullmatch(path.name):
                    found[int(match[1])] = path
        if sorted(found) != list(range(1, len(found) + 1)) or not found:
            raise ConfigError(
                f"no complete chain of root documents for stream {self.stream}",
                where=str(self.folder),
                remedy=_RESTORE if found else _CREATE.format(stream=self.stream),
            )
        return [_read_document(found[version]) for version in sorted(found)]

    def trusted(self) -> TrustedRoot:
        """The root of trust in force, its whole chain verified."""
        chain = self.chain()
        return walk_roots(chain[:1], chain)

    def export_root(self) -> bytes:
        """The newest root document: what the inside pins."""
        return self.trusted().newest.data

    def root_keys_here(self) -> list[Path]:
        """Root private keys that lie in `root_folder`; `status` warns about them."""
        return key_files(self.root_folder, self.stream, "root")

    # Ceremonies of the root

    def create(
        self,
        now: datetime,
        *,
        key_type: str = "ed25519",
        thresholds: Mapping[str, int] | None = None,
        keep: Mapping[str, int] | None = None,
        others: Mapping[str, Sequence[Key]] | None = None,
    ) -> RootDocument:
        """Make the keys and root version 1.

        For each role ``keep`` says how many keys are made here (default 1),
        ``others`` adds public keys whose private half lies elsewhere, and
        ``thresholds`` how many must sign (default 1). Raises `UsageError` if
        the stream has keys already or a threshold cannot be met.
        """
        if any(self._paths(role) for role in ROLES) or self._has_chain():
            raise UsageError(
                f"stream {self.stream} has keys already",
                where=str(self.folder),
                remedy="use `trust rotate`, or move the old keys away first",
            )
        root = Root(
            expires=self._expiry("root", now),
            consistent_snapshot=False,
            unrecognized_fields={
                EXTENSION: {"epoch": 1, "format": EXTENSION_FORMAT, "stream": self.stream}
            },
        )
        fresh = {
            role: [new_signer(key_type) for _ in range((keep or {}).get(role, 1))] for role in ROLES
        }
        for role in ROLES:
            public: list[Key] = [signer.public_key for signer in fresh[role]]
            public += (others or {}).get(role, ())
            _set_role(root, role, public, (thresholds or {}).get(role, 1))
        return self._publish([], Metadata(root), fresh["root"], fresh)

    def rotate(
        self,
        role: str,
        now: datetime,
        *,
        key_type: str = "ed25519",
        threshold: int | None = None,
        others: Sequence[Key] | None = None,
    ) -> RootDocument:
        """Replace the keys of ``role`` that this host holds by one new key each.

        ``others``, if given, replaces the public keys whose private half lies
        elsewhere; ``threshold`` the threshold. The new root version is signed
        by the old and, for the role root, the new keys. Raises `UsageError` for
        an unknown role or a threshold that cannot be met, `ConfigError` if root
        keys are not at hand.
        """
        if role not in ROLES:
            raise UsageError(f"unknown role {role!r}", remedy=f"choose one of {', '.join(ROLES)}")
        chain, document, old_keys = self._next(now)
        root = document.signed
        current = _role(root, role)
        mine = {signer.public_key.keyid for signer in self._signers(role)}
        here = [keyid for keyid in current.keyids if keyid in mine]
        elsewhere = [root.keys[keyid] for keyid in current.keyids if keyid not in mine]
        fresh = [new_signer(key_type) for _ in range(max(1, len(here)))]
        public: list[Key] = [signer.public_key for signer in fresh]
        public += elsewhere if others is None else others
        _set_role(root, role, public, threshold or current.threshold)
        signers = old_keys + (fresh if role == "root" else [])
        result = self._publish(chain, document, signers, {role: fresh})
        for path in self._paths(role):
            if not any(signer.public_key.keyid[:16] in path.name for signer in fresh):
                self.files.rename(path, path.with_name(path.name + ".retired"))
                self.files.sync_dir(path.parent)
        return result

    def renew(self, now: datetime, *, new_epoch: bool = False) -> RootDocument:
        """A new root version with the same keys and a later expiry.

        ``new_epoch`` also starts a new epoch, in which sequences count from 1:
        the way out of a fork, a restored backup or a stolen timestamp key.
        """
        chain, document, signers = self._next(now)
        if new_epoch:
            document.signed.unrecognized_fields[EXTENSION]["epoch"] += 1
        return self._publish(chain, document, signers, {})

    # Signing what is released

    def sign_release(
        self, manifest: bytes, sequence: int, now: datetime, *, role: str = "targets"
    ) -> bytes:
        """The release document of a manifest, signed by all keys of ``role`` here.

        ``role`` is ``targets``, or ``timestamp`` for a heartbeat. It may still
        lack signatures to the threshold: `countersign` adds them, and
        `verify_own` says whether it is complete.
        """
        digest, length = sha256_of(manifest), len(manifest)
        expires = self._expiry(role, now)
        signed: Targets | Timestamp
        if role == "targets":
            target = TargetFile(length, {"sha256": digest}, MANIFEST_TARGET)
            signed = Targets(sequence, expires=expires, targets={MANIFEST_TARGET: target})
        elif role == "timestamp":
            meta = MetaFile(sequence, length, {"sha256": digest})
            signed = Timestamp(sequence, expires=expires, snapshot_meta=meta)
        else:
            raise UsageError(f"the role {role} releases nothing")
        return self._add_signatures(Metadata(signed), role)

    def countersign(self, document: bytes) -> bytes:
        """Add the signatures of this host's keys to a release document."""
        role = read_release(document).role
        return self._add_signatures(Metadata.from_bytes(document), role)

    def verify_own(self, document: bytes, manifest: bytes) -> Release:
        """What an inside would say; raises `Unsigned` while signatures are missing."""
        return verify_release(self.trusted(), document, manifest)

    # Inner parts

    def _expiry(self, role: str, now: datetime) -> datetime:
        # python-tuf wants the very object datetime.UTC as time zone.
        return (now + self.lifetimes[role]).astimezone(UTC)

    def _has_chain(self) -> bool:
        return (self.folder / f"{self.stream}.root.1.json").exists()

    def _paths(self, role: str) -> list[Path]:
        return key_files(self.root_folder if role == "root" else self.folder, self.stream, role)

    def _signers(self, role: str) -> list[CryptoSigner]:
        private = role != "root"
        return [read_key(path, self.passphrase, private=private) for path in self._paths(role)]

    def _next(self, now: datetime) -> tuple[list[bytes], Metadata[Root], list[CryptoSigner]]:
        """The chain, an unsigned next version of its newest root, the keys to sign it."""
        chain = self.chain()
        newest = walk_roots(chain[:1], chain).newest
        names = newest.roles["root"]
        signers = [s for s in self._signers("root") if s.public_key.keyid in names.keyids]
        if len(signers) < names.threshold:
            raise ConfigError(
                f"{len(signers)} of the {names.threshold} root keys that must sign are at hand",
                where=str(self.root_folder),
                remedy="bring the root keys (--root-key-to names their folder) and try again",
            )
        document: Metadata[Root] = Metadata.from_bytes(newest.data)
        document.signatures = {}
        document.signed.version += 1
        document.signed.expires = self._expiry("root", now)
        return chain, document, signers

    def _publish(
        self,
        chain: list[bytes],
        document: Metadata[Root],
        signers: Sequence[CryptoSigner],
        fresh: Mapping[str, Sequence[CryptoSigner]],
    ) -> RootDocument:
        """Sign, verify, then write the new keys, and last the root that names them."""
        _sign(document, signers)
        data = write_document(document)
        whole = [*chain, data]
        newest = walk_roots(whole[:1], whole).newest
        for role, made in fresh.items():
            folder = self.root_folder if role == "root" else self.folder
            for signer in made:
                write_key(self.files, folder, self.stream, role, signer, self.passphrase)
        self.files.mkdir(self.folder)
        name = f"{self.stream}.root.{newest.version}.json"
        publish_file(self.files, self.folder / name, data)
        return newest

    def _add_signatures(self, document: Metadata[Any], role: str) -> bytes:
        names = self.trusted().newest.roles[role].keyids
        signers = [s for s in self._signers(role) if s.public_key.keyid in names]
        if not signers:
            raise ConfigError(
                f"no key of the role {role} that the newest root names",
                where=str(self.folder),
                remedy=f"put the key back from a copy, or `trust rotate {role}`",
            )
        _sign(document, signers)
        data = write_document(document)
        read_release(data)
        return data


def _sign(document: Metadata[Any], signers: Sequence[CryptoSigner]) -> None:
    """Add signatures, and verify each: a bad one must not leave this host."""
    for signer in signers:
        signature = document.sign(signer, append=True)
        try:
            signer.public_key.verify_signature(signature, document.signed_bytes)
        except UnverifiedSignatureError as err:
            raise ConfigError(
                f"the signature just made by {signer.public_key.keyid[:16]} does not verify",
                remedy="do not use this host for signing before its hardware is checked",
            ) from err


def _role(root: Root, role: str) -> Role:
    if role == "orders":
        ours = root.unrecognized_fields[EXTENSION]["orders"]
        return Role(list(ours["keyids"]), ours["threshold"])
    return root.roles[role]


def _set_role(root: Root, role: str, keys: Sequence[Key], threshold: int) -> None:
    """Give ``role`` these keys, and drop keys that no role names any more."""
    public = {key.keyid: key for key in keys}
    if not 1 <= threshold <= len(public):
        raise UsageError(
            f"the role {role} cannot have the threshold {threshold} with {len(public)} keys",
            remedy="give as many keys as must sign",
        )
    entry = Role(sorted(public), threshold)
    if role == "orders":
        root.unrecognized_fields[EXTENSION]["orders"] = entry.to_dict()
    else:
        root.roles[role] = entry
    root.keys |= public
    orders = root.unrecognized_fields[EXTENSION].get("orders", {"keyids": []})
    used = {keyid for entry in root.roles.values() for keyid in entry.keyids}
    used |= set(orders["keyids"])
    root.keys = {keyid: key for keyid, key in root.keys.items() if keyid in used}


def _read_document(path: Path) -> bytes:
    try:
        with path.open("rb") as source:
            return source.read(MAX_DOCUMENT + 1)
    except OSError as err:
        raise ConfigError(f"cannot be read: {err.strerror}", where=str(path)) from err
