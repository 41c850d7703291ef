"""Any number of zones, driven as an operator drives them, and a carrier that misbehaves.

Commands run in this process, which is several times faster than a new one for each;
``run`` and ``start`` make them programs of their own where that matters. For one outside,
one inside and a real client, see ``tests.support.zones``.
"""

from __future__ import annotations

import http.client
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from manifests.digest import Digest
from manifests.state import StateRow, StateTable
from sluice.cli import main
from sluice.context import Context
from store.store import Store
from tests.support import tools

ROOT = Path(__file__).resolve().parents[2]
STREAM = "hq"
_SECONDS = itertools.count(1_700_000_000)


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return (
            f"sluice {' '.join(self.words)}\nexit {self.code}"
            f"\n--- stdout\n{self.out}\n--- stderr\n{self.err}"
        )


class Upstream:
    """A folder that an outside mirrors by ``file://``."""

    def __init__(self, folder: Path, files: Mapping[str, bytes] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.write(files or {})

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def write(self, files: Mapping[str, bytes]) -> None:
        second = next(_SECONDS)
        for path, data in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            # Replaced, as mirrors do, and in a second of its own: other bytes of the same
            # size and second are what no tool can see without reading everything.
            new = target.with_name(f".{target.name}.new")
            new.write_bytes(data)
            os.utime(new, (second, second))
            new.replace(target)

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.folder / path).unlink()

    def files(self) -> dict[str, bytes]:
        return read_folder(self.folder)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Path and bytes of all files below ``folder``."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass
class Zone:
    """A zone's folder and what an operator does with it.

    ``ahead`` is how far the zone's clock goes wrong; only commands in this process see it.
    """

    folder: Path
    ahead: timedelta = timedelta(0)
    common: dict[str, Any] = field(default_factory=dict)
    """Keys of zone.yaml's top level."""

    def sluice(self, *words: object, expect: int | None = 0) -> Done:
        """Run a command on this zone; ``expect`` is the exit code it must have."""
        return sluice("-z", self.folder, *words, expect=expect, ahead=self.ahead)

    def command(self, *words: object) -> list[str]:
        """The same as words for a new process."""
        return command("-z", self.folder, *words)

    def run(self, *words: object, expect: int | None = 0) -> Done:
        """Run a command in a process of its own."""
        return program("-z", self.folder, *words, expect=expect)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start a command in a process of its own; the caller ends it."""
        return subprocess.Popen(
            self.command(*words),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heed_interrupts,
        )

    def status(self) -> dict[str, Any]:
        """``status --json``."""
        found = json.loads(self.sluice("status", "--json", expect=None).out)
        assert isinstance(found, dict)
        return found

    def holds(self) -> dict[str, dict[str, Any]]:
        """What is held now: by repository, or by kind where it is of no repository."""
        return {hold["repository"] or hold["kind"]: hold for hold in self.status()["holds"]}

    def events(self, kind: str) -> list[dict[str, Any]]:
        """All events of a kind, oldest first."""
        lines = self.sluice("events", "--json", "--last", 0).out.splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]

    def write_yaml(self, settings: Mapping[str, Any]) -> None:
        (self.folder / "zone.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False))

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The zone's store, for reading."""
        store = Store.open_read_only(self.folder, self.common.get("ledger"))
        try:
            yield store
        finally:
            store.close()


