"""Publications that switch, denials, rollbacks and pinned snapshots, over two workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from manifests.digest import sha256_of
from manifests.errors import ConfigError
from manifests.zone.served import Serve
from repo_server import Limits, Server, Settings
from store.gc import collect
from tests.clients.test_serving_http import get, raw
from tests.support import tools
from tests.support.served import Published, Serving, eventually

HASH_A, HASH_B = "a" * 64, "b" * 64
DAY_ONE = {
    "Packages/gone-1.rpm": b"gone",
    "Packages/kept-1.rpm": b"kept",
    f"repodata/{HASH_A}-primary.xml.gz": b"old index",
    "repodata/repomd.xml": b"old repomd",
    "repodata/repomd.xml.asc": b"old signature",
}
DAY_TWO = {
    "Packages/kept-1.rpm": b"kept",
    "Packages/new-2.rpm": b"new",
    f"repodata/{HASH_B}-primary.xml.gz": b"new index",
    "repodata/repomd.xml": b"new repomd",
    "repodata/repomd.xml.asc": b"new signature",
}
TRIES = 24
"""New connections, so that both workers are met."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    made = Published(tmp_path_factory.mktemp("switching") / "store")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(published: Published) -> Iterator[Serving]:
    with Serving(published.store.folder, workers=2) as serving:
        yield serving


@pytest.fixture
def name(published: Published, request: pytest.FixtureRequest) -> str:
    """A repository of this test alone, with ``DAY_ONE`` published."""
    own = "r" + sha256_of(request.node.name.encode())[:8]
    published.publish(own, DAY_ONE)
    return own


