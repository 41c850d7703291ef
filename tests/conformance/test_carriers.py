"""What holds for every carrier: whole files leave an outlet and arrive at an inlet."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from cds.base import Arrival, Inlet, Outlet
from cds.filedrop import FileInbox, FileOutbox
from cds.media import Begun, Intake, MediaOutbox
from cds.tcp import TcpOutlet
from manifests import errors
from manifests.zone import After, PartNames, Retain, TcpSending
from store.seam import Seam
from tests.support.filedrop import mirror_all, move_all, rename_all
from tests.support.tcp import listener

LATER = 4_000_000_000.0
"""A moment at which everything that a test wrote has settled."""


@dataclass
class Carrier:
    outlet: Outlet
    inlet: Inlet
    carry: Callable[[], None]
    """What lies in the outlet reaches the inlet."""
    names_cross: bool = True
    stays_out: bool = False
    expires: bool = True
    lies_out: bool = True
    """Whether what was offered waits somewhere to be carried."""


def _file_drop(
    folder: Path, guard: Callable[[Path, Path], None], names: PartNames | None, after: After
) -> tuple[Outlet, Inlet, Callable[[], None]]:
    outbox, inbox = folder / "outbox", folder / "inbox"
    outbox.mkdir()
    inbox.mkdir()
    outlet = FileOutbox(Seam(), outbox, names=names, retain=Retain(age=60, size=None))
    inlet = FileInbox(
        Seam(), inbox, folder / "quarantine", names=names, after=after, done=folder / "done"
    )
    return outlet, inlet, lambda: guard(outbox, inbox)


def _tcp(folder: Path, stack: ExitStack) -> Carrier:
    listening = stack.enter_context(listener(folder / "in"))
    host, port = listening.address
    outlet = TcpOutlet(TcpSending(host=host, port=port))
    stack.callback(outlet.close)
    inlet = FileInbox(Seam(), folder / "in", folder / "quarantine", settle=0.0)
    return Carrier(
        outlet,
        inlet,
        lambda: listening.wait_quiet(1.0, 0.1),
        names_cross=False,
        lies_out=False,
        expires=False,
    )


@pytest.fixture(
    params=["moving", "mirroring", "renaming", "marking", "keeping", "archiving", "tcp", "media"]
)
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Carrier]:
    with ExitStack() as stack:
        if request.param == "tcp":
            yield _tcp(tmp_path, stack)
        elif request.param == "media":
            yield _media(tmp_path)
        else:
            yield _file_carrier(request.param, tmp_path)


def _media(folder: Path) -> Carrier:
    out, within = folder / "out", folder / "in"
    out.mkdir()
    outlet = MediaOutbox(Seam(), out, "hq", 1 << 30, last=Begun(), begun=lambda last: None)
    intake = Intake(Seam(), out, within, "hq")
    within.mkdir()
    inlet = FileInbox(Seam(), within, folder / "quarantine", settle=0.0)

    def carry() -> None:
        outlet.close()
        intake.take({})

    return Carrier(outlet, inlet, carry, names_cross=False, stays_out=True, expires=False)


def _file_carrier(kind: str, tmp_path: Path) -> Carrier:
    plain = PartNames(suffix="")
    marked = PartNames(prefix="hq-", suffix=".tar", done_marker=".done")
    match kind:
        case "mirroring":
            return Carrier(*_file_drop(tmp_path, mirror_all, plain, After.KEEP), stays_out=True)
        case "renaming":
            made = _file_drop(tmp_path, rename_all, None, After.DELETE)
            return Carrier(*made, names_cross=False)
        case "marking":
            made = _file_drop(tmp_path, move_all, marked, After.DELETE)
            return Carrier(*made, names_cross=False)
        case "keeping":
            return Carrier(*_file_drop(tmp_path, move_all, plain, After.KEEP))
        case "archiving":
            return Carrier(*_file_drop(tmp_path, move_all, plain, After.MOVE))
        case _:
            return Carrier(*_file_drop(tmp_path, move_all, plain, After.DELETE))


def _part(folder: Path, name: str, size: int = 3 << 20) -> Path:
    path = folder / f"spool-{name}"
    path.write_bytes(random.Random(name).randbytes(size))
    return path


def _read(arrival: Arrival) -> bytes:
    with arrival.open() as source:
        return source.read()


def test_whole_files_arrive_in_the_order_of_their_names(carrier: Carrier, tmp_path: Path) -> None:
    parts = {f"b{i}": _part(tmp_path, f"b{i}", size=1000 + i) for i in range(12)}
    for name in sorted(parts, reverse=True):
        sent = carrier.outlet.offer(name, parts[name])
        assert (sent.name, sent.size, sent.again) == (name, parts[name].stat().st_size, False)
    carrier.carry()
    came = list(carrier.inlet.arrivals(LATER))
    assert sorted(map(_read, came)) == sorted(p.read_bytes() for p in parts.values())
    assert [a.name for a in came] == sorted(a.name for a in came)
    assert [a.size for a in came] == [len(_read(a)) for a in came]
    if carrier.names_cross:
        assert [a.name for a in came] == sorted(parts)
    assert all(p.exists() for p in parts.values())


def test_offering_again_what_lies_out_changes_nothing(carrier: Carrier, tmp_path: Path) -> None:
    part = _part(tmp_path, "one")
    carrier.outlet.offer("one", part)
    assert carrier.outlet.offer("one", part).again is carrier.lies_out
    out = [(o.name, o.size) for o in carrier.outlet.outstanding()]
    assert out == ([("one", 3 << 20)] if carrier.lies_out else [])
    carrier.carry()
    assert [_read(a) for a in carrier.inlet.arrivals(LATER)] == [part.read_bytes()]


def test_offering_again_what_was_taken_is_no_error(carrier: Carrier, tmp_path: Path) -> None:
    part = _part(tmp_path, "one")
    carrier.outlet.offer("one", part)
    carrier.carry()
    assert len(carrier.outlet.outstanding()) == carrier.stays_out
    assert carrier.outlet.offer("one", part).again is carrier.stays_out
    carrier.carry()
    assert {_read(a) for a in carrier.inlet.arrivals(LATER)} == {part.read_bytes()}


def test_an_arrival_comes_again_until_it_is_finished(carrier: Carrier, tmp_path: Path) -> None:
    carrier.outlet.offer("one", _part(tmp_path, "one"))
    carrier.carry()
    first = list(carrier.inlet.arrivals(LATER))
    second = list(carrier.inlet.arrivals(LATER))
    assert [a.identity for a in first] == [a.identity for a in second]
    carrier.inlet.finish(second[0])
    carrier.inlet.finish(second[0])
    assert not list(carrier.inlet.arrivals(LATER))


def test_a_bad_file_is_kept_with_its_reason(carrier: Carrier, tmp_path: Path) -> None:
    for name in ("bad", "good"):
        carrier.outlet.offer(name, _part(tmp_path, name))
    carrier.carry()
    bad, good = carrier.inlet.arrivals(LATER)
    content = _read(bad)
    kept = carrier.inlet.quarantine(bad, "not a part:\nno head")
    assert kept.read_bytes() == content
    reason = kept.with_name(kept.name + ".reason.txt").read_text()
    assert "not a part:\\nno head" in reason
    assert reason.count("\n") == 1
    assert [a.identity for a in carrier.inlet.arrivals(LATER)] == [good.identity]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-rf",
        "a/b",
        "a\0b",
        "a\nb",
        "a b",
        "ä",
        "a" * 250,
        "\udcff",
        "a\\b",
    ],
)
def test_names_that_a_guard_could_trip_over_are_never_sent(
    carrier: Carrier, tmp_path: Path, name: str
) -> None:
    if name in (".", "..", ".hidden", "-rf") and not carrier.names_cross:
        name += "/"
    with pytest.raises(errors.CarrierError) as caught:
        carrier.outlet.offer(name, _part(tmp_path, "x"))
    assert caught.value.remedy
    assert str(caught.value).isascii()
    assert not carrier.outlet.outstanding()


def test_what_cannot_be_sent_is_refused_by_name(carrier: Carrier, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(_part(tmp_path, "x"))
    os.mkfifo(pipe)
    for source in (link, pipe, tmp_path, tmp_path / "absent"):
        with pytest.raises(errors.CarrierError, match="file to send") as caught:
            carrier.outlet.offer("one", source)
        assert caught.value.where == str(source)
    assert not carrier.outlet.outstanding()


def test_only_what_was_sent_and_is_old_expires(carrier: Carrier, tmp_path: Path) -> None:
    for name in ("old", "young", "unknown"):
        carrier.outlet.offer(name, _part(tmp_path, name, 10))
    if not carrier.expires:
        assert carrier.outlet.expire(1000, {"old": 900}) == []
        return
    assert carrier.outlet.expire(1000, {"old": 900, "young": 990, "gone": 1}) == ["old"]
    assert [o.name for o in carrier.outlet.outstanding()] == ["unknown", "young"]
    assert not carrier.outlet.expire(1000, {"old": 900, "young": 990})