@dataclass
class Outside(Zone):
    """An outside zone with any number of repositories; it packs for one stream."""

    stream: str = STREAM
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    """Of the stream."""
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further streams of zone.yaml."""
    taken: int = 0

    @classmethod
    def make(
        cls,
        folder: Path,
        upstreams: Mapping[str, Upstream] | None = None,
        *init: object,
        stream: str = STREAM,
        **options: Any,
    ) -> Outside:
        """``sluice init outside``; ``upstreams`` become repositories of format files."""
        sluice("init", "outside", folder, "--stream", stream, *init)
        zone = cls(folder, stream=stream, options=options)
        for name, upstream in (upstreams or {}).items():
            zone.repositories[name] = {"format": "files", "upstream": upstream.url}
        zone.configure()
        return zone

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox"

    def configure(self) -> None:
        """Write zone.yaml again from what is set here."""
        stream = {"carrier": "file", "outbox": "outbox", **self.options}
        self.write_yaml(
            {
                "zone": "outside",
                "repositories": self.repositories,
                "streams": {self.stream: stream, **self.streams},
                **self.common,
            }
        )

    def export(self) -> Path:
        """The root of trust as a file."""
        file = self.folder.parent / f"{self.folder.name}-root.json"
        self.sluice("trust", "export", file)
        return file

    def inside(self, folder: Path, **options: Any) -> Inside:
        """``sluice init inside`` with this zone's root."""
        sluice("init", "inside", folder, "--root", self.export(), "--stream", self.stream)
        zone = Inside(folder, stream=self.stream, options=options)
        zone.configure()
        return zone

    def cycle(self, *, full: bool = False) -> list[Path]:
        """Sync, pack, send; what the carrier takes away (nothing if nothing changed)."""
        self.sluice("sync")
        return self.bundle(full=full)

    def bundle(self, *, full: bool = False) -> list[Path]:
        """Pack and send; what the carrier takes away."""
        self.sluice("pack", *(["--full"] if full else []))
        self.sluice("send")
        return self.take()

    def take(self) -> list[Path]:
        """Move everything out of the outbox, as a CDS does; part 1 first."""
        self.taken += 1
        place = self.folder.parent / f"{self.folder.name}-carried" / f"{self.taken:04}"
        place.mkdir(parents=True)
        return [
            Path(shutil.move(path, place / path.name)) for path in sorted(self.outbox.iterdir())
        ]

    def digest(self) -> Digest:
        """State digest of the newest snapshots."""
        with self.store() as store, store.ledger.read() as tx:
            rows = [tx.newest_snapshot("", name) for name in self.repositories]
        return StateTable.of(
            StateRow(s.repository, s.format, s.serial, s.tree, s.tree_size)
            for s in (row.snapshot for row in rows if row is not None)
        ).digest


