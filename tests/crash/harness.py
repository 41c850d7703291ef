"""Crash tests for any path that writes through the seam.

Describe the work once as a :class:`Scenario`, then hand it to the four trials::

    def run(root: Path, files: Durable) -> None:
        ...do the work below root, writing only through files...
        files.committed("stored")            # the promise: from here it must survive

    def check(root: Path, promised: list[str]) -> None:
        ...open what lies below root as a new process would and assert that nothing is
           half-done, and that everything in promised is there...

    SCENARIO = Scenario(run, check, setup=..., databases=("ledger.db",))

    def test_kill(tmp_path):   kill_at_each(SCENARIO, tmp_path)
    def test_power(tmp_path):  cut_power_at_each(SCENARIO, tmp_path)
    def test_syncs(tmp_path):  assert_every_sync_needed(SCENARIO, tmp_path)
    def test_faults(tmp_path): fail_at_each(SCENARIO, tmp_path, errno.ENOSPC)

Rules for a scenario:

* ``run`` must be able to run again after any crash and then finish the work: the trials
  call it a second time and ``check`` that everything is promised. Let it be small; trials
  cost (operations) x (variants) runs.
* All paths lie below ``root``. What ``setup`` makes counts as durable. Files that other
  programs write during ``run`` are learned when the seam first touches them, unsynced.
* ``Ledger`` calls ``files.committed`` by itself; a scenario without a ledger calls it where
  its promise begins. ``promised`` holds the words of those calls so far (more may have
  happened: a kill can strike between commit and call).
* ``databases`` are SQLite files, relative to ``root``. SQLite does not write through the
  seam; it is trusted with its own durability, and copied by its backup API at each
  ``committed``. The rebuilt folder gets the newest copy.
* ``check`` gets folders that it may change (recovery is part of what it checks).

What the trials prove: ``kill_at_each`` that a process may die before any operation
(with the page cache alive, so it says nothing of fsync); ``cut_power_at_each`` that any
prefix of the work survives a power cut, whatever unsynced data and names survive with it;
``assert_every_sync_needed`` that the power cuts would notice each single fsync missing;
``fail_at_each`` that a refused operation is reported, harms nothing, and can be retried.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from manifests import errors
from manifests.durable import Durable
from store.seam import Kind, Operation, Seam
from tests.crash.disk import Disk, Keep

SYNCS = (Kind.SYNC_FILE, Kind.SYNC_DIR)
REFUSABLE = tuple(kind for kind in Kind if kind is not Kind.COMMITTED)
NEEDS_SPACE = (Kind.CREATE, Kind.WRITE, Kind.MKDIR, Kind.LINK, Kind.SYNC_FILE)


def _nothing(_root: Path) -> None:
    pass


@dataclass(frozen=True)
class Scenario:
    """Work that must survive crashes; see the module's text."""

    run: Callable[[Path, Durable], None]
    check: Callable[[Path, list[str]], None]
    setup: Callable[[Path], None] = _nothing
    databases: Sequence[str] = ()

    def prepare(self, root: Path) -> Path:
        """A new folder as ``run`` expects it."""
        root.mkdir(parents=True)
        self.setup(root)
        return root

    def finish(self, root: Path, promised: list[str]) -> None:
        """Check, run again, check that now everything is there."""
        self.check(root, promised)
        again: list[str] = []
        self.run(root, Seam(lambda operation: _note(operation, again)))
        self.check(root, again)


def _note(operation: Operation, promised: list[str]) -> None:
    if operation.kind is Kind.COMMITTED:
        promised.append(operation.what)


@dataclass
class Step:
    """An operation, what other programs had written under its path, and the databases."""

    operation: Operation
    foreign: dict[str, bytes] = field(default_factory=dict)
    databases: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Recording:
    """One undisturbed run of a scenario. ``start`` makes the disk as it was before."""

    root: Path
    start: Callable[[], Disk]
    databases: dict[str, bytes]
    steps: list[Step]

    @property
    def operations(self) -> list[Operation]:
        """What was done, in order."""
        return [step.operation for step in self.steps]

    def promised(self, count: int) -> list[str]:
        """What the first ``count`` operations promised."""
        return [op.what for op in self.operations[:count] if op.kind is Kind.COMMITTED]

    def rebuild(
        self, target: Path, count: int, keep: Keep, seed: int = 0, without: int | None = None
    ) -> Path:
        """The folder after ``count`` operations and a power cut; ``without`` leaves one out."""
        disk = self.start()
        databases = self.databases
        for number, step in enumerate(self.steps[:count]):
            if step.foreign:
                disk.meet(step.operation.path, step.foreign)
            if number != without:
                disk.carry_out(step.operation)
            databases = step.databases or databases
        disk.rebuild(target, keep, seed)
        for name, data in databases.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
        return target


