"""What the store needs of its file system, tried out in a folder that goes again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sluice.health.finding import Finding, ok, problem, warning
from sluice.health.site import Site


@dataclass(frozen=True, slots=True)
class Features:
    """What was tried; a text says why it failed, "" is well."""

    write: str = ""
    link: str = ""
    sync: str = ""
    case: bool = True
    """Names that differ in case are different files."""


def filesystem(site: Site) -> Iterator[Finding]:
    """Hard links, fsync, case; and blobs with the work copies on one file system."""
    yield from judge(site.folder, probe(site.folder), outside=site.outside is not None)
    if site.outside is not None:
        blobs, work = site.folder / "blobs", site.folder / "work"
        if blobs.is_dir() and work.is_dir():
            yield from judge_devices(work, work.stat().st_dev == blobs.stat().st_dev)


def probe(folder: Path) -> Features:
    """Try it."""
    try:
        place = Path(tempfile.mkdtemp(prefix=".check-", dir=folder))
    except OSError as error:
        return Features(write=error.strerror or str(error))
    try:
        name = place / "name"
        name.write_bytes(b"probe")
        link = sync = ""
        try:
            os.link(name, place / "other")
        except OSError as error:
            link = error.strerror or str(error)
        try:
            for path in (name, place):
                fd = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        except OSError as error:
            sync = error.strerror or str(error)
        return Features("", link, sync, not (place / "NAME").exists())
    except OSError as error:
        return Features(write=error.strerror or str(error))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def judge(where: Path, found: Features, *, outside: bool) -> Iterator[Finding]:
    """Pure: what these features mean."""
    if found.write:
        remedy = "run it as the zone's account; look whether the disk is full or read-only"
        yield problem(where, f"nothing can be written: {found.write}", remedy)
        return
    if found.sync:
        remedy = "put the zone on a local file system: XFS or ext4"
        yield problem(where, f"fsync fails, so nothing survives a power cut: {found.sync}", remedy)
    if not found.case:
        remedy = "put the zone on a file system that heeds case: XFS or ext4"
        say = problem if outside else warning
        yield say(where, "names that differ in case are one file here", remedy)
    if found.link:
        remedy = "put the zone on a file system with hard links: XFS or ext4"
        what = f"no hard links, so mirrored files take space twice: {found.link}"
        yield warning(where, what, remedy)
    if not found.sync and found.case and not found.link:
        yield ok(where, "hard links, fsync and case are as they should be")


def judge_devices(work: Path, same: bool) -> Iterator[Finding]:
    """Pure: whether the work copies share their bytes with the blobs."""
    if not same:
        what = "on another file system than blobs/, so mirrored files take space twice"
        yield warning(work, what, "put both on one file system")
