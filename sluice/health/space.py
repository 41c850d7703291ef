"""Free space and inodes, against what is reserved and what the next work will likely need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests.units import format_bytes
from sluice.health.finding import Finding, ok, problem, warning
from sluice.health.site import Site

_RECENT = 10
"""Bundles that are looked at: the largest of them is what the next one may be."""
_FEW_INODES = 1_000
_LOW_INODES = 100_000


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system as ``statvfs`` shows it to this user; ``inodes`` None: it has no limit."""

    free: int
    inodes: int | None


def space(site: Site) -> Iterator[Finding]:
    """The zone's file system, and those of the folders that carriers use."""
    need, why = likely_need(site)
    yield from judge(site.folder, look(site.folder), site.zone.reserve_free, need, why)
    ours = site.folder.stat().st_dev
    seen = {ours}
    for folder in elsewhere(site):
        try:
            device = folder.stat().st_dev
        except OSError:
            continue  # the check of the carriers says it
        if device not in seen:
            seen.add(device)
            yield from judge(folder, look(folder), 0, need, why)


def look(folder: Path) -> Disk:
    """Ask the file system. Raises OSError."""
    found = os.statvfs(folder)
    inodes = found.f_favail if found.f_files else None
    return Disk(found.f_bavail * found.f_frsize, inodes)


def elsewhere(site: Site) -> list[Path]:
    """Folders of the carriers, which may be on other disks."""
    if site.outside is not None:
        found = [stream.outbox for stream in site.outside.streams.values()]
    else:
        assert site.inside is not None
        found = [stream.inbox for stream in site.inside.streams.values()]
    return [folder for folder in found if folder is not None]


def likely_need(site: Site) -> tuple[int, str]:
    """Bytes that the next bundle may take, and what they are; 0: nobody knows yet."""
    if site.store is None:
        return 0, ""
    most, why = 0, ""
    with site.store.ledger.read() as tx:
        for name, stream in site.zone.streams.items():
            bundles = tx.bundles(name, limit=_RECENT)
            if bundles:
                size, what = max(bundle.size for bundle in bundles), "the largest bundle of late"
            elif site.outside is not None:
                newest = (tx.newest_snapshot("", one) for one in stream.repositories or ())
                size = sum(found.snapshot.bytes for found in newest if found is not None)
                what = "the first bundle"
            else:
                continue
            if size > most:
                most, why = size, f"{what} of {name}"
    return most, why


def judge(where: Path, disk: Disk, reserved: int, need: int, why: str) -> Iterator[Finding]:
    """Pure: what these figures mean."""
    free = format_bytes(disk.free)
    more = "`sluice gc`, remove what else is there, or enlarge the disk"
    if disk.free <= reserved:
        what = f"{free} are free, {format_bytes(reserved)} are reserved: all work is refused"
        yield problem(where, what, more)
    elif need > disk.free - reserved:
        what = f"{free} are free; {why} takes {format_bytes(need)}"
        yield warning(where, what, more)
    else:
        yield ok(where, f"{free} free")
    if disk.inodes is not None and disk.inodes < _LOW_INODES:
        what = f"{disk.inodes} inodes are free: so many files more can be made"
        remedy = "`sluice gc`; else a file system with more inodes (`mkfs.xfs`, or `mkfs.ext4 -N`)"
        yield (problem if disk.inodes < _FEW_INODES else warning)(where, what, remedy)
