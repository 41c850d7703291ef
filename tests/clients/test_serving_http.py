"""The real server as HTTP clients see it: curl, and sockets for what no good client sends."""

from __future__ import annotations

import http.client
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.digest import sha256_of
from repo_server import Limits
from tests.support import tools
from tests.support.served import Published, Serving, eventually

BIG = os.urandom(3 << 20)
HOSTILE_NAME = "<script>alert(1)</script>&\"'.txt"
FILES = {
    ".sluice/facts.json": b"{}",
    ".sluicer/open": b"not private",
    "Packages/libodd+c++-1.0~rc1^git5.rpm": b"odd",
    "Packages/100%.txt": b"percent",
    "Packages/big.iso": BIG,
    "Packages/é/ü.txt": b"letters",
    f"bad/{HOSTILE_NAME}": b"page",
    "bad/page.html": b"<script>1</script>",
    "empty": b"",
    "repodata/repomd.xml": b"<repomd/>",
}
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    made = Published(tmp_path_factory.mktemp("serving") / "store")
    made.publish("base", FILES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(published: Published) -> Iterator[Serving]:
    with Serving(published.store.folder, workers=2) as serving:
        yield serving


def get(server: Serving, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request by its own connection."""
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


def raw(server: Serving, data: bytes, seconds: float = 60.0) -> bytes:
    """Send bytes; all that comes back until the server closes."""
    with socket.create_connection(server.address, timeout=seconds) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        got = b""
        while block := line.recv(1 << 16):
            got += block
        return got


def curl(server: Serving, *words: str | Path) -> str:
    *options, path = words
    return tools.run(
        [tools.need("curl"), "-sS", "--path-as-is", *options, f"{server.url}{path}"]
    ).stdout


def test_a_file_with_everything_that_caches_need(server: Serving) -> None:
    status, headers, body = get(server, "/yum/base/Packages/big.iso")
    assert (status, body) == (200, BIG)
    assert headers["etag"] == f'"{sha256_of(BIG)}"'
    assert headers["content-type"] == "application/x-iso9660-image"
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"
    assert "last-modified" in headers or headers["cache-control"] == "no-cache"
    assert "date" in headers
    assert get(server, "/yum/base/Packages/big.iso", If_None_Match=headers["etag"])[0] == 304


def test_packages_may_be_cached_and_indexes_may_not(server: Serving) -> None:
    package = get(server, "/yum/base/Packages/libodd+c++-1.0~rc1^git5.rpm")[1]
    index = get(server, "/yum/base/repodata/repomd.xml")[1]
    assert "immutable" in package["cache-control"]
    assert index["cache-control"] == "no-cache"


def test_curl_asks_for_heads_and_ranges(server: Serving, tmp_path: Path) -> None:
    head = curl(server, "-I", "/yum/base/Packages/big.iso")
    assert head.startswith("HTTP/1.1 200") and f"Content-Length: {len(BIG)}" in head
    target = tmp_path / "big"
    target.write_bytes(BIG[: 1 << 20])
    curl(server, "-C", "-", "-o", target, "/yum/base/Packages/big.iso")
    assert target.read_bytes() == BIG
    curl(server, "-r", "-5", "-o", target, "/yum/base/Packages/big.iso")
    assert target.read_bytes() == BIG[-5:]
    two = curl(server, "-r", "0-1,4-5", "-o", target, "-w", "%{http_code}", "/yum/base/empty")
    assert two == "200"
    past = curl(server, "-r", "0-", "-o", target, "-w", "%{http_code}", "/yum/base/empty")
    assert past == "416"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("libodd+c++-1.0~rc1^git5.rpm", "libodd+c++-1.0~rc1^git5.rpm"),
        ("libodd%2Bc%2b%2B-1.0%7Erc1%5Egit5.rpm", "libodd+c++-1.0~rc1^git5.rpm"),
        ("100%25.txt", "100%.txt"),
        ("%C3%A9/%c3%bc.txt", "é/ü.txt"),
        ("%C3%A9%2F%c3%bc.txt", "é/ü.txt"),
        ("100%25.txt?a=b&c", "100%.txt"),
    ],
)
def test_names_that_urls_trip_over(server: Serving, url: str, path: str) -> None:
    status, _, body = get(server, f"/yum/base/Packages/{url}")
    assert (status, body) == (200, FILES[f"Packages/{path}"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/yum/base/../base/empty", 400),
        ("/yum/base/%2e%2e/base/empty", 400),
        ("/yum/base/..%2f..%2f..%2fetc/passwd", 400),
        ("/yum/base/./empty", 400),
        ("/yum/base/empty%00", 400),
        ("/yum/base/%ff", 400),
        ("/yum/base/%zz", 400),
        ("/yum/base/a%0d%0aX: y", 400),
        ("/yum/base//empty", 404),
        ("//yum/base/empty", 404),
        ("/yum/base/%2Fetc/passwd", 404),
        ("/yum/base/empty/", 404),
        ("/yum/base/empty/x", 404),
        ("/yum/base/100%25.txt", 404),
        ("/yum/base/.sluice/facts.json", 404),
        ("/yum/base/.sluice/", 404),
        ("/yum/base/.sluice", 404),
        ("/yum/base/%2Esluice/facts.json", 404),
        ("/yum/base/%252Esluice/facts.json", 404),
        ("/yum/base/Packages%5C..%5Cempty", 404),
        ("/files/base/empty", 404),
        ("/yum/other/empty", 404),
        ("/yum/base@0/empty", 404),
        ("/yum/base@99/empty", 404),
        ("/yum/base@1x/empty", 404),
        ("/yum/base@/empty", 404),
        ("/yum/base@99999999999999999999999/empty", 404),
        ("/setup/../yum/base/empty", 400),
        ("/setup/other.repo", 404),
        ("/setup/keys/base.asc", 404),
        ("/nothing", 404),
    ],
)
def test_no_way_out_of_the_tree(server: Serving, path: str, status: int) -> None:
    answer = curl(server, "-o", "/dev/null", "-w", "%{http_code}", path.replace(" ", "%20"))
    assert answer == str(status)


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_any_bytes_get_an_answer_or_an_end(server: Serving, data: bytes) -> None:
    got = raw(server, b"GET /" + data + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert got == b"" or got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200"))


def test_folders(server: Serving) -> None:
    status, headers, body = get(server, "/yum/base/")
    assert status == 200 and b".sluice/" not in body and b".sluicer/" in body
    page = get(server, "/yum/base/bad/")[2].decode()
    assert "<script>" not in page and "&lt;script&gt;" in page
    status, headers, _ = get(server, "/yum/base/Packages/%C3%A9")
    assert (status, headers["location"]) == (301, "/yum/base/Packages/%C3%A9/")
    for path in ("/yum", "/yum/base", "/setup", "/yum/base@1"):
        status, headers, _ = get(server, path)
        assert (status, headers["location"]) == (301, path + "/")


def test_foreign_pages_run_no_scripts(server: Serving) -> None:
    headers = get(server, "/yum/base/bad/page.html")[1]
    assert headers["content-security-policy"].startswith("sandbox")


def test_pages_of_the_server(server: Serving) -> None:
    assert get(server, "/healthz")[2] == b"ok\n"
    home = get(server, "/")[2].decode()
    assert '<a href="/yum/base/">base</a>' in home and "/setup/base.repo" in home
    assert "base.repo" in get(server, "/setup/")[2].decode()
    assert '<a href="base/">' in get(server, "/yum/")[2].decode()
    head = get(server, "/", "HEAD")
    assert head[2] == b"" and int(head[1]["content-length"]) == len(home.encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_reading(server: Serving, method: str) -> None:
    status, headers, _ = get(server, "/yum/base/empty", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_requests_in_a_row_are_answered_in_order(server: Serving) -> None:
    paths = ["empty", "Packages/big.iso", "repodata/repomd.xml", "nothing", "repodata/repomd.xml"]
    data = b"".join(f"GET /yum/base/{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in paths)
    got = raw(server, data)
    heads = [line for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1")]
    assert [line[9:12] for line in heads[:1]] == [b"200"]
    assert got.count(b"<repomd/>") == 2 and BIG in got and b"404" in got
    assert got.endswith(b"<repomd/>")


def test_a_body_is_not_taken_for_a_request(server: Serving) -> None:
    body = b"GET /yum/base/empty HTTP/1.1\r\nHost: a\r\n\r\n"
    got = raw(
        server,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
    )
    assert got.count(b"HTTP/1.1") == 1 and got.startswith(b"HTTP/1.1 405")


def test_http_1_0_gets_no_chunks(server: Serving) -> None:
    got = raw(server, b"GET /yum/base/ HTTP/1.0\r\n\r\n")
    assert b"chunked" not in got and b"Connection: close" in got and got.endswith(b"</html>\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(500)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(server: Serving, data: bytes) -> None:
    got = raw(server, data)
    assert got.startswith(b"HTTP/1.1 400") and b"Connection: close" in got


def test_slow_and_idle_clients_are_let_go(published: Published) -> None:
    limits = Limits(idle=1.0, stall=1.0)
    with Serving(published.store.folder, limits=limits) as serving:
        with socket.create_connection(serving.address, timeout=60) as line:
            line.sendall(b"GET /yum/base/empty HTTP/1.1\r\nHost: a")
            assert line.recv(100) == b""  # half a request, and no more
        with socket.create_connection(serving.address, timeout=60) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(4):
                line.sendall(b"GET /yum/base/Packages/big.iso HTTP/1.1\r\nHost: a\r\n\r\n")
            given_up = select.poll()  # takes nothing
            given_up.register(line, 0)
            assert given_up.poll(60_000)
            with pytest.raises(ConnectionResetError):
                while line.recv(1 << 16):
                    pass
        assert get(serving, "/healthz")[0] == 200


def test_too_many_connections_are_told_so(published: Published) -> None:
    with Serving(published.store.folder, limits=Limits(connections=3)) as serving:
        idle = [socket.create_connection(serving.address, timeout=60) for _ in range(3)]
        try:
            time.sleep(0.3)
            with socket.create_connection(serving.address, timeout=60) as line:
                assert line.recv(1000).startswith(b"HTTP/1.1 503")
        finally:
            for each in idle:
                each.close()
        eventually(lambda: get(serving, "/healthz")[0] == 200)


def test_a_folder_of_many_files_is_listed_whole(published: Published) -> None:
    count = 30_000
    published.publish("wide", {f"f/{n:06}.bin": b"" for n in range(count)}, format="files")
    with Serving(published.store.folder) as serving:
        body = get(serving, "/files/wide/f/")[2]
    assert body.count(b"<a href=") == count + 1
    assert body.index(b"000010.bin") < body.index(b"029999.bin")
    assert body.endswith(b"</html>\n")


def test_misses_are_told_to_the_parent(published: Published) -> None:
    with Serving(published.store.folder) as serving:
        assert get(serving, "/yum/base/Packages/wanted-1.0.rpm")[0] == 404
        get(serving, "/favicon.ico")
        until = time.monotonic() + 60
        while not serving.misses and time.monotonic() < until:
            time.sleep(0.1)
    assert {(miss.format, miss.repository, miss.want) for miss in serving.misses} == {
        ("yum", "base", "Packages/wanted-1.0.rpm")
    }
