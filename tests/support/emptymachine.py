"""An empty machine for one test: this system's programs, and nothing kept of what it does.

Its disk is an overlay in memory over this machine's own; mounts, network and processes are
its own, too, and go with it. No systemd runs there (``tests.support.systemd`` has one):
``systemctl`` is a stand-in that starts what the unit says. Needs root.
"""

from __future__ import annotations

import compileall
import os
import secrets
import select
import shlex
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.architecture.project import PACKAGES, ROOT
from tests.support import tools

_BOOT = r"""
set -eu
base="$1"; shift
mount -t tmpfs tmpfs "$base"
mkdir "$base/up" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/up,workdir=$base/work" "$base/root"
cd "$base/root"
mount -t proc proc proc
mount --rbind /dev dev
# Before the others: one of them may lie below it.
mount -t tmpfs tmpfs tmp
chmod 1777 tmp
while [ "$1" != -- ]; do
    mkdir -p ".$2"
    mount --bind "$1" ".$2"
    [ "$3" = rw ] || mount -o remount,bind,ro ".$2"
    shift 3
done
ip link set lo up
exec chroot . /bin/bash
"""

_SYSTEMCTL = r"""#!/bin/bash
# Starts, stops and restarts sluice@NAME.service as its unit says.
set -eu
words=(); now=
for word in "$@"; do case "$word" in --now) now=yes ;; -*) ;; *) words+=("$word") ;; esac; done
unit=/etc/systemd/system/sluice@.service
stop() {
    [ -e "$1" ] || return 0
    pid="$(cat "$1")"
    rm "$1"
    kill "$pid"
    tail --pid="$pid" -f /dev/null
}
start() {
    [ ! -e "$1" ] || return 0
    user="$(sed -n 's/^User=//p' "$unit")"
    as=(setpriv --reuid "$user" --regid "$user" --init-groups env -i PATH=/usr/bin:/bin)
    line="$(sed -n 's/^ExecStartPre=//p' "$unit")"
    ${line:+"${as[@]}" ${line//%i/$2}}
    line="$(sed -n 's/^ExecStart=//p' "$unit")"
    "${as[@]}" setsid ${line//%i/$2} </dev/null >>"/var/log/sluice-$2.log" 2>&1 &
    echo $! > "$1"
}
for name in "${words[@]:1}"; do
    zone="${name#sluice@}"; zone="${zone%.service}"; pid="/run/sluice-$zone.pid"
    case "${words[0]}" in
        enable) [ -z "$now" ] || start "$pid" "$zone" ;;
        disable) [ -z "$now" ] || stop "$pid" ;;
        start) start "$pid" "$zone" ;;
        stop) stop "$pid" ;;
        restart) stop "$pid"; start "$pid" "$zone" ;;
        reload) kill -HUP "$(cat "$pid")" ;;
        is-active) kill -0 "$(cat "$pid")"; echo active ;;
        *) echo "the stand-in for systemctl has no ${words[0]}" >&2; exit 64 ;;
    esac
done
"""


@dataclass(frozen=True)
class Typed:
    """A command line that was typed, with all that it printed."""

    line: str
    code: int
    said: str

    def __str__(self) -> str:
        return f"$ {self.line}\n{self.said}[exit {self.code}]"


class Terminal:
    """A shell into which a person types; what ``su`` opens goes on in the same terminal."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def type(self, line: str, *, seconds: float = 300.0) -> Typed:
        """Type one command and wait for it; AssertionError after ``seconds``."""
        assert self._process.stdin is not None and self._process.stdout is not None
        mark = f"--{secrets.token_hex(8)}"
        self._process.stdin.write(f"{line}\nprintf '%s %s\\n' {mark} $?\n".encode())
        self._process.stdin.flush()
        said, until = b"", time.monotonic() + seconds
        while mark.encode() + b" " not in said or not said.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], 1.0)
            block = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            said += block
            ended = bool(ready) and not block
            assert not ended, f"the terminal closed at: {line}\n{said.decode()}"
            assert time.monotonic() < until, f"no end of: {line}\n{said.decode()}"
        text, _, code = said.decode().rpartition(f"{mark} ")
        return Typed(line, int(code), text)


class EmptyMachine:
    """Use as a context manager. ``hosts`` are names that lead to this machine itself,
    ``shared`` folders of this machine that are seen there under another name."""

    def __init__(
        self, hosts: tuple[str, ...] = (), shared: Mapping[Path, str] | None = None
    ) -> None:
        self._hosts = hosts
        self._shared = dict(shared or {})
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="sluice-machine-")
        binds: list[str] = []
        for path in {ROOT, Path(sys.prefix), Path(sys.base_prefix)} - {Path("/usr")}:
            binds += [str(path), str(path), "ro"]
        for path, name in self._shared.items():
            binds += [str(path), name, "rw"]
        command = [
            tools.need("unshare"), "--mount", "--net", "--pid", "--fork", "--kill-child",
            "bash", "-c", _BOOT, "boot", self._folder.name, *binds, "--",
        ]  # fmt: skip
        self._first = self._open(command)
        self.root = Terminal(self._first)
        try:
            self._furnish()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The first process is the machine's init: what it leaves behind ends with it.
        for process in reversed(self._processes):
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._folder.cleanup()

    def terminal(self) -> Terminal:
        """A further shell of root's."""
        [init] = (
            Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children").read_text().split()
        )
        inner = "cd / && exec /bin/bash"
        words = [tools.need("nsenter"), "--target", init, "--mount", "--net", "--pid", "--root"]
        made = Terminal(self._open([*words, "/bin/sh", "-c", inner]))
        made.type(":")  # what the shell says of the folder that it came from
        return made

    def do(self, line: str) -> str:
        """What the machine's maker does there, not the person; it must end well."""
        done = self.root.type(line)
        assert done.code == 0, str(done)
        return done.said

    def _open(self, command: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 "HOME": "/root", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        self._processes.append(process)
        return process

    def _furnish(self) -> None:
        """What ``install.sh`` leaves behind, with the checkout in the place of its copy."""
        # As pip does: the checkout is read-only there, and a program compiled anew for each
        # call takes three times as long.
        for package in PACKAGES:
            compileall.compile_dir(ROOT / package, quiet=2)
        # The account `sluice` reads the checkout, wherever that lies.
        for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix)):
            for up in path.parents:
                if not up.stat().st_mode & stat.S_IXOTH:  # what is read-only there has it
                    self.do(f"chmod o+x {shlex.quote(str(up))}")
        program = (
            f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} PYTHONDONTWRITEBYTECODE=1"
            f' exec {shlex.quote(sys.executable)} -m sluice "$@"\n'
        )
        self.do("mkdir -p /opt/sluice/bin /etc/systemd/system /var/log && cd /")
        self._write("/opt/sluice/bin/sluice", program)
        self._write("/usr/local/bin/systemctl", _SYSTEMCTL)
        self.do("ln -sf /opt/sluice/bin/sluice /usr/local/bin/sluice")
        self.do(f"cp {shlex.quote(str(ROOT))}/systemd/sluice@.service /etc/systemd/system/")
        self.do(
            "useradd --system --home-dir /var/lib/sluice --shell /usr/sbin/nologin --user-group"
            " sluice && install -d -m 0750 -o sluice -g sluice /var/lib/sluice"
        )
        self._write(
            "/etc/hosts", "".join(f"127.0.0.1 {name}\n" for name in ("localhost", *self._hosts))
        )

    def _write(self, path: str, text: str) -> None:
        self.do(f"rm -f {path} && printf %s {shlex.quote(text)} > {path} && chmod 755 {path}")
