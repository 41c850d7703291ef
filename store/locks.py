"""Locks of a store, between processes and between threads.

The store's lock is *shared* by whoever relies on blobs before its commit and *exclusive*
to ``gc``. Named locks are exclusive and keep two imports of one stream, or two syncs of
one repository, apart. All are ``flock(2)`` on empty files, so they end with the process
that holds them, however it dies; they do not cross hosts reliably (NFS).

Within a process a lock is held once, whatever the number of its users: threads share or
wait among themselves, and a thread may enter again what it holds already. A forked child
holds nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from manifests import errors

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_PAUSE = 0.02
"""Seconds between two tries; flock itself knows no time limit."""


@dataclass(eq=False)
class _Held:
    """How this process holds one lock file."""

    fd: int = -1
    exclusive: bool = False
    users: Counter[int] = field(default_factory=Counter)
    """How often each thread has entered."""


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


def _forget_after_fork() -> None:
    """A child shares its parent's open files; closing them leaves the parent its locks."""
    global _guard
    _guard = threading.Lock()
    for held in _held.values():
        with suppress(OSError):
            os.close(held.fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


class Locks:
    """The locks in one folder, which is made when first needed.

    ``wait`` is True (for ever), False (not at all) or a number of seconds; afterwards
    ``StoreBusy`` is raised, with the process ids of the holders where the system tells.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def shared(self, wait: bool | float = True) -> Iterator[None]:
        """Keep ``gc`` away. Raises ``StoreBusy``."""
        with self._hold("store", exclusive=False, wait=wait, busy="garbage is being collected"):
            yield

    @contextmanager
    def exclusive(self, wait: bool | float = False) -> Iterator[None]:
        """Have the store alone, for ``gc``. Raises ``StoreBusy``.

        Also raised, at once, to a thread that holds the lock shared: it would wait for
        itself. Those who share may overlap for ever, so a limit for ``wait`` is wise.
        """
        with self._hold("store", exclusive=True, wait=wait, busy="the store is in use"):
            yield

    @contextmanager
    def named(self, name: str, wait: bool | float = False) -> Iterator[None]:
        """Be the only one that does ``name`` (``import-hq``). Raises ``StoreBusy``.

        Raises ``ValueError`` for anything but letters, digits and ``.-_``.
        """
        if not _NAME.fullmatch(name) or name == "store":
            raise ValueError(f"not a name for a lock: {name!r}")
        with self._hold(name, exclusive=True, wait=wait, busy=f"{name} is running already"):
            yield

    def busy(self, name: str) -> bool:
        """Whether anybody holds the named lock, this process included.

        Whoever tries to take it in this very moment may be told that it is taken.
        """
        path = self._folder.resolve() / f"{name}.lock"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    @contextmanager
    def everything(self) -> Iterator[None]:
        """Have the zone alone: no ``run``, no ``gc``, nothing that was ever named.

        Raises ``StoreBusy`` at once. Who only reads the ledger is not kept away.
        """
        with ExitStack() as stack:
            stack.enter_context(self.exclusive())
            found = {path.stem for path in self._folder.glob("*.lock")} - {"store"}
            for name in sorted({"run", *found}):
                stack.enter_context(self.named(name))
            yield

    @contextmanager
    def _hold(self, name: str, *, exclusive: bool, wait: bool | float, busy: str) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder.resolve() / f"{name}.lock"
        until = time.monotonic() + (float("inf") if wait is True else float(wait))
        me = threading.get_ident()
        while not _enter(path, exclusive, me):
            if time.monotonic() >= until or _would_wait_for_itself(path, me):
                raise _busy(path, busy)
            time.sleep(_PAUSE)
        try:
            yield
        finally:
            _leave(path, me)


def _enter(path: Path, exclusive: bool, me: int) -> bool:
    """Take the lock, or take part in it; False if somebody is in the way."""
    with _guard:
        held = _held.get(path)
        if held is not None:
            if held.users[me] and (held.exclusive or not exclusive):
                held.users[me] += 1
                return True
            if held.exclusive or exclusive:
                return False
            held.users[me] += 1
            return True
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        _held[path] = _Held(fd, exclusive, Counter({me: 1}))
        return True


def _leave(path: Path, me: int) -> None:
    with _guard:
        held = _held.get(path)
        if held is None:
            return  # a forked child leaves what only its parent holds
        held.users[me] -= 1
        if not held.users[me]:
            del held.users[me]
        if not held.users:
            del _held[path]
            # Closing alone leaves it locked while another thread's child has not yet
            # closed its copy: between fork and exec of any program that is started.
            fcntl.flock(held.fd, fcntl.LOCK_UN)
            os.close(held.fd)


def _would_wait_for_itself(path: Path, me: int) -> bool:
    with _guard:
        held = _held.get(path)
        return held is not None and me in held.users and held.users[me] > 0


def _busy(path: Path, what: str) -> errors.StoreBusy:
    pids = holders(path)
    by = "in this process" if os.getpid() in pids else ""
    others = [str(pid) for pid in pids if pid != os.getpid()]
    if others:
        by = f"by process {', '.join(others)}"
    return errors.StoreBusy(
        f"{what} ({by})" if by else what,
        where=str(path),
        remedy="wait until it has ended, then run the command again",
    )


def holders(path: Path) -> list[int]:
    """Process ids that hold ``flock`` on ``path``, as far as ``/proc/locks`` tells (proc(5))."""
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []  # only a message is poorer for it
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    # "1: FLOCK ADVISORY WRITE 708 fe:00:9978177 0 EOF"; waiting ones have "->" in place 1.
    found = {
        int(words[4])
        for words in (line.split() for line in lines)
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == file
    }
    return sorted(pid for pid in found if pid > 0)
