"""A stop that comes at a bad moment ends the work all the same, and nothing false is said."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cds.base import Arrival
from cds.tcp import TcpOutlet
from manifests.errors import WireError
from manifests.zone import Serve, TcpSending
from repo_server import Settings, serve
from sluice import stopping
from sluice.errors import report
from store.blobs import LocalBlobs
from store.seam import Seam
from tests.support.drive import environment
from tests.support.interrupts import stop_everywhere
from tests.support.tcp import listener


def test_a_stop_while_an_arrival_is_opened_is_no_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"x" * 100)
    found = path.stat()
    arrival = Arrival(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def look() -> None:
        with arrival.open() as file:
            file.read(10)

    assert stop_everywhere(look) > 5


def test_a_stop_while_a_blob_is_begun_leaves_nothing(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs", Seam())

    def write() -> None:
        with blobs.batch() as batch:
            writer = batch.writer()
            writer.write(b"x")
            raise ValueError  # ends the batch as an error does, without fsyncs

    def begun() -> None:
        with suppress(ValueError):
            write()

    names = ("LocalBatch.writer", "LocalWriter.__init__", "LocalBatch.create_temporary")

    def no_leftovers() -> None:
        assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []

    assert stop_everywhere(begun, no_leftovers, lambda code: code.co_qualname in names) > 5


def test_a_stop_while_a_part_is_handed_over_closes_it_once(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"x" * 100)
    names = ("TcpOutlet.offer", "TcpOutlet._deliver", "TcpOutlet._forget")
    with listener(tmp_path / "in") as listening:
        settings = TcpSending(host="127.0.0.1", port=listening.address[1], repeat=0)

        def send() -> None:
            outlet = TcpOutlet(settings)
            try:
                outlet.offer("one.tar", part)
            finally:
                outlet.close()

        assert stop_everywhere(send, within=lambda code: code.co_qualname in names) > 10


@pytest.fixture
def heeding() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stopping.heed()
    try:
        yield
    finally:
        stopping.heed()  # forget what came
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("by", "kind"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
@pytest.mark.usefixtures("heeding")
def test_a_stop_that_was_swallowed_comes_again_instead_of_an_error(
    by: signal.Signals, kind: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    report(WireError("before"))
    with suppress(kind):
        signal.raise_signal(by)
    with pytest.raises(kind):
        report(WireError("of the stop"))
    said = capsys.readouterr().err
    assert "before" in said
    assert "of the stop" not in said


@pytest.mark.usefixtures("heeding")
def test_a_second_stop_does_not_disturb_what_the_first_one_unwinds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "_PATIENCE", 600.0)
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(SystemExit):
        stopping.check()


def test_a_later_one_ends_a_clean_up_that_hangs() -> None:
    hangs = """
import signal, threading
from sluice import stopping
stopping._PATIENCE = 0.0
stopping.heed()
try:
    signal.raise_signal(signal.SIGTERM)
finally:
    signal.raise_signal(signal.SIGINT)
    threading.Event().wait()
"""
    assert _python(hangs) == (130, "", "")


def test_a_stop_that_python_drops_comes_again_without_a_word() -> None:
    drops = """
import signal, threading
from sluice import stopping
class Dropping:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
stopping.heed()
Dropping()
threading.Event().wait()
"""
    assert _python(drops) == (143, "", "")


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_last_moment_ends_the_program_without_a_traceback(
    by: signal.Signals,
) -> None:
    late = f"""
import atexit, signal, sys
from sluice.cli import main
atexit.register(signal.raise_signal, {by.value})
sys.argv = ["sluice", "--version"]
sys.exit(main())
"""
    code, out, err = _python(late)
    assert (code, err) == (-by, "")
    assert out.startswith("sluice ")


def test_ctrl_c_while_the_libraries_load_ends_the_program_without_a_traceback() -> None:
    early = """
import signal, sys
class Loading:
    def find_spec(self, name, path, target=None):
        if name == "sluice.cli":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Loading())
from sluice.__main__ import main
sys.exit(main())
"""
    assert _python(early) == (-signal.SIGINT, "", "")


def test_a_stop_that_was_lost_before_the_server_listens_to_signals_ends_it() -> None:
    def check() -> None:
        assert signal.getsignal(signal.SIGTERM) is not before
        raise SystemExit(143)

    before = signal.getsignal(signal.SIGTERM)
    settings = Settings(store=Path("nowhere"), ledger_url="", serve=Serve())
    with pytest.raises(SystemExit):
        serve(settings, check=check)
    assert signal.getsignal(signal.SIGTERM) is before


def _python(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment() | {"PYTHONUNBUFFERED": ""},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr
