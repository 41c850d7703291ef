"""What a sync asks of the store: is the tree complete, and who signed it?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from manifests import errors
from manifests.digest import Digest
from manifests.formats.base import KEYS, Problem, Signed, Spec
from manifests.tree import Entry
from manifests.zone.model import Signers
from mirror.report import printable
from store import checks, openpgp, signatures
from store.blobs import BlobBatch
from store.keyfiles import read_key_file
from store.store import Store

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


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of ``signed_by``: armored, and as what crosses under ``.sluice/keys/``."""

    armored: tuple[bytes, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    digest: str = ""
    """Stands for all of them; "" without any."""


def read_keys(signers: Signers) -> Keys:
    """Read the keys that zone.yaml names. Raises ConfigError."""
    files: dict[str, bytes] = {}
    for path in signers.signed_by:
        data = read_key_file(path, openpgp.MAX_KEYS_BYTES + 1)
        for key in signatures.read_keys(data, where=str(path)):
            files[KEYS + signatures.file_name(key)] = key.armored
    rows = tuple(sorted(files.items()))
    armored = tuple(data for _, data in rows)
    return Keys(armored, rows, hashlib.sha256(repr(rows).encode()).hexdigest() if rows else "")


def signature_problems(
    store: Store,
    checker: Checker,
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
    if not keys.armored:
        return []
    view = store.view(tree)
    verified = None if before is None else store.tree(before)

    def fresh(one: Signed) -> bool:
        old = None if verified is None or one.kind != "rpm" else verified.lookup(one.path)
        return old is None or old != view.lookup(one.path)

    signed = checker.signed(format_name, spec, tree, packages=packages)
    return list(signatures.verify_signed(view, filter(fresh, signed), keys.armored))


def signature_error(problems: Sequence[Problem], where: str) -> errors.SignatureInvalid:
    """The error for problems that ``signature_problems`` found."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return errors.SignatureInvalid(
        f"{printable(first.path)}: {printable(first.what)}{more}",
        where=where,
        remedy=_KEY_REMEDY,
    )
