"""Locks between processes, between threads, and within one thread."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manifests import errors
from store.locks import Locks

HOLD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from store.locks import Locks\n"
    "locks = Locks(Path(sys.argv[1]))\n"
    "with eval('locks.' + sys.argv[2]):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@contextmanager
def elsewhere(folder: Path, call: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), call],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.getcwd()},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_processes_share_but_gc_waits_and_names_the_holder(tmp_path: Path) -> None:
    locks = Locks(tmp_path / "locks")
    with elsewhere(tmp_path / "locks", "shared()") as other:
        with locks.shared(wait=False):
            pass
        with (
            pytest.raises(errors.StoreBusy, match=f"by process {other.pid}") as caught,
            locks.exclusive(wait=0.05),
        ):
            pass
        assert caught.value.remedy
    with locks.exclusive(wait=5):
        pass


def test_two_imports_of_one_stream_are_refused_clearly(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with elsewhere(tmp_path, "named('import-hq')") as other:
        with (
            pytest.raises(errors.StoreBusy, match=f"import-hq is running.*{other.pid}"),
            locks.named("import-hq"),
        ):
            pass
        with locks.named("import-lab"), locks.exclusive():
            pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with elsewhere(tmp_path, "exclusive()") as other:
        other.kill()
        other.wait()
        with Locks(tmp_path).exclusive(wait=False):
            pass


def test_a_thread_may_enter_again_but_not_turn_shared_into_exclusive(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with locks.exclusive(), locks.exclusive(), locks.shared(), Locks(tmp_path).shared():
        pass
    with locks.named("sync-baseos"), locks.named("sync-baseos"):
        pass
    with (
        locks.shared(),
        pytest.raises(errors.StoreBusy, match="in this process"),
        locks.exclusive(wait=True),
    ):
        pass
    with elsewhere(tmp_path, "exclusive()"):
        pass


def test_threads_exclude_each_other_and_wait(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with Locks(tmp_path).named("job", wait=True):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


def test_a_second_thread_keeps_the_shared_lock_alive(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with locks.shared():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=work)
    with locks.shared():
        thread.start()
        assert entered.wait(60)
    with pytest.raises(errors.StoreBusy), locks.exclusive():
        pass
    leave.set()
    thread.join()
    with locks.exclusive():
        pass


def test_a_forked_child_neither_holds_nor_releases(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with locks.exclusive():
        child = os.fork()
        if child == 0:
            try:
                with locks.shared(wait=False):
                    os._exit(1)
            except errors.StoreBusy:
                os._exit(0)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(AssertionError), elsewhere(tmp_path, "shared(wait=False)"):
            pass


@pytest.mark.parametrize("name", ["", "store", "../up", "a/b", ".hidden", "a" * 201])
def test_names_of_locks_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"), Locks(tmp_path).named(name):
        pass


def test_a_copy_of_the_descriptor_in_a_starting_program_does_not_keep_the_lock(
    tmp_path: Path,
) -> None:
    locks = Locks(tmp_path)
    with locks.named("pack-hq"):
        lock = (tmp_path / "pack-hq.lock").resolve()
        (fd,) = [
            int(each.name)
            for each in Path("/proc/self/fd").iterdir()
            if each.is_symlink() and os.readlink(each) == str(lock)
        ]
        copy = os.dup(fd)  # what a child of another thread has between fork and exec
    try:
        with locks.named("pack-hq"):
            pass
    finally:
        os.close(copy)
