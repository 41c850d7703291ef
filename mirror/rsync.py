"""Running the real rsync against an rsync daemon.

Arguments are a list and never pass through a shell. rsync never writes in place: a file
is replaced by rename, so that the blobs that share its bytes by hard link stay as they
are. Links of the upstream arrive disarmed (``--munge-links``): nothing can be written
through them, and ``mirror.workcopy`` resolves those that stay inside.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from manifests import errors
from manifests.zone.model import Connection
from mirror import leash
from mirror.report import SHOWN, Progress, is_index, printable

PARTIAL = ".~sluice~"
"""Folder, beside the files themselves, where interrupted transfers wait to be resumed."""

_LINE = re.compile(rb"@([<>ch.*][^ ]{8,11}) +([0-9]+) (.*)\n", re.DOTALL)
_ESCAPE = re.compile(rb"\\#([0-7]{3})")
_RECEIVED = re.compile(rb"Total bytes received: ([0-9]+)\n")
_NO_FOLDER = re.compile(r"(change_dir|link_stat) .*No such file or directory")
_MAX_LINE = 16 << 10
_STDERR_KEPT = 32 << 10
_RETRY_CODES = frozenset({10, 12, 23, 24, 30, 35})
_MAX_SECRET = 4096


def decode_name(raw: bytes) -> str:
    r"""A name as rsync prints it under ``-8``: control characters and ``\`` before ``#`` and
    three octal digits as ``\#ooo`` (rsync(1), --8-bit-output). Other bytes that are not
    UTF-8 become surrogates, as in names that Python reads from a folder."""
    plain = _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), raw)
    return plain.decode("utf-8", "surrogateescape")


@dataclass(slots=True)
class Changes:
    """What one run of rsync did, or would do under ``-n``. Sizes are in bytes."""

    transfers: int = 0
    """Files that are new or have other content."""
    created: int = 0
    size: int = 0
    """Bytes that the transferred files have in full."""
    payload: int = 0
    """Transferred files that are no indexes."""
    deleted: int = 0
    """Deleted files that are no indexes."""
    first_deleted: list[str] = field(default_factory=list)
    other: int = 0
    """Links, folders, times, deleted indexes."""
    received: int = 0
    """Bytes that crossed the network."""

    @property
    def any(self) -> bool:
        return bool(self.transfers or self.deleted or self.other)

    def note(self, format_name: str, flags: bytes, size: int, name: bytes) -> None:
        """Count one line of output."""
        if flags.startswith(b"*deleting"):
            path = decode_name(name)
            if path.endswith("/") or is_index(format_name, path):
                self.other += 1
                return
            self.deleted += 1
            if len(self.first_deleted) < SHOWN:
                self.first_deleted.append(path)
        elif flags.startswith(b">f"):
            self.transfers += 1
            self.created += flags[2:3] == b"+"
            self.size += size
            self.payload += not is_index(format_name, decode_name(name))
        else:
            self.other += 1


class Rsync:
    """One upstream module as ``Connection`` says it is reached.

    ``lock`` is an open descriptor that rsync inherits: whatever is locked through it
    stays locked until the last of its processes is gone, also if ours is killed.
    """

    def __init__(
        self,
        url: str,
        connection: Connection,
        format_name: str,
        *,
        lock: int,
        progress: Progress,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._connection = connection
        self._format = format_name
        self._lock = lock
        self._progress = progress
        self._pause = pause
        self.by_content = False
        """Compare files by content instead of size and time."""

    def plan(self, target: Path) -> Changes:
        """What a full copy into ``target`` would change. Writes nothing."""
        return self._retried(["--dry-run", "--delete-after"], [], target, show=False)

    def fetch_payload(self, target: Path, indexes: tuple[str, ...]) -> Changes:
        """Copy everything but the folders ``indexes``; delete nothing."""
        return self._retried([], [f"--exclude={name}" for name in indexes], target)

    def fetch_all(self, target: Path) -> Changes:
        """Copy everything, then put it in place at once, then delete what is gone."""
        return self._retried(["--delay-updates", "--delete-after"], [], target)

    def fetch_some(self, target: Path, paths: list[str], most: int) -> Changes:
        """Copy the named files, as far as they are there; links come as the files they name.

        Absent ones are no error; look for them in ``target`` afterwards. None that has
        more than ``most`` bytes is fetched.
        """
        module, inside = self._module()
        with tempfile.NamedTemporaryFile(prefix="sluice-paths-") as listing:
            for path in paths:
                listing.write((inside + path).encode("utf-8", "surrogateescape") + b"\0")
            listing.flush()
            words = [f"--files-from={listing.name}", "--from0", "--copy-links"]
            words += ["--ignore-missing-args", "--no-recursive", f"--max-size={most}"]
            return module._retried([], words, target, bear=frozenset({23, 24}))

    def _module(self) -> tuple[Rsync, str]:
        """The module that the folder is in, and the folder as a prefix of names in it.

        A daemon of rsync 3.5 looks for named files below the module, and then says that
        they vanished. ``/./`` keeps the folder out of what is made.
        """
        below = self.url.split("/", 4)[4] if self._remote else ""
        module = copy(self)
        module.url = self.url.removesuffix(below)
        return module, f"{below}./" if below else ""

    def listing(self, folder: str) -> list[str] | None:
        """The names in ``folder`` ("" or ending with a slash), folders with a slash; None:

        there is no such folder.
        """
        found: list[str] = []

        def take(flags: bytes, name: str) -> None:
            if name != "./" and flags[1:2] in b"fdL":
                found.append(name)

        with tempfile.TemporaryDirectory(prefix="sluice-listing-") as empty:
            words = ["--dry-run", "--no-recursive", "--dirs", "--copy-links"]
            bear = frozenset({23})
            try:
                self._retried(
                    words, [], Path(empty), show=False, bear=bear, folder=folder, take=take
                )
            except errors.UpstreamRefused:
                if not folder:
                    raise
                return None
        return found

    def _retried(
        self,
        mode: list[str],
        filters: list[str],
        target: Path,
        *,
        show: bool = True,
        bear: frozenset[int] = frozenset(),
        folder: str = "",
        take: Callable[[bytes, str], None] | None = None,
    ) -> Changes:
        tries = self._connection.retries + 1
        for turn in range(1, tries + 1):
            changes = Changes()
            command = self.command([*mode, *filters], target, folder)
            code, said = self._run(command, changes, show=show, take=take)
            if code == 0:
                return changes
            error = self._error(code, said)
            refused = isinstance(error, errors.UpstreamRefused | errors.StoreError)
            if code in bear and turn == tries and not refused:
                return changes
            final = code not in _RETRY_CODES and not _is_busy(said)
            if final or refused or turn == tries:
                raise error
            self._pause(min(60.0, 2.0 ** (turn - 1)) * random.uniform(0.5, 1.0))  # noqa: S311
        raise AssertionError("not reached")

    def command(self, words: list[str], target: Path, folder: str = "") -> list[str]:
        """The whole command line."""
        limit = self._connection.bandwidth
        wait = max(1, round(self._connection.timeout))
        return [
            "rsync", "-rltH", "--omit-dir-times", "--chmod=D0755,F0644", "--munge-links",
            "-8", "--no-motd", "--no-human-readable", "--stats", "--info=nonreg0",
            "--out-format=@%i %l %n", f"--partial-dir={PARTIAL}",
            f"--timeout={wait}", *([f"--contimeout={wait}"] if self._remote else []),
            # Ours alone: an upstream may not put anything there.
            "--exclude=/.sluice/", "--exclude=/.sluice",
            *(["--checksum"] if self.by_content else []),
            *([] if limit is None else [f"--bwlimit={max(1, limit // 1024)}"]),
            *words, "--", self._address() + folder, f"{target}/",
        ]  # fmt: skip

    @property
    def _remote(self) -> bool:
        return not self.url.startswith("file://")

    def _address(self) -> str:
        if not self._remote:
            # Absolute, so neither an option nor a host for rsync.
            return f"{Path(unquote(self.url.removeprefix('file://'))).resolve()}/"
        user = self._connection.username
        return self.url.replace("://", f"://{user}@", 1) if user else self.url

    def _environment(self) -> dict[str, str]:
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        # Set in any case: without it rsync would ask on the terminal.
        env |= {"LC_ALL": "C", "RSYNC_PASSWORD": read_secret(self._connection.password_file)}
        proxy = self._connection.proxy or os.environ.get("RSYNC_PROXY", "")
        if proxy:
            env["RSYNC_PROXY"] = proxy.partition("://")[2] or proxy
        return env

    def _run(
        self,
        command: list[str],
        changes: Changes,
        *,
        show: bool,
        take: Callable[[bytes, str], None] | None,
    ) -> tuple[int, str]:
        with tempfile.TemporaryFile() as complaints:
            try:
                process = leash.start(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env=self._environment(),
                    pass_fds=(self._lock,),
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise errors.ConfigError(
                    "the program rsync is not installed", remedy="install the package rsync"
                ) from error
            try:
                assert process.stdout is not None
                for line in _lines(process.stdout):
                    self._take(line, changes, show=show, take=take)
                code = process.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise
            finally:
                if process.stdout is not None:
                    process.stdout.close()
            size = complaints.seek(0, os.SEEK_END)
            complaints.seek(max(0, size - _STDERR_KEPT))
            return code, complaints.read(_STDERR_KEPT).decode("utf-8", "backslashreplace")

    def _take(
        self,
        line: bytes,
        changes: Changes,
        *,
        show: bool,
        take: Callable[[bytes, str], None] | None,
    ) -> None:
        match = _LINE.fullmatch(line)
        if match is not None:
            if take is not None:
                take(match[1], decode_name(match[3]))
            size = int(match[2])
            changes.note(self._format, match[1], size, match[3])
            if show and match[1].startswith(b">f"):
                self._progress.advance(1, size)
            return
        received = _RECEIVED.fullmatch(line)
        if received is not None:
            changes.received += int(received[1])

    def _error(self, code: int, said: str) -> errors.SluiceError:
        where = self.url
        first = _first_line(said)
        if "No space left on device" in said or "Disk quota exceeded" in said:
            return errors.NoSpace(
                "the disk filled up while rsync ran",
                where=where,
                remedy="free space on this disk, then sync again: it goes on where it stopped",
            )
        if code == 11:
            return errors.StoreError(f"rsync could not write: {first}", where=where)
        if code < 0 or code in (16, 19, 20):
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return errors.UpstreamUnreachable(
                f"rsync was ended from outside ({how})",
                where=where,
                remedy="sync again: it goes on where it stopped",
            )
        if _is_busy(said):
            return errors.UpstreamUnreachable(
                f"the daemon is full: {first}", where=where, remedy="sync again later"
            )
        if code == 5:
            return errors.UpstreamRefused(
                f"the daemon refused: {first}",
                where=where,
                remedy="check the module in `upstream`, and `username` and `password_file`",
            )
        if _NO_FOLDER.search(said):
            return errors.UpstreamRefused(
                f"there is no such folder: {first}",
                where=where,
                remedy="check the path in `upstream`",
            )
        if code in (10, 12, 30, 35):
            return errors.UpstreamUnreachable(
                f"no working connection (rsync exit code {code}): {first}",
                where=where,
                remedy="check the network and the daemon, then sync again: it goes on "
                "where it stopped",
            )
        if code in (23, 24):
            return errors.UpstreamUnreachable(
                f"some files could not be read upstream: {first}",
                where=where,
                remedy="sync again later; if it stays, tell the upstream's operator",
            )
        return errors.UpstreamError(f"rsync failed with exit code {code}: {first}", where=where)


def read_secret(path: Path | None) -> str:
    """The first line of a password file, "" for None. Raises ConfigError."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SECRET + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ConfigError(
            "the password file cannot be read",
            where=str(path),
            remedy="write the password as its only line, readable by Sluice alone",
        ) from error
    lines = text.splitlines()
    if len(data) > _MAX_SECRET or not lines or not lines[0] or "\0" in lines[0]:
        raise errors.ConfigError(
            "the password file holds no password",
            where=str(path),
            remedy="write the password as its only line",
        )
    return lines[0]


def _is_busy(said: str) -> bool:
    return "max connections" in said


def _first_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("@ERROR", "rsync:", "rsync: [", "ERROR"))]
    return printable((marked or lines or ["it gave no reason"])[0])


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines with a bounded length; the rest of a longer one is dropped."""
    while line := stream.readline(_MAX_LINE):
        whole = line.endswith(b"\n")
        while not whole and (more := stream.readline(_MAX_LINE)):
            whole = more.endswith(b"\n")
        yield line
