"""What a sync starts from: the newest snapshot, keys, exceptions, and what the zone asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from manifests import canonical
from manifests.formats.base import EXCEPTIONS, Problem, Severity, Spec
from manifests.state import format_time
from manifests.zone import model as zone
from mirror.checking import Keys
from store.records import AcceptedMissing, StoredSnapshot


def spec_of(repository: zone.Repository) -> Spec:
    """What the format needs to know of a repository."""
    filters = repository.filters
    options: dict[str, object] = {"extra": repository.extra} if repository.extra else {}
    if repository.format == "oci":
        options |= repository.oci.asked.options
    return Spec(
        name=repository.name,
        include=filters.include,
        exclude=filters.exclude,
        arches=filters.arches,
        newest=filters.newest,
        metadata=repository.metadata.value,
        options=options,
    )


ALL = "*"
"""Stands for paths that nobody names: there are more than are listed."""
_LISTED = 1000
"""Problems of one severity that a format lists."""


def exceptions_file(exceptions: Sequence[AcceptedMissing]) -> bytes:
    """``.sluice/exceptions.json``; see ``manifests.formats.accepted``."""
    rows = [
        {"path": row.path, "reason": row.reason, "by": row.by, "at": format_time(row.at)}
        for row in exceptions
    ]
    return f"{json.dumps(rows, ensure_ascii=False, indent=1, sort_keys=True)}\n".encode()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything but the upstream's bytes that decides what a tree looks like."""

    previous: StoredSnapshot | None
    keys: Keys
    exceptions: tuple[AcceptedMissing, ...]
    fingerprint: str
    """Changes whenever the same upstream would make another tree, or another verdict."""
    named: set[str] = field(default_factory=set, compare=False)
    """Paths that this sync found missing or wrong, accepted or not."""

    @classmethod
    def of(
        cls,
        repository: zone.Repository,
        previous: StoredSnapshot | None,
        keys: Keys,
        exceptions: Sequence[AcceptedMissing],
    ) -> Settings:
        """Collect them."""
        rows = tuple(exceptions)
        what = {
            "exceptions": [[row.path, row.reason] for row in rows],
            "format": repository.format,
            "keys": keys.digest,
            "packages": repository.signers.check_packages,
            "spec": json.loads(json.dumps(asdict(spec_of(repository)), default=str)),
        }
        fingerprint = hashlib.sha256(canonical.dumps(what)).hexdigest()
        return cls(previous, keys, rows, fingerprint)

    def private(self) -> list[tuple[str, bytes]]:
        """Our own files of the tree: exceptions and keys."""
        files = list(self.keys.files)
        if self.exceptions:
            files.append((EXCEPTIONS, exceptions_file(self.exceptions)))
        return files

    def excuses(self, path: str) -> bool:
        """Whether a file that is not as it was promised was accepted; it counts as named."""
        self.named.add(path)
        return any(row.path == path for row in self.exceptions)

    def weigh(self, problems: Sequence[Problem]) -> list[Problem]:
        """``problems``, those of accepted paths as advice; they count as named."""
        known = {row.path: row.reason for row in self.exceptions}
        self.named.update(
            one.path for one in problems if one.path in known or one.severity is Severity.REQUIRED
        )
        if len(problems) >= _LISTED:
            self.named.add(ALL)
        return [
            Problem(
                one.path,
                f"{one.what} (accepted: {known[one.path] or 'no reason given'})",
                Severity.ADVICE,
            )
            if one.path in known and one.severity is Severity.REQUIRED
            else one
            for one in problems
        ]
