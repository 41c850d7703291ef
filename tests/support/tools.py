"""Programs that tests need, how to run them, and free ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

# program -> (Debian package, RHEL package)
PACKAGES: dict[str, tuple[str, str]] = {
    "createrepo_c": ("createrepo-c", "createrepo_c"),
    "curl": ("curl", "curl"),
    "dnf": ("dnf dnf-plugins-core", "dnf dnf-plugins-core"),
    "docker-registry": ("docker-registry", "docker-distribution"),
    "gradle": ("gradle", "gradle"),
    "gpg": ("gnupg", "gnupg2"),
    "gpgconf": ("gnupg", "gnupg2"),
    "htpasswd": ("apache2-utils", "httpd-tools"),
    "initdb": ("postgresql", "postgresql-server"),
    "java": ("default-jdk-headless", "java-17-openjdk-headless"),
    "javac": ("default-jdk-headless", "java-17-openjdk-devel"),
    "keytool": ("default-jre-headless", "java-17-openjdk-headless"),
    "modifyrepo_c": ("createrepo-c", "createrepo_c"),
    "mvn": ("maven", "maven"),
    "nginx": ("nginx", "nginx"),
    "openssl": ("openssl", "openssl"),
    "podman": ("podman runc", "podman runc"),
    "postgres": ("postgresql", "postgresql-server"),
    "promtool": ("prometheus", "golang-github-prometheus"),
    "rpm": ("rpm", "rpm"),
    "rpmbuild": ("rpm", "rpm-build"),
    "rpmkeys": ("rpm", "rpm"),
    "rpmsign": ("rpm", "rpm-sign"),
    "rsync": ("rsync", "rsync"),
    "setpriv": ("util-linux", "util-linux"),
    "skopeo": ("skopeo", "skopeo"),
    "sqliterepo_c": ("createrepo-c", "createrepo_c"),
    "wget": ("wget", "wget"),
}


ALSO_CALLED = {"docker-registry": "registry"}
"""What Fedora and RHEL call a program that Debian calls otherwise."""


def _search_path() -> str:
    # Debian keeps PostgreSQL's server programs out of PATH, one folder per major
    # version, and daemons live in sbin, which a user's PATH often lacks.
    versions = sorted(
        Path("/usr/lib/postgresql").glob("[0-9]*/bin"),
        key=lambda folder: int(folder.parent.name),
        reverse=True,
    )
    folders = [str(folder) for folder in versions]
    # A virtual environment that somebody works in has programs of other versions.
    given = [path for path in os.get_exec_path() if not Path(path, "../pyvenv.cfg").exists()]
    return os.pathsep.join([*folders, *given, "/usr/sbin", "/sbin"])


def need(program: str) -> str:
    """The path of ``program``; fails the running test if it is not installed."""
    found = shutil.which(program, path=_search_path())
    if found is None and program in ALSO_CALLED:
        found = shutil.which(ALSO_CALLED[program], path=_search_path())
    if found is None:
        debian, rhel = PACKAGES.get(program, (program, program))
        pytest.fail(
            f"this test needs {program!r}: install {debian} (Debian) or {rhel} (RHEL)",
            pytrace=False,
        )
    return found


def clean_env(home: Path, **extra: str) -> dict[str, str]:
    """An environment without proxies, locale or the user's own configuration."""
    env = {"PATH": _search_path(), "HOME": str(home), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return env | extra


def run(
    command: Sequence[str | Path],
    *,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end (``timeout`` in seconds); raises AssertionError with all output if it fails.

    ``check=False`` returns a failed process instead.
    """
    words = [str(word) for word in command]
    raw = subprocess.run(
        words,
        env=env,
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        check=False,
        input=stdin if stdin is not None else b"",
    )
    done = subprocess.CompletedProcess(
        words,
        raw.returncode,
        raw.stdout.decode("utf-8", "replace"),
        raw.stderr.decode("utf-8", "replace"),
    )
    if check and done.returncode != 0:
        raise AssertionError(describe(done))
    return done


def describe(done: subprocess.CompletedProcess[str]) -> str:
    """A failed program in words: command, exit code, both outputs."""
    return (
        f"exit {done.returncode}: {' '.join(done.args)}\n"
        f"--- stdout\n{done.stdout[-6000:]}\n--- stderr\n{done.stderr[-6000:]}"
    )


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    as_user: str | None = None,
    death_signal: str = "TERM",
) -> subprocess.Popen[bytes]:
    """Start a daemon in the foreground, its output in ``log``.

    The kernel sends it ``death_signal`` when the test process dies, so that a
    killed test run leaves nothing behind. The returned pid is the daemon's own.
    """
    words: list[str] = [need("setpriv"), "--pdeathsig", death_signal]
    if as_user is not None:
        words += [f"--reuid={as_user}", f"--regid={as_user}", "--init-groups"]
    words += ["--", *(str(word) for word in command)]
    with log.open("ab") as out:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd="/"
        )


def stop(process: subprocess.Popen[bytes], *, by: signal.Signals = signal.SIGTERM) -> None:
    """End a process that ``spawn`` started; kills it after a minute."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(by)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(
    port: int,
    process: subprocess.Popen[bytes] | None = None,
    *,
    log: Path | None = None,
    seconds: float = 60,
) -> None:
    """Return once 127.0.0.1:``port`` accepts; AssertionError if not, or ``process`` ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    text = log.read_text("utf-8", "replace")[-4000:] if log is not None and log.exists() else ""
    state = "still runs" if process is None or process.poll() is None else "ended"
    raise AssertionError(f"nothing listens on 127.0.0.1:{port}; the server {state}\n{text}")