def settle(check: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until ``check`` holds on ``TRIES`` connections in a row."""
    until = time.monotonic() + seconds
    good = 0
    while good < TRIES:
        good = good + 1 if check() else 0
        assert good or time.monotonic() < until, "it never settled"


def body(server: Serving, path: str) -> tuple[int, bytes]:
    status, _, data = get(server, f"/yum/{path}")
    return status, data


def test_a_client_that_knows_the_new_index_finds_its_files_at_once(
    published: Published, server: Serving, name: str
) -> None:
    for turn in range(8):
        day, mark = (DAY_TWO, HASH_B) if turn % 2 == 0 else (DAY_ONE, HASH_A)
        published.publish(name, day)
        # No pause: whichever worker is asked, it looks into the ledger before it says 404.
        for _ in range(6):
            path = f"repodata/{mark}-primary.xml.gz"
            assert body(server, f"{name}/{path}") == (200, day[path])


def test_the_files_of_the_last_publication_stay_but_not_its_indexes(
    published: Published, server: Serving, name: str
) -> None:
    published.publish(name, DAY_TWO)
    settle(lambda: body(server, f"{name}/repodata/repomd.xml") == (200, b"new repomd"))
    assert body(server, f"{name}/Packages/gone-1.rpm") == (200, b"gone")
    assert body(server, f"{name}/repodata/{HASH_A}-primary.xml.gz") == (200, b"old index")
    published.publish(name, {"Packages/new-2.rpm": b"new"})
    settle(lambda: body(server, f"{name}/repodata/repomd.xml")[0] == 404)
    assert body(server, f"{name}/Packages/gone-1.rpm") == (200, b"gone")
    listing = body(server, f"{name}/Packages/")[1]
    assert b"gone-1.rpm" not in listing and b"new-2.rpm" in listing


def test_the_grace_period_ends(published: Published, name: str) -> None:
    with Serving(published.store.folder, grace=8.0) as serving:
        published.publish(name, DAY_TWO)
        assert body(serving, f"{name}/Packages/gone-1.rpm") == (200, b"gone")
        eventually(lambda: body(serving, f"{name}/Packages/gone-1.rpm")[0] == 404)
        assert body(serving, f"{name}/Packages/kept-1.rpm")[0] == 200


def test_a_signature_fits_the_index_that_the_client_has(
    published: Published, server: Serving, name: str
) -> None:
    old = (200, b"old repomd")
    settle(lambda: body(server, f"{name}/repodata/repomd.xml") == old)
    published.publish(name, DAY_TWO)
    for _ in range(TRIES):  # by other connections, and by workers that know the new one or not
        assert body(server, f"{name}/repodata/repomd.xml.asc") == (200, b"old signature")
    settle(lambda: body(server, f"{name}/repodata/repomd.xml") == (200, b"new repomd"))
    for _ in range(TRIES):
        assert body(server, f"{name}/repodata/repomd.xml.asc") == (200, b"new signature")


def test_index_and_signature_fit_while_publications_switch(
    published: Published, server: Serving, name: str
) -> None:
    for turn in range(20):
        published.publish(name, DAY_TWO if turn % 2 == 0 else DAY_ONE)
        for _ in range(5):
            index = body(server, f"{name}/repodata/repomd.xml")[1].split()[0]
            signature = body(server, f"{name}/repodata/repomd.xml.asc")[1].split()[0]
            assert index == signature


def test_a_denial_reaches_every_worker_and_every_way_to_the_bytes(
    published: Published, server: Serving, name: str
) -> None:
    digest = sha256_of(b"kept")
    tag = f'"{digest}"'
    for _ in range(TRIES):
        assert body(server, f"{name}/Packages/kept-1.rpm")[0] == 200
    published.publish(name, DAY_TWO)
    published.deny(digest, sha256_of(b"gone"))
    settle(lambda: body(server, f"{name}/Packages/kept-1.rpm")[0] == 451)
    for _ in range(TRIES):
        path = f"/yum/{name}/Packages/kept-1.rpm"
        status, _, text = get(server, path)
        assert status == 451 and b"kept" not in text.replace(digest.encode(), b"")
        assert get(server, path, If_None_Match=tag)[0] == 451
        assert get(server, path, Range="bytes=0-1")[0] == 451
        assert get(server, path, "HEAD")[0] == 451
        assert body(server, f"{name}@1/Packages/kept-1.rpm")[0] == 451
        assert body(server, f"{name}/Packages/gone-1.rpm")[0] == 451
        assert b"kept-1.rpm" not in body(server, f"{name}/Packages/")[1]
    with published.store.ledger.write() as tx:
        tx.allow(digest)
        tx.allow(sha256_of(b"gone"))
    settle(lambda: body(server, f"{name}/Packages/kept-1.rpm") == (200, b"kept"))


def test_zone_yaml_denies_too(published: Published, name: str) -> None:
    with Serving(published.store.folder, deny=[sha256_of(b"kept")]) as serving:
        assert body(serving, f"{name}/Packages/kept-1.rpm")[0] == 451
        assert body(serving, f"{name}/Packages/gone-1.rpm")[0] == 200


def test_rollback_brings_everything_back(published: Published, server: Serving, name: str) -> None:
    with published.store.ledger.read() as tx:
        first = tx.publication(name)
    assert first is not None
    published.publish(name, DAY_TWO)
    settle(lambda: body(server, f"{name}/repodata/repomd.xml") == (200, b"new repomd"))
    published.again(first)
    settle(lambda: body(server, f"{name}/repodata/repomd.xml") == (200, b"old repomd"))
    assert body(server, f"{name}/Packages/gone-1.rpm") == (200, b"gone")
    assert body(server, f"{name}/Packages/new-2.rpm") == (200, b"new")  # within the grace period
    assert b"rolled back" in get(server, "/")[2]


def test_a_pinned_snapshot_never_changes(published: Published, server: Serving, name: str) -> None:
    overlay = {"repodata/derived.xml": b"derived for 2"}
    published.publish(name, DAY_TWO, overlay=overlay)
    third = published.publish(name, {"Packages/third.rpm": b"3"})

    def all_of(serial: int, files: dict[str, bytes]) -> bool:
        return all(body(server, f"{name}@{serial}/{path}") == (200, files[path]) for path in files)

    settle(lambda: all_of(1, DAY_ONE) and all_of(2, DAY_TWO | overlay))
    published.again(third)
    published.publish(name, DAY_ONE, overlay={"repodata/derived.xml": b"other"})
    for _ in range(8):
        assert all_of(1, DAY_ONE) and all_of(2, DAY_TWO | overlay)
        assert all_of(3, {"Packages/third.rpm": b"3"})
    # Not merged with anything, and no grace period for what it does not have.
    assert body(server, f"{name}@1/Packages/new-2.rpm")[0] == 404
    assert body(server, f"{name}@1/repodata/derived.xml")[0] == 404
    assert "immutable" in get(server, f"/yum/{name}@1/repodata/repomd.xml")[1]["cache-control"]


def test_gc_takes_no_snapshot_that_can_be_asked_for(tmp_path: Path) -> None:
    published = Published(tmp_path / "store")
    overlay = {"repodata/derived.xml": b"derived for 1"}
    published.publish("base", DAY_ONE, overlay=overlay)
    published.publish("base", DAY_TWO)
    published.publish("base", {"Packages/third.rpm": b"3"})
    with published.store.ledger.write() as tx:
        tx.drop_snapshot("hq", "base", 2)
    with Serving(published.store.folder, grace=0.0) as serving:
        assert body(serving, "base@2/Packages/new-2.rpm")[0] == 404
        collect(published.store, grace=timedelta(seconds=-5))
        for path, data in (DAY_ONE | overlay).items():
            assert body(serving, f"base@1/{path}") == (200, data)
        assert body(serving, "base@2/Packages/new-2.rpm")[0] == 404
    published.close()


def test_a_new_repository_and_a_withdrawn_one(published: Published, server: Serving) -> None:
    published.publish("extras", DAY_TWO)
    assert body(server, "extras/repodata/repomd.xml") == (200, b"new repomd")
    with published.store.ledger.write() as tx:
        tx.withdraw("extras")
    settle(lambda: body(server, "extras/repodata/repomd.xml")[0] == 404)
    assert body(server, "extras/Packages/new-2.rpm")[0] == 404


def test_an_answer_in_flight_is_finished_from_its_own_publication(
    published: Published, server: Serving
) -> None:
    big = os.urandom(24 << 20)
    published.publish("big", {"disk.iso": big}, format="files")
    with socket.create_connection(server.address, timeout=60) as line:
        line.sendall(b"GET /files/big/disk.iso HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = line.recv(1 << 16)
        published.publish("big", {"disk.iso": b"other"}, format="files")
        settle(lambda: get(server, "/files/big/disk.iso")[2] == b"other")
        while block := line.recv(1 << 20):
            got += block
    assert got.partition(b"\r\n\r\n")[2] == big


def test_a_damaged_blob_is_an_error_and_not_an_answer(published: Published, name: str) -> None:
    published.publish(name, {"a.rpm": b"right", "b.rpm": b"x" * 100_000})
    for data, wrong in ((b"right", b"wrong"), (b"x" * 100_000, b"short")):
        place = published.store.blobs.path(sha256_of(data))
        place.chmod(0o644)
        place.write_bytes(wrong)
    with Serving(published.store.folder) as serving:
        assert body(serving, f"{name}/a.rpm")[0] == 500
        assert body(serving, f"{name}/b.rpm")[0] == 500
        assert get(serving, "/healthz")[0] == 200


def test_a_dead_worker_is_replaced(published: Published, server: Serving, name: str) -> None:
    victim = server.server.pids[0]
    os.kill(victim, signal.SIGKILL)
    until = time.monotonic() + 60
    while victim in server.server.pids or len(server.server.pids) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    # Its socket was kept: whoever connected meanwhile waits, and is answered.
    for _ in range(TRIES):
        assert body(server, f"{name}/repodata/repomd.xml")[0] == 200


PROGRAM = """
import sys
from pathlib import Path
from manifests.zone.served import Serve
from repo_server import Settings, serve
from repo_server.settings import Limits
limits = Limits(drain=60.0)
serve(Settings(store=Path(sys.argv[1]), serve=Serve(port=0, workers=2), limits=limits))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_and_finishes_what_it_began(
    published: Published, number: signal.Signals, tmp_path: Path
) -> None:
    big = os.urandom(16 << 20)
    published.publish("big", {"disk.iso": big}, format="files")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(published.store.folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("serving http://127.0.0.1:")
        address = ("127.0.0.1", int(said.rsplit(":", 1)[1]))
        with (
            socket.create_connection(address, timeout=60) as busy,
            socket.create_connection(address, timeout=60) as idle,
        ):
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"ok" in idle.recv(4096)
            busy.sendall(b"GET /files/big/disk.iso HTTP/1.1\r\nHost: a\r\n\r\n")
            got = busy.recv(1 << 16)
            process.send_signal(number)
            assert idle.recv(4096) == b""
            time.sleep(0.5)
            while block := busy.recv(1 << 20):
                got += block
            assert got.partition(b"\r\n\r\n")[2] == big
        assert process.wait(60) == 0
        with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
            socket.create_connection(address, timeout=5)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        tools.stop(process)  # type: ignore[arg-type]


def test_a_stuck_client_does_not_keep_it_from_stopping(published: Published) -> None:
    published.publish("big", {"disk.iso": os.urandom(24 << 20)}, format="files")
    serving = Serving(published.store.folder, limits=Limits(drain=1.0))
    serving.start()
    with socket.create_connection(serving.address, timeout=60) as stuck:
        stuck.sendall(b"GET /files/big/disk.iso HTTP/1.1\r\nHost: a\r\n\r\n")
        stuck.recv(10)
        began = time.monotonic()
        serving.stop()
        assert time.monotonic() - began < 30


def test_workers_end_when_the_parent_is_killed(published: Published) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(published.store.folder)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    address = ("127.0.0.1", int(process.stdout.readline().rsplit(":", 1)[1]))
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(address, timeout=5).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return  # a reset comes from a socket that closes just as we knock
        time.sleep(0.1)
    raise AssertionError("the workers outlived their parent")


def test_an_address_is_never_shared_unnoticed(published: Published, server: Serving) -> None:
    serve = Serve(port=server.address[1])
    other = Server(Settings(store=published.store.folder, serve=serve))
    with pytest.raises(ConfigError, match="cannot listen"):
        other.run()


def test_a_store_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="there is no store here"):
        Server(Settings(store=tmp_path / "none", serve=Serve(port=0))).run()


def test_the_ledger_may_be_postgresql(tmp_path: Path, postgres_url: str) -> None:
    published = Published(tmp_path / "store", postgres_url)
    name = "base"
    published.publish(name, DAY_ONE)
    with Serving(published.store.folder, ledger_url=postgres_url, workers=2) as serving:
        assert body(serving, f"{name}/repodata/repomd.xml") == (200, b"old repomd")
        published.publish(name, DAY_TWO)
        assert body(serving, f"{name}/Packages/new-2.rpm") == (200, b"new")
        settle(lambda: body(serving, f"{name}/repodata/repomd.xml") == (200, b"new repomd"))
        assert body(serving, f"{name}@1/repodata/repomd.xml") == (200, b"old repomd")
    published.close()


def test_a_request_after_many_others_still_waits_its_turn(server: Serving, name: str) -> None:
    one = f"GET /yum/{name}/repodata/repomd.xml HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    assert raw(server, one * 500).count(b"old repomd") == 500
