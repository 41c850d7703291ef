"""What a sync asks of others: is the tree complete, and who signed it?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from manifests import errors
from manifests.digest import Digest
from manifests.formats.base import KEYS, Problem, Severity, Signed, Spec
from manifests.tree import Entry
from manifests.zone.model import Signers
from store import checks
from store.blobs import BlobBatch
from store.store import Store

_MAX_KEY = 1 << 20
_MAX_SIGNATURE = 1 << 20
_AT_ONCE = 200
"""Packages given to one run of the verifier."""
_KEY_REMEDY = "check the keys in `signed_by`; if the vendor has a new one, verify its fingerprint"


class Checker(Protocol):
    """Runs a format over a tree; may raise FormatError."""

    def problems(self, format_name: str, spec: Spec, tree: Digest) -> Sequence[Problem]: ...
    def signed(
        self, format_name: str, spec: Spec, tree: Digest, *, packages: bool
    ) -> Iterable[Signed]: ...
    def facts(
        self, format_name: str, spec: Spec, tree: Digest, batch: BlobBatch
    ) -> Iterable[Entry]:
        """Private files of a tree that was copied whole, sorted, as blobs in ``batch``."""


class Verifier(Protocol):
    """OpenPGP. Raises SignatureInvalid unless one of ``keys`` signed."""

    def verify_detached(self, data: Path, signature: bytes, keys: Sequence[Path]) -> str: ...
    def verify_rpms(self, paths: Sequence[Path], keys: Sequence[Path]) -> None: ...
    def read_keys(self, armored: bytes) -> Sequence[tuple[str, str, bytes]]:
        """Fingerprint, user id and ASCII-armored text of each key."""


class Confined:
    """Runs formats in a child process with limits; see ``store.checks``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def problems(self, format_name: str, spec: Spec, tree: Digest) -> Sequence[Problem]:
        """At most 1,000 of each severity."""
        return checks.check_tree(self._store, format_name, spec, tree).problems

    def signed(
        self, format_name: str, spec: Spec, tree: Digest, *, packages: bool
    ) -> Iterable[Signed]:
        """The signatures to verify."""
        return checks.signatures(self._store, format_name, spec, tree, packages=packages)

    def facts(
        self, format_name: str, spec: Spec, tree: Digest, batch: BlobBatch
    ) -> Iterable[Entry]:
        """Private files of a tree that was copied whole."""
        return checks.private_files(self._store, format_name, spec, tree, batch)


class NoVerifier:
    """Stands where no key is asked for."""

    def verify_detached(self, data: Path, signature: bytes, keys: Sequence[Path]) -> str:
        """Refuses."""
        raise self._error(keys)

    def verify_rpms(self, paths: Sequence[Path], keys: Sequence[Path]) -> None:
        """Refuses."""
        raise self._error(keys)

    def read_keys(self, armored: bytes) -> Sequence[tuple[str, str, bytes]]:
        """Refuses."""
        raise self._error(())

    def _error(self, keys: Sequence[Path]) -> errors.ConfigError:
        return errors.ConfigError("signatures cannot be verified here")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of ``signed_by``: their files, and what crosses under ``.sluice/keys/``."""

    paths: tuple[Path, ...]
    files: tuple[tuple[str, bytes], ...]
    digest: str
    """Stands for all of them; "" without any."""


def read_keys(signers: Signers, verifier: Verifier) -> Keys:
    """Read the keys that zone.yaml names. Raises ConfigError."""
    files: dict[str, bytes] = {}
    total = hashlib.sha256()
    for path in signers.signed_by:
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_KEY + 1)
        except OSError as error:
            raise errors.ConfigError(
                f"the key cannot be read: {error.strerror}",
                where=str(path),
                remedy="put the vendor's public key there, or change `signed_by`",
            ) from error
        found = () if len(data) > _MAX_KEY else verifier.read_keys(data)
        if not found:
            raise errors.ConfigError("not an OpenPGP public key", where=str(path))
        for fingerprint, _, armored in found:
            files[f"{KEYS}{fingerprint.upper()}.asc"] = armored
        total.update(hashlib.sha256(data).digest())
    digest = total.hexdigest() if signers.signed_by else ""
    return Keys(signers.signed_by, tuple(sorted(files.items())), digest)


def signature_problems(
    store: Store,
    checker: Checker,
    verifier: Verifier,
    format_name: str,
    spec: Spec,
    tree: Digest,
    keys: Keys,
    *,
    packages: bool,
    before: Digest | None,
) -> list[Problem]:
    """What is unsigned, or signed by another key. Nothing without ``keys``.

    ``before`` is a tree whose packages were verified with the same keys: packages that
    it holds are not verified again.
    """
    if not keys.paths:
        return []
    view = store.view(tree)
    verified = None if before is None else store.tree(before)
    problems: list[Problem] = []
    waiting: list[Signed] = []
    for one in checker.signed(format_name, spec, tree, packages=packages):
        entry = view.lookup(one.path)
        if entry is None:
            problems.append(Problem(one.path, "signed, but not there"))
        elif one.kind == "openpgp-detached":
            problems += _detached(store, verifier, view.lookup(one.signature), entry, one, keys)
        elif one.kind == "rpm":
            old = None if verified is None else verified.lookup(one.path)
            if old is None or old.digest != entry.digest:
                waiting.append(one)
            if len(waiting) == _AT_ONCE:
                problems += _packages(store, verifier, tree, waiting, keys)
                waiting = []
        else:
            problems.append(Problem(one.path, f"an unknown kind of signature: {one.kind[:40]}"))
    return problems + _packages(store, verifier, tree, waiting, keys)


def _detached(
    store: Store,
    verifier: Verifier,
    signature: Entry | None,
    entry: Entry,
    one: Signed,
    keys: Keys,
) -> list[Problem]:
    if signature is None:
        return [Problem(one.path, f"not signed: {one.signature} is missing")]
    if signature.size > _MAX_SIGNATURE:
        return [Problem(one.signature, "not a signature: more than 1 MiB")]
    with store.blobs.open(signature.digest) as file:
        data = file.read(_MAX_SIGNATURE)
    try:
        verifier.verify_detached(store.blobs.path(entry.digest), data, keys.paths)
    except errors.SignatureInvalid as error:
        return [Problem(one.path, error.what)]
    return []


def _packages(
    store: Store, verifier: Verifier, tree: Digest, waiting: Sequence[Signed], keys: Keys
) -> list[Problem]:
    """Verify packages together, and one by one only if that fails, to name the culprit."""
    view = store.view(tree)
    places = [(one.path, view.local(one.path)) for one in waiting]
    if not places:
        return []
    try:
        verifier.verify_rpms([place for _, place in places], keys.paths)
        return []
    except errors.SignatureInvalid:
        pass  # told below, by name
    problems = []
    for path, place in places:
        try:
            verifier.verify_rpms([place], keys.paths)
        except errors.SignatureInvalid as error:
            problems.append(Problem(path, error.what, Severity.REQUIRED))
    return problems


def signature_error(problems: Sequence[Problem], where: str) -> errors.SignatureInvalid:
    """The error for problems that ``signature_problems`` found."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return errors.SignatureInvalid(
        f"{first.path}: {first.what}{more}", where=where, remedy=_KEY_REMEDY
    )