@dataclass
class Inside(Zone):
    """An inside zone with one stream."""

    stream: str = STREAM
    options: dict[str, Any] = field(default_factory=dict)
    """Of the stream."""
    require: dict[str, Any] = field(default_factory=dict)
    serve: dict[str, Any] = field(default_factory=dict)
    brought: int = 0

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    def configure(self) -> None:
        """Write zone.yaml again from what is set here."""
        stream = {
            "carrier": "file",
            "inbox": "inbox",
            "root": "trust/root.json",
            "settle": "0s",
            **self.options,
        }
        settings: dict[str, Any] = {"zone": "inside", "streams": {self.stream: stream}}
        settings |= {"require": self.require} if self.require else {}
        settings |= {"serve": self.serve} if self.serve else {}
        self.write_yaml(settings | self.common)

    def bring(self, files: Iterable[Path], *, rename: random.Random | None = None) -> list[Path]:
        """Copy files into the inbox; ``rename`` gives them names that say nothing.

        Leave files out to lose them, bring them later to delay them, twice (renamed)
        to duplicate them. A name that lies there already gets another.
        """
        put = []
        for file in files:
            self.brought += 1
            name = file.name
            if rename is not None:
                name = f"{rename.getrandbits(48):012x}.dat"
            elif (self.inbox / name).exists():
                name = f"{file.stem}({self.brought}){file.suffix}"
            # A guard writes under a temporary name; ours are whole when they appear.
            hidden = self.inbox / f".{name}"
            shutil.copyfile(file, hidden)
            put.append(hidden.rename(self.inbox / name))
        return put

    def receive(self, *files: Path, expect: int | None = 0) -> Done:
        """Bring files, then ``receive --once``."""
        self.bring(files)
        return self.sluice("receive", "--once", expect=expect)

    def waiting(self) -> list[str]:
        """Names in the inbox."""
        return sorted(path.name for path in self.inbox.iterdir())

    def quarantined(self) -> dict[str, str]:
        """Name and reason of each refused file."""
        folder = self.folder / "quarantine" / self.stream
        ending = ".reason.txt"
        return {
            path.name.removesuffix(ending): path.read_text()
            for path in sorted(folder.glob(f"*{ending}"))
        }

    def live(self) -> dict[str, tuple[int, Digest]]:
        """Serial and tree of all publications."""
        with self.store() as store, store.ledger.read() as tx:
            return {live.repository: (live.serial, live.tree) for live in tx.publications()}

    def content(self, name: str) -> dict[str, bytes] | None:
        """Path and bytes of all that is published under ``name``; each must be there."""
        with self.store() as store:
            with store.ledger.read() as tx:
                live = tx.publication(name)
            if live is None:
                return None
            view = store.view(live.tree, live.overlay)
            found = {}
            for entry in view.entries():
                with view.open(entry.path) as body:
                    found[entry.path] = body.read()
                assert len(found[entry.path]) == entry.size
            return found

    def digest(self) -> Digest:
        """State digest of what is published."""
        with self.store() as store, store.ledger.read() as tx:
            rows = []
            for live in tx.publications():
                stored = tx.snapshot(live.stream, live.source_repository, live.serial)
                assert stored is not None
                rows.append(
                    StateRow(
                        live.source_repository,
                        live.format,
                        live.serial,
                        live.tree,
                        stored.snapshot.tree_size,
                    )
                )
        return StateTable.of(rows).digest

    @contextmanager
    def server(self, *words: object) -> Iterator[Server]:
        """``sluice serve`` on a free port, in a process of its own."""
        port = tools.free_port()
        log = self.folder.parent / f"{self.folder.name}-serve.log"
        process = tools.spawn(
            self.command("serve", "--listen", f"127.0.0.1:{port}", *words),
            log=log,
            env=environment(),
        )
        try:
            tools.wait_for_port(port, process, log=log)
            yield Server(port)
        finally:
            tools.stop(process)


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Server:
    """A client of one server on loopback."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, path: str, wanted: bytes, seconds: float = 60) -> bytes:
        """The body of ``path`` as soon as it holds ``wanted``: servers follow the ledger."""
        until = time.monotonic() + seconds
        while wanted not in (body := self.get(path).body):
            assert time.monotonic() < until, f"{path} never said {wanted!r}:\n{body!r}"
            time.sleep(0.02)
        return body

    def get(self, path: str, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()


def pair(folder: Path, upstreams: Mapping[str, Upstream], **options: Any) -> tuple[Outside, Inside]:
    """An outside over ``upstreams`` and an inside that trusts it; ``options`` of the stream."""
    outside = Outside.make(folder / "OUT", upstreams, **options)
    return outside, outside.inside(folder / "IN")


def _heed_interrupts() -> None:
    """A test run in the background ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment() -> dict[str, str]:
    """For programs of their own: they find the packages, and no user's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}


def command(*words: object) -> list[str]:
    """The real command line as words for a new process."""
    return [sys.executable, "-m", "sluice", *map(str, words)]


def program(*words: object, expect: int | None = 0, timeout: float = 300) -> Done:
    """Run the real command line in a process of its own."""
    run = subprocess.run(
        command(*words),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return _expected(Done(tuple(map(str, words)), run.returncode, run.stdout, run.stderr), expect)


def sluice(*words: object, expect: int | None = 0, ahead: timedelta = timedelta(0)) -> Done:
    """Run the real command line in this process, its clock ``ahead`` of ours."""
    out, err = io.StringIO(), io.StringIO()

    def now() -> datetime:
        return datetime.now(UTC) + ahead

    before = signal.getsignal(signal.SIGTERM)
    with (
        mock.patch.object(Context, "now", staticmethod(now)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        finally:
            signal.signal(signal.SIGTERM, before)
    return _expected(Done(tuple(map(str, words)), code, out.getvalue(), err.getvalue()), expect)


def _expected(done: Done, expect: int | None) -> Done:
    assert expect is None or done.code == expect, f"expected exit {expect}\n{done}"
    assert "Traceback" not in done.err, str(done)
    return done


def noise(seed: int, size: int) -> bytes:
    """Bytes that nothing compresses, the same for the same seed."""
    return random.Random(seed).randbytes(size)
