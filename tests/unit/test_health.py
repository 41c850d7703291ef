"""What `check` says of figures and states: the judgements, apart from what gathers them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from manifests import zone as zones
from manifests.errors import StoreError
from manifests.formats import FORMATS
from manifests.zone import TcpSending
from sluice.health import (
    carriers,
    certificates,
    clock,
    filesystem,
    owners,
    programs,
    service,
    space,
)
from sluice.health.checks import examine
from sluice.health.finding import Finding, Level, ok, worst
from sluice.health.site import Site

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE = Path("/srv/zone")
GIB = 1 << 30


def levels(found: Iterable[Finding]) -> list[str]:
    """The levels; and whatever is not well says what to do."""
    result = []
    for finding in found:
        assert finding.level is Level.OK or finding.remedy, finding
        result.append(finding.level.value)
    return result


@pytest.mark.parametrize(
    ("free", "inodes", "need", "expected"),
    [
        (10 * GIB, None, 5 * GIB, ["ok"]),
        (10 * GIB, 5_000_000, 5 * GIB, ["ok"]),
        (5 * GIB, None, 5 * GIB, ["warning"]),
        (GIB, None, 0, ["problem"]),
        (10 * GIB, 50_000, 0, ["ok", "warning"]),
        (10 * GIB, 10, 0, ["ok", "problem"]),
    ],
)
def test_space(free: int, inodes: int | None, need: int, expected: list[str]) -> None:
    disk = space.Disk(free, inodes)
    assert levels(space.judge(HERE, disk, GIB, need, "the largest bundle")) == expected


@pytest.mark.parametrize(
    ("found", "outside", "expected"),
    [
        (filesystem.Features(), True, ["ok"]),
        (filesystem.Features(write="Read-only file system"), True, ["problem"]),
        (filesystem.Features(link="Operation not permitted"), True, ["warning"]),
        (filesystem.Features(sync="Invalid argument"), True, ["problem"]),
        (filesystem.Features(case=False), True, ["problem"]),
        (filesystem.Features(case=False), False, ["warning"]),
    ],
)
def test_file_systems(found: filesystem.Features, outside: bool, expected: list[str]) -> None:
    assert levels(filesystem.judge(HERE, found, outside=outside)) == expected


@pytest.mark.parametrize(
    ("now", "ahead", "expected"),
    [
        (NOW, timedelta(0), ["ok"]),
        (NOW, timedelta(minutes=1), ["ok"]),
        (NOW, timedelta(hours=1), ["warning"]),
        (NOW, timedelta(days=2), ["problem"]),
        (NOW.replace(year=1970), timedelta(0), ["problem"]),
        (NOW.replace(year=2126), timedelta(0), ["problem"]),
    ],
)
def test_clocks(now: datetime, ahead: timedelta, expected: list[str]) -> None:
    assert levels(clock.judge(now, [("event 7", now + ahead)])) == expected


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (NOW + timedelta(days=90), ["ok"]),
        (NOW + timedelta(days=9), ["warning"]),
        (NOW, ["problem"]),
        ("is no certificate in PEM", ["problem"]),
    ],
)
def test_certificates(ends: datetime | str, expected: list[str]) -> None:
    assert levels(certificates.judge(HERE, ends, NOW, 30, "renew it")) == expected


def test_owners_and_modes() -> None:
    zone = owners.Owned(HERE, 1000, 0o750)
    assert levels(owners.judge([zone], 1000, 1000)) == []
    assert levels(owners.judge([zone], 1000, 1001)) == ["problem"]
    assert levels(owners.judge([zone], 1000, 0)) == ["warning"]
    secret = owners.Owned(HERE / "secrets", 1000, 0o755, secret=True)
    written = owners.Owned(HERE / "blobs", 1000, 0o777)
    sticky = owners.Owned(HERE / "inbox", 1000, 0o1777)
    foreign = owners.Owned(HERE / "ledger.sqlite", 0, 0o644)
    found = list(owners.judge([zone, secret, written, sticky, foreign], 1000, 1000))
    assert levels(found) == ["problem"] * 3
    assert [Path(one.where).name for one in found] == ["secrets", "blobs", "ledger.sqlite"]


def test_folders_of_the_cds() -> None:
    good = carriers.Folder(True, True, True, "sluice")
    none = carriers.Folder(exists=False)
    locked = carriers.Folder(True, True, False, "root")
    mounted = carriers.Folder(True, True, True, "sluice", mount=True)
    assert levels(carriers.judge_outbox(HERE, good)) == ["ok"]
    for bad in (none, locked, mounted):
        assert levels(carriers.judge_outbox(HERE, bad)) == ["problem"]
    assert levels(carriers.judge_inbox(HERE, locked, keeps=False, made=False)) == ["problem"]
    assert levels(carriers.judge_inbox(HERE, locked, keeps=True, made=False)) == ["ok"]
    assert levels(carriers.judge_inbox(HERE, none, keeps=False, made=True)) == []
    assert levels(carriers.judge_media(HERE, none, write=True)) == ["ok"]
    assert levels([carriers.judge_sending(TcpSending(host="h", port=1), "refused")]) == ["problem"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "ok"),
        ({"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}, "ok"),
        ({"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "disabled"}, "warning"),
        ({"LoadState": "loaded", "ActiveState": "active", "NRestarts": "9"}, "warning"),
        ({"LoadState": "loaded", "ActiveState": "failed", "Result": "watchdog"}, "problem"),
        ({"LoadState": "loaded", "ActiveState": "inactive"}, "problem"),
        ({}, "problem"),
    ],
)
def test_units(state: dict[str, str], expected: str) -> None:
    assert levels([service.judge("sluice@hq.service", state)]) == [expected]


def test_only_zones_where_the_unit_looks_have_one() -> None:
    assert service.unit_of(Path("/var/lib/sluice/hq")) == "sluice@hq.service"
    assert service.unit_of(Path("/srv/hq")) is None
    assert service.unit_of(Path("/var/lib/sluice/a b")) is None


def _zone(text: str) -> zones.Zone:
    return zones.parse(text, HERE, FORMATS)


def test_programs_are_those_that_the_settings_need() -> None:
    outside = _zone(
        "zone: outside\n"
        "repositories:\n"
        '  a: {format: yum, upstream: "rsync://mirror.example.org/a/", signed_by: k, '
        "check_packages: true}\n"
        '  b: {format: maven, upstream: "https://mirror.example.org/b/", artifacts: ["a:b:1"]}\n'
        '  c: {format: oci, upstream: "https://mirror.example.org/", images: [x], signed_by: k}\n'
    )
    assert set(programs.needed(outside)) == {"rsync", "gpg", "gpgv", "rpmkeys", "mvn"}
    assert programs.needed(_zone("zone: inside\n")) == {}
    assert levels([programs.judge("mvn", "b", None, "")]) == ["problem"]
    assert levels([programs.judge("mvn", "b", "/usr/bin/mvn", "? it ended with 1")]) == ["problem"]


def test_a_check_that_fails_or_hangs_stops_no_other() -> None:
    waiting = threading.Event()

    def fails(_: Site) -> Iterator[Finding]:
        yield ok("first", "fine")
        raise StoreError("the disk is gone", where="disk", remedy="find it")

    def breaks(_: Site) -> Iterator[Finding]:
        raise ZeroDivisionError("by zero")
        yield

    def hangs(_: Site) -> Iterator[Finding]:
        waiting.wait(60)
        yield ok("late", "fine")

    def works(_: Site) -> Iterator[Finding]:
        yield ok("last", "fine")

    site = Site(_zone("zone: inside\n"), NOW)
    checks = [("a", fails), ("b", breaks), ("c", works)]
    found = [(one.check, one.finding.level.value) for one in examine(site, checks)]
    assert found == [("a", "ok"), ("a", "problem"), ("b", "problem"), ("c", "ok")]
    (given_up,) = examine(site, [("d", hangs)], patience=0.2)
    waiting.set()
    assert given_up.finding.what.startswith("no answer within")
    assert worst([ok("x", "y")]) is Level.OK