def record(scenario: Scenario, folder: Path) -> Recording:
    """Run the scenario undisturbed in the new folder ``folder`` and note every operation."""
    root = scenario.prepare(_fresh(folder))
    before = _fresh(folder.with_name(f"{folder.name}-before"))
    shutil.copytree(root, before, symlinks=True)
    ignore = frozenset(
        before / f"{name}{end}" for name in scenario.databases for end in ("", "-wal", "-shm")
    )
    steps: list[Step] = []
    lock = threading.Lock()

    def observe(operation: Operation) -> None:
        step = Step(operation)
        if operation.kind is Kind.COMMITTED:
            step.databases = _databases(scenario, root)
        elif operation.handle == 0 and operation.kind not in (Kind.SYNC_DIR, Kind.UNLINK):
            step.foreign = _content(operation.path)
        with lock:
            steps.append(step)

    databases = _databases(scenario, root)
    scenario.run(root, Seam(observe))
    recording = Recording(root, lambda: Disk(root, before, ignore), databases, steps)
    assert recording.promised(len(steps)), "a scenario must promise something: files.committed()"
    return recording


def _content(path: Path) -> dict[str, bytes]:
    if path.is_symlink():
        return {}
    if path.is_file():
        return {"": path.read_bytes()}
    if path.is_dir():
        return {
            file.relative_to(path).as_posix(): file.read_bytes()
            for file in sorted(path.rglob("*"))
            if file.is_file() and not file.is_symlink()
        }
    return {}


def _databases(scenario: Scenario, root: Path) -> dict[str, bytes]:
    copies = {}
    for name in scenario.databases:
        if (root / name).exists():
            with (
                closing(sqlite3.connect(root / name)) as database,
                closing(sqlite3.connect(":memory:")) as copy,
            ):
                database.backup(copy)
                data = bytearray(copy.serialize())
            # A copy of a WAL database wants no WAL: file format versions, offsets 18 and 19.
            data[18:20] = b"\x01\x01"
            copies[name] = bytes(data)
    return copies


def _fresh(folder: Path) -> Path:
    """A name that is free; what an earlier trial left there is removed."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def kill_at_each(scenario: Scenario, folder: Path, every: int = 1) -> int:
    """Kill a child right before each operation (each ``every``-th), then check and finish.

    Returns how many kills there were.
    """
    count = len(record(scenario, folder / "record").steps)
    for number in range(0, count, every):
        root = scenario.prepare(_fresh(folder / "kill"))
        promised = _run_and_kill(scenario, root, number)
        with _About(f"killed before operation {number}"):
            scenario.finish(root, promised)
    return len(range(0, count, every))


def _run_and_kill(scenario: Scenario, root: Path, number: int) -> list[str]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0
        lock = threading.Lock()

        def observe(operation: Operation) -> None:
            nonlocal seen
            with lock:
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1
                if operation.kind is Kind.COMMITTED:
                    os.write(writing, operation.what.encode() + b"\n")

        try:
            scenario.run(root, Seam(observe))
        except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
            traceback.print_exc()
            os._exit(70)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        promised = pipe.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # With threads a run may take an operation less and so end unharmed.
    assert code in (-signal.SIGKILL, 0), f"the child failed by itself at operation {number}"
    return promised


class _About:
    """Say on failure which trial it was."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None:
        if exc is not None:
            exc.add_note(f"trial: {self._what}")


def cut_power_at_each(
    scenario: Scenario, folder: Path, *, seeds: int = 2, finish: bool = True, every: int = 1
) -> int:
    """Cut the power after each prefix of the work; returns how many cuts there were.

    ``every`` N tries each N-th prefix, and always the last one.

    Variants: of what was not synced nothing, the names, the data, everything, or ``seeds``
    random parts survive. ``finish`` also runs the work again in what is left.
    """
    recording = record(scenario, folder / "record")
    variants: list[tuple[Keep, int]] = [(keep, 0) for keep in Keep if keep is not Keep.SOME]
    variants += [(Keep.SOME, seed) for seed in range(1, seeds + 1)]
    cuts = 0
    whole = len(recording.steps)
    for count in sorted({*range(0, whole, every), whole}):
        for keep, seed in variants:
            root = recording.rebuild(_fresh(folder / "cut"), count, keep, seed + 1000 * count)
            last = recording.operations[count - 1] if count else "nothing"
            with _About(f"power cut after {count} operations ({last}), kept {keep.value}, {seed}"):
                if finish:
                    scenario.finish(root, recording.promised(count))
                else:
                    scenario.check(root, recording.promised(count))
            cuts += 1
    return cuts


