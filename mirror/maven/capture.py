"""Running a build with Sluice as its only repository, and keeping such a repository up."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from manifests import errors
from manifests.zone import model as zone
from mirror.maven.clients import Workplace
from mirror.maven.machine import settled
from mirror.maven.proxy import Proxy
from mirror.maven.pull import Pull, Tally
from mirror.rsync import read_secret
from store.store import Store


@contextmanager
def capturing(
    store: Store, repository: zone.Repository, *, actor: str = "", listen: tuple[str, int] | None
) -> Iterator[tuple[Proxy, Pull]]:
    """A proxy that makes roots of what it is asked for.

    ``listen`` None: a free loopback port, for one build, without a login.

    Raises ConfigError for a repository that cannot be captured, StoreBusy.
    """
    if repository.format != "maven":
        raise errors.ConfigError(
            f"a repository of format {repository.format} cannot be captured",
            where=repository.name,
            remedy="capture works for `format: maven`",
        )
    if repository.upstream.transport != "http":
        raise errors.ConfigError(
            "only an upstream that is asked over http or https can be captured",
            where=repository.name,
            remedy="write another `upstream`",
        )
    host, port = listen or ("127.0.0.1", 0)
    login = repository.maven.login if listen else None
    allowed = None if login is None else (login.username, read_secret(login.password_file))
    with (
        Pull.opened(store, settled(repository), actor=actor) as pull,
        Proxy(store, repository.name, pull, allowed).serving(host, port) as proxy,
    ):
        yield proxy, pull


def capture(
    store: Store, repository: zone.Repository, command: Sequence[str], *, actor: str = ""
) -> tuple[int, Tally]:
    """Run ``command`` with an empty local repository; its exit code, and what it asked for.

    Roots stay whether the build ends well or not. Raises UsageError when the command cannot
    be started, and as ``capturing``.
    """
    with (
        capturing(store, repository, actor=actor, listen=None) as (proxy, pull),
        workplace(proxy.url) as place,
    ):
        try:
            process = subprocess.Popen(place.command(command), env=place.environment())
        except OSError as error:
            raise errors.UsageError(
                f"cannot be run: {error.strerror}",
                where=command[0],
                remedy="write the build's command after `--`",
            ) from error
        code = _ended(process)
        tally = pull.tally
        with store.ledger.write(actor) as tx:
            tx.event(
                "capture.done",
                repository=repository.name,
                command=" ".join(command)[:500],
                code=code,
                roots=tally.roots,
                fetched=tally.fetched,
                bytes=tally.bytes,
                failed=len(tally.failures),
            )
    return code, tally


def keep_up(
    store: Store,
    repository: zone.Repository,
    *,
    actor: str = "",
    announce: Callable[[str], None] = lambda url: None,
    stop: threading.Event | None = None,
) -> Tally:
    """Serve ``capture: {listen: ...}`` until ``stop``, or for ever. Raises as ``capturing``."""
    if repository.maven.listen is None:
        raise errors.ConfigError(
            "nothing says where the capturing proxy listens",
            where=repository.name,
            remedy='write `capture: {listen: "127.0.0.1:8082"}`, or give a command after `--`',
        )
    listen = repository.maven.listen
    with capturing(store, repository, actor=actor, listen=listen) as (proxy, pull):
        announce(proxy.url)
        (stop or threading.Event()).wait()
        return pull.tally


@contextmanager
def workplace(url: str) -> Iterator[Workplace]:
    """A folder for one build, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-capture-"))
    try:
        place = Workplace(folder, url)
        place.lay_out()
        yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait. An interrupt reaches the build as well, which may have something to tidy up."""
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return code if code >= 0 else 128 - code
