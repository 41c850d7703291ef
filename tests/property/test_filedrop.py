"""Any interleaving of sending, picking up, expiring, settling, dying and failing disks.

Each file that was offered and did not expire is delivered at least once, and nothing is
ever delivered but whole files, byte for byte.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cds.filedrop import FileInbox, FileOutbox
from manifests import errors
from manifests.zone import After, PartNames, Retain
from store.seam import Seam
from tests.support.filedrop import NOW, failing_at, visible

SETTLE = 2.0
MARKERS = PartNames(prefix="", suffix=".tar", done_marker=".done")
PLAIN = PartNames(prefix="", suffix=".tar")


class _Copy:
    """A file that the guard is writing into the inbox, piece by piece."""

    def __init__(self, data: bytes, target: Path, now: float) -> None:
        self.rest = data
        self.target = target
        target.write_bytes(b"")
        self.go_on(0, now)

    def go_on(self, size: int, now: float) -> bool:
        with self.target.open("ab") as out:
            out.write(self.rest[:size])
        self.rest = self.rest[size:]
        os.utime(self.target, (now, now))
        return bool(self.rest)


class FileDrop(RuleBasedStateMachine):
    @initialize(
        mirrors=st.booleans(),
        marked=st.booleans(),
        after=st.sampled_from(After),
        clock=st.booleans(),
    )
    def begin(self, mirrors: bool, marked: bool, after: After, clock: bool) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.outbox, self.inbox = self.root / "outbox", self.root / "inbox"
        self.outbox.mkdir()
        self.inbox.mkdir()
        self.mirrors, self.after = mirrors, after
        self.names = MARKERS if marked else PLAIN
        self.now = NOW
        self.guard_ahead = 3600.0 if clock else 0.0
        self.offered: dict[str, bytes] = {}
        self.sent: dict[str, float] = {}
        self.expired: set[str] = set()
        self.delivered: set[bytes] = set()
        self.seen: set[str] = set()
        self.mirrored: set[str] = set()
        self.copies: list[_Copy] = []
        self.new_processes()

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        for name in self.offered.keys() - self.sent.keys() - self.expired:
            self._offer(name, Seam())
        self.pick_up()
        while self.copies:
            self.time_passes(1.0, 10_000)
        for _ in range(3):
            self.now += SETTLE
            self.receive(False)
        wanted = {data for name, data in self.offered.items() if name not in self.expired}
        assert wanted <= self.delivered
        shutil.rmtree(self.root)

    @rule()
    def new_processes(self) -> None:
        """Both ends end and start again: what they held in memory is gone."""
        self.outlet = FileOutbox(
            Seam(), self.outbox, names=self.names, retain=Retain(age=30.0, size=20_000)
        )
        self.inlet = self._inlet(Seam())

    def _inlet(self, files: Seam) -> FileInbox:
        return FileInbox(
            files,
            self.inbox,
            self.root / "quarantine",
            names=self.names,
            after=self.after,
            done=self.root / "done",
            settle=SETTLE,
        )

    def _offer(self, name: str, files: Seam) -> None:
        outlet = FileOutbox(files, self.outbox, names=self.names)
        outlet.offer(name, self.root / f"spool-{name}")
        self.sent.setdefault(name, self.now)

    @rule(size=st.integers(1, 9000), fault=st.none() | st.integers(0, 12))
    def offer(self, size: int, fault: int | None) -> None:
        name = f"part{len(self.offered):03}"
        data = (name.encode() * (size // 7 + 1))[:size] + name.encode()
        (self.root / f"spool-{name}").write_bytes(data)
        self.offered[name] = data
        # A refused offer is made again, at the latest in the end.
        with contextlib.suppress(errors.NoSpace):
            self._offer(name, Seam() if fault is None else Seam(failing_at(fault, errno.ENOSPC)))
        self._outbox_is_whole()

    @precondition(lambda self: self.offered)
    @rule(data=st.data())
    def offer_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.offered)))
        if name not in self.expired:
            self._offer(name, Seam())

    def _outbox_is_whole(self) -> None:
        for name in visible(self.outbox):
            if not name.endswith(".done"):
                data = (self.outbox / name).read_bytes()
                assert data == self.offered[name.removesuffix(".tar")]

    @rule()
    def pick_up(self) -> None:
        """The guard takes what it sees, markers at once and files slowly."""
        self._outbox_is_whole()
        for name in visible(self.outbox):
            path = self.outbox / name
            marked = name.endswith(".done") or (self.outbox / f"{name}.done").exists()
            if (self.names.done_marker and not marked) or (self.mirrors and name in self.mirrored):
                continue
            self.mirrored.add(name)
            if name.endswith(".done"):
                (self.inbox / name).write_bytes(b"")
            elif not (self.inbox / name).exists():
                there, ahead = self.inbox / name, self.now + self.guard_ahead
                self.copies.append(_Copy(path.read_bytes(), there, ahead))
            if not self.mirrors:
                path.unlink()

    @rule(seconds=st.floats(0.1, SETTLE * 0.9), size=st.integers(1, 4000))
    def time_passes(self, seconds: float, size: int) -> None:
        """Whatever the guard is writing grows before it could seem settled."""
        self.now += seconds
        ahead = self.now + self.guard_ahead
        self.copies = [copy for copy in self.copies if copy.go_on(size, ahead)]

    @precondition(lambda self: not self.copies)
    @rule(seconds=st.floats(SETTLE, 40))
    def much_time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        for name in self.outlet.expire(self.now, self.sent):
            self.expired.add(name)
            del self.sent[name]

    @rule(die=st.booleans())
    def receive(self, die: bool) -> None:
        """``die``: the process ends between the commit and letting go of the file."""
        for arrival in self.inlet.arrivals(self.now):
            if arrival.identity not in self.seen:
                with arrival.open() as source:
                    data = source.read()
                assert data == self.offered[arrival.name.removesuffix(".tar")]
                self.delivered.add(data)
                self.seen.add(arrival.identity)
            if die:
                self.new_processes()
                return
            self.inlet.finish(arrival)

    @rule(k=st.integers(0, 4))
    def receive_with_a_bad_disk(self, k: int) -> None:
        inlet = self._inlet(Seam(failing_at(k, errno.EIO)))
        for arrival in inlet.arrivals(self.now):
            if arrival.identity in self.seen:
                try:
                    inlet.finish(arrival)
                except errors.StoreError:
                    return


@pytest.mark.parametrize("examples", [60, pytest.param(3000, marks=pytest.mark.soak)])
def test_any_interleaving_delivers_whole_files(examples: int) -> None:
    run_state_machine_as_test(
        FileDrop,
        settings=settings(max_examples=examples, stateful_step_count=40, deadline=None),
    )