Spare = Callable[[Operation, int], bool]


def _none_spare(_operation: Operation, _turn: int) -> bool:
    return False


def assert_every_sync_needed(scenario: Scenario, folder: Path, spare: Spare = _none_spare) -> int:
    """Leave out each single fsync in turn; some power cut must then fail the check.

    ``spare(operation, turn)`` names those that are known to be redundant in this scenario
    (``turn`` counts the fsyncs of the same path from 1); give the reason where you write
    it. Returns how many fsyncs were proved needed.
    """
    recording = record(scenario, folder / "record")
    turns: Counter[Path] = Counter()
    unneeded: list[str] = []
    needed = 0
    for number, operation in enumerate(recording.operations):
        if operation.kind not in SYNCS:
            continue
        turns[operation.path] += 1
        outside = not operation.path.is_relative_to(recording.root)
        if outside or spare(operation, turns[operation.path]):
            continue
        if _noticed(scenario, recording, folder, number):
            needed += 1
        else:
            unneeded.append(f"operation {number}: {operation}, turn {turns[operation.path]}")
    assert not unneeded, "no check fails without these fsyncs:\n" + "\n".join(unneeded)
    return needed


def _noticed(scenario: Scenario, recording: Recording, folder: Path, without: int) -> bool:
    """Whether some power cut after the missing fsync fails the check."""
    counts = range(without + 1, len(recording.steps) + 1)
    # Right after a promise a missing fsync shows first.
    order = sorted(counts, key=lambda n: recording.operations[n - 1].kind is not Kind.COMMITTED)
    for count in order:
        for keep in (Keep.NOTHING, Keep.NAMES):
            root = recording.rebuild(_fresh(folder / "cut"), count, keep, without=without)
            try:
                scenario.check(root, recording.promised(count))
            except Exception:  # noqa: BLE001 - any failure is what is looked for
                whole = recording.rebuild(_fresh(folder / "cut"), count, keep)
                scenario.check(whole, recording.promised(count))
                return True
    return False


def fail_at_each(
    scenario: Scenario,
    folder: Path,
    code: int,
    *,
    kinds: Sequence[Kind] = REFUSABLE,
    lasting: bool = False,
) -> int:
    """Refuse each operation of these ``kinds`` in turn with errno ``code``.

    ``lasting`` refuses all that follow, too (a disk stays full). The run must report it as
    ``StoreError`` or ``NoSpace``, leave nothing half-done, and succeed when run again.
    Returns how many operations were refused.
    """
    operations = record(scenario, folder / "record").operations
    count = sum(operation.kind in kinds for operation in operations)
    for number in range(count):
        root = scenario.prepare(_fresh(folder / "fault"))
        fault = _Fault(number, code, kinds, lasting)
        with _About(f"operation {number} refused"):
            try:
                scenario.run(root, Seam(fault))
            except errors.StoreError as error:
                assert fault.refused, "the run failed by itself"
                assert error.remedy, "an operator must be told what to do"
                scenario.finish(root, fault.promised)
            else:
                # Digests that depend on the time share folders by chance, so a run may
                # make a folder less than the recorded one and end before its turn comes.
                assert not fault.refused, "a refused operation was not reported"
                return number
    return count


class _Fault:
    """An observer that refuses the ``number``-th operation of some kinds."""

    def __init__(self, number: int, code: int, kinds: Sequence[Kind], lasting: bool) -> None:
        self._number = number
        self._code = code
        self._kinds = kinds
        self._lasting = lasting
        self._seen = 0
        self._lock = threading.Lock()
        self.promised: list[str] = []
        self.refused: list[Operation] = []

    def __call__(self, operation: Operation) -> None:
        with self._lock:
            _note(operation, self.promised)
            if operation.kind not in self._kinds:
                return
            turn, self._seen = self._seen, self._seen + 1
            if turn == self._number or (self._lasting and turn > self._number):
                self.refused.append(operation)
                raise OSError(self._code, os.strerror(self._code))
