"""TLS that ends in the server itself: real clients that verify, renewal, and bad guests."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from manifests.zone.served import Registry as Registered
from repo_server import Limits
from tests.conftest import DnfFactory
from tests.support import samples, tools
from tests.support.certs import Authority, Pair
from tests.support.gpg import GpgHome
from tests.support.images import Layout
from tests.support.imagetrees import overlay, tree
from tests.support.podman import Podman
from tests.support.rpms import RpmCache
from tests.support.served import Published, Serving
from tests.support.skopeo import Skopeo
from tests.support.zones import Serving as Command
from tests.support.zones import Zones

ORIGIN = "registry.example.com"
BIG = os.urandom(12 << 20)
PAGE = os.urandom(60_000)
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a ClientHello begins."""


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, rpm_cache: RpmCache, vendor_key: GpgHome
) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("tls")
    made = Published(folder / "store")
    repo = samples.vendor_repo(folder / "vendor", rpm_cache, vendor_key)
    made.publish_folder("baseos", repo.root)
    layout = Layout(folder / "layout")
    files = tree(layout, {"team/app:v1": layout.image("by TLS\n")}, replaces=ORIGIN)
    made.publish("platform", files, format="oci", overlay=overlay(files))
    made.publish("isos", {"disk.iso": BIG, "note": b"a note", "page": PAGE}, format="files")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(published: Published, authority: Authority, vendor_key: GpgHome) -> Iterator[Serving]:
    with Serving(
        published.store.folder,
        workers=2,
        keys={"baseos": (vendor_key.public_key().decode(),)},
        registries={"platform": Registered(listen=("127.0.0.1", 0))},
        ca=authority.ca.read_text(),
        tls=authority.issue("packages.example.org", rsa_bits=2048),
    ) as serving:
        yield serving


@pytest.fixture
def trust(authority: Authority, tmp_path: Path) -> Path:
    """A folder of authorities, as container clients have it."""
    folder = tmp_path / "certs.d"
    folder.mkdir()
    shutil.copy(authority.ca, folder / "ca.crt")
    return folder


def curl(server: Serving, *words: str | Path, check: bool = True) -> tuple[int, str]:
    *options, path = words
    done = tools.run(
        [tools.need("curl"), "-sS", *options, f"{server.url}{path}"], check=check, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def verifying(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca))


def get(server: Serving, authority: Authority, path: str, **headers: str) -> tuple[int, bytes]:
    """One request by its own connection, verified."""
    with connect(server, authority) as line:
        return ask(line, path, **headers)


def connect(server: Serving, authority: Authority) -> Line:
    return Line(*server.address, timeout=60, context=verifying(authority))


class Line(http.client.HTTPSConnection):
    def __enter__(self) -> Line:
        if self.sock is None:
            self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(line: http.client.HTTPConnection, path: str, **headers: str) -> tuple[int, bytes]:
    line.request("GET", path, headers=headers)
    answer = line.getresponse()
    return answer.status, answer.read()


# --- real clients -------------------------------------------------------------


def test_dnf(server: Serving, authority: Authority, dnf: DnfFactory) -> None:
    text = get(server, authority, "/setup/baseos.repo")[1].decode()
    assert f"baseurl={server.url}/yum/baseos/\n" in text and "repo_gpgcheck=1" in text
    assert f"gpgkey={server.url}/setup/keys/baseos.asc" in text
    stranger = dnf()
    stranger.use_text(text)
    failed = stranger.install("hello", check=False)
    assert failed.returncode != 0 and "certificate" in failed.stderr + failed.stdout
    client = dnf()
    client.use_text(f"{text}sslcacert={authority.ca}\n")
    client.install("hello")
    assert any(name.startswith("hello-") for name in client.installed())


def test_skopeo_and_podman(
    server: Serving, authority: Authority, trust: Path, tmp_path: Path
) -> None:
    host = server.url.removeprefix("https://")
    own = server.server.urls["platform"]
    assert own.startswith("https://")
    skopeo = Skopeo(tmp_path / "skopeo", ca=trust)
    assert skopeo.tags(f"docker://{host}/platform/team/app") == ["v1"]
    name = own.removeprefix("https://") + "/team/app:v1"
    skopeo.copy(f"docker://{name}", f"oci:{tmp_path / 'copy'}:x")
    conf = get(server, authority, "/setup/registries.conf")[1].decode()
    assert f'location = "{host}/{ORIGIN}"' in conf and "insecure" not in conf
    with tempfile.TemporaryDirectory(prefix="sl-", dir="/tmp") as folder:
        podman = Podman(Path(folder), registries_conf=conf)
        try:
            podman.pull(f"{ORIGIN}/team/app:v1", ca=trust)
            assert podman.start(f"{ORIGIN}/team/app:v1") == "by TLS\n"
            strange = podman.pull(name, verify=True, check=False)
            assert strange.returncode != 0 and "certificate" in strange.stderr
            podman.pull(name, ca=trust)
        finally:
            podman.close()


def test_curl_and_what_is_too_old_for_us(server: Serving, authority: Authority) -> None:
    ca = ("--cacert", str(authority.ca))
    code, said = curl(server, *ca, "--tls-max", "1.1", "/files/isos/note", check=False)
    assert code == 35 and "protocol version" in said
    code, said = curl(server, "/files/isos/note", check=False)
    assert code == 60  # nobody told it whom to trust
    assert curl(server, *ca, "/setup/ca.crt")[1] == authority.ca.read_text()
    for version in ("1.2", "1.3"):
        shown = curl(server, *ca, "-v", "--http2", "--tls-max", version, "/files/isos/note")[1]
        assert "a note" in shown and f"TLSv{version}" in shown and "http/1.1" in shown


def s_client(server: Serving, authority: Authority, *words: str) -> str:
    host, port = server.address
    command = [tools.need("openssl"), "s_client", "-connect", f"{host}:{port}", *words]
    command += ["-CAfile", str(authority.ca), "-verify_return_error", "-verify_ip", host]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=120, check=False)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def test_openssl_sees_what_centos_7_needs_and_nothing_weak(
    server: Serving, authority: Authority
) -> None:
    old = ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    said = s_client(server, authority, *old, "-alpn", "http/1.1")
    assert "Verify return code: 0 (ok)" in said and "ALPN protocol: http/1.1" in said
    assert "Cipher is ECDHE-RSA-AES128-GCM-SHA256" in said
    assert "Secure Renegotiation IS supported" in said
    for weak in ("AES128-SHA", "ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256"):
        said = s_client(server, authority, "-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0")
        assert "handshake failure" in said, weak
    said = s_client(server, authority, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said


# --- HTTP over it -------------------------------------------------------------


def test_large_bodies_ranges_and_keep_alive(server: Serving, authority: Authority) -> None:
    with connect(server, authority) as line:
        opened = line.sock
        assert ask(line, "/files/isos/disk.iso") == (200, BIG)
        part = ask(line, "/files/isos/disk.iso", Range="bytes=1000000-9999999")
        assert part == (206, BIG[1_000_000:10_000_000])
        assert [ask(line, "/files/isos/note") for _ in range(3)] == [(200, b"a note")] * 3
        line.request("HEAD", "/files/isos/disk.iso")
        head = line.getresponse()
        assert head.read() == b"" and head.getheader("Content-Length") == str(len(BIG))
        assert ask(line, "/files/isos/")[1].count(b"disk.iso") == 2  # chunked
        assert line.sock is opened
        # The end of the last answer reaches a slow reader, too, and then close_notify comes.
        line.request("GET", "/files/isos/disk.iso", headers={"Connection": "close"})
        answer = line.getresponse()
        time.sleep(0.3)
        assert answer.read() == BIG


def test_requests_in_one_flight_are_answered_in_order(
    server: Serving, authority: Authority
) -> None:
    host, port = server.address
    with socket.create_connection((host, port), timeout=60) as plain:
        line = verifying(authority).wrap_socket(plain, server_hostname=host)
        one = b"GET /files/isos/note HTTP/1.1\r\nHost: a\r\n\r\n"
        last = b"GET /files/isos/disk.iso HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        line.sendall(one * 20 + last)
        blocks = []
        while block := line.recv(1 << 16):  # an end without close_notify would raise
            blocks.append(block)
        got = b"".join(blocks)
        assert got.count(b"a note") == 20 and got.endswith(BIG[-1000:])


def test_slow_readers_take_no_memory(server: Serving, authority: Authority) -> None:
    with ExitStack() as stack:
        lines = [stack.enter_context(connect(server, authority)) for _ in range(12)]
        for line in lines:
            ask(line, "/files/isos/note")
        before = memory(server)
        for line in lines:
            line.request("GET", "/files/isos/disk.iso")
        time.sleep(1.0)
        assert memory(server) - before < 12 << 20  # they asked for 144 MiB
        assert {line.getresponse().read() == BIG for line in lines} == {True}


def memory(server: Serving) -> int:
    """Bytes that the workers have in memory."""
    pages = [Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in server.server.pids]
    return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")


def test_who_takes_no_answers_may_not_go_on_asking(
    published: Published, server: Serving, authority: Authority
) -> None:
    with connect(server, authority) as secure:
        ask_without_end(secure)
    with Serving(published.store.folder) as plain:
        ask_without_end(http.client.HTTPConnection(*plain.address))


def ask_without_end(line: http.client.HTTPConnection) -> None:
    """Send requests alone, until they are not taken any more."""
    for _ in range(2):  # it is at hand now, so that the next answers need no task
        assert ask(line, "/files/isos/page") == (200, PAGE)
    asked = b"GET /files/isos/page HTTP/1.1\r\nHost: a\r\nPad: %b\r\n\r\n" % (b"x" * 8000)
    assert line.sock is not None
    line.sock.settimeout(1.0)
    sent = 0
    with pytest.raises((TimeoutError, ssl.SSLWantWriteError)):
        while sent < 64 << 20:
            sent += line.sock.send(asked)
    line.close()


# --- renewal ------------------------------------------------------------------


class Load:
    """Clients that make a new verified connection for each request."""

    def __init__(self, server: Serving, authority: Authority) -> None:
        self.server, self.authority = server, authority
        self.failures: list[str] = []
        self.done = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                assert get(self.server, self.authority, "/files/isos/note") == (200, b"a note")
                self.done += 1
                time.sleep(0.02)
            except Exception as error:  # noqa: BLE001 - shown by the test
                self.failures.append(repr(error))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def put(live: Pair, fresh: Pair, pause: float = 0.0) -> None:
    """Replace both files one after the other, each at once."""
    for target, source in ((live.cert, fresh.cert), (live.key, fresh.key)):
        shutil.copy(source, target.with_suffix(".new"))
        os.replace(target.with_suffix(".new"), target)
        time.sleep(pause)


def shown(server: Serving, authority: Authority) -> bytes:
    """The certificate that a new connection sees."""
    with connect(server, authority) as line:
        assert isinstance(line.sock, ssl.SSLSocket)
        return line.sock.getpeercert(binary_form=True) or b""


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.cert.read_text())


def until(check: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds:.0f} seconds"
        time.sleep(0.05)


def test_a_renewed_certificate_under_load(
    published: Published,
    authority: Authority,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    first = authority.issue("first", rsa_bits=2048)
    second, third = authority.issue("second"), authority.issue("third", rsa_bits=2048)
    live = Pair(tmp_path / "live.pem", tmp_path / "live.key")
    put(live, first)
    live.key.chmod(0o600)
    with Serving(published.store.folder, workers=2, tls=live) as server:

        def all_show(pair: Pair) -> bool:
            return all(shown(server, authority) == der(pair) for _ in range(6))

        assert all_show(first)
        with Load(server, authority) as load, connect(server, authority) as old:
            old.request("GET", "/files/isos/disk.iso")
            answer = old.getresponse()
            head = answer.read(1 << 20)
            put(live, second, pause=0.4)  # in between they do not fit
            until(lambda: all_show(second))
            assert head + answer.read() == BIG  # what was under way goes on
            assert ask(old, "/files/isos/note") == (200, b"a note")
            live.cert.write_text("torn")
            before = load.done
            until(lambda: "stays the old one" in capfd.readouterr().err)
            assert all_show(second)
            time.sleep(1.5)
            assert "stays the old one" not in capfd.readouterr().err  # once is enough
            until(lambda: load.done > before)
            # A worker that is started again while the files are broken shows the good pair.
            victim = server.server.pids[0]
            os.kill(victim, 9)
            until(lambda: victim not in server.server.pids and len(server.server.pids) == 2)
            load.failures.clear()  # those whose answer it was just making
            assert all_show(second)
            put(live, third)
            server.server.reload()
            until(lambda: all_show(third))
            until(lambda: load.done > 20)
            assert load.failures == []


def test_the_command_and_status(tmp_path: Path, authority: Authority) -> None:
    tls = {"cert": "keys/server.pem", "key": "keys/server.key"}
    zones = Zones(tmp_path / "zones", {}, inside={"serve": {"tls": tls}})
    zone = zones.inside
    day = timedelta(days=1)
    soon = authority.issue("soon", begins=-90 * day, ends=3 * day)
    later = authority.issue("later", ends=365 * day)
    live = Pair(zone / "keys/server.pem", zone / "keys/server.key")
    live.cert.parent.mkdir(exist_ok=True)
    put(live, soon)
    assert "expires on" in zones.within("status").out
    with Command(zone, workers=1) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert "expires on" in server.log.read_text()
        put(live, later)
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: "the certificate was read again" in server.log.read_text())
        done = tools.run([tools.need("curl"), "-sS", "--cacert", authority.ca,
                          f"{server.url}/healthz"])  # fmt: skip
        assert done.stdout == "ok\n"
    assert "certificate" not in zones.within("status").out
    shutil.copy(soon.key, live.key)
    assert "not that of the certificate" in zones.within("status").out
    refused = zones.within("serve", expect=None)
    assert refused.code != 0 and "not that of the certificate" in refused.err


# --- bad guests ---------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(published: Published, authority: Authority) -> Iterator[Serving]:
    """Its guests have a second and a half for a handshake; a machine may be slower."""
    limits = Limits(handshakes=8, handshake=1.5)
    pair = authority.issue("strict")
    with Serving(published.store.folder, limits=limits, tls=pair) as serving:
        yield serving


def test_slow_and_foreign_guests_are_shed(strict: Serving, authority: Authority) -> None:
    with ExitStack() as stack:

        def guest(said: bytes) -> socket.socket:
            line = stack.enter_context(socket.create_connection(strict.address, timeout=60))
            line.sendall(said)
            return line

        silent = [guest(b"") for _ in range(10)]
        halting = [guest(HELLO) for _ in range(10)]
        admitted(strict, authority).close()
        for line in silent[:10]:  # more than eight at once: the oldest had to go
            assert ended(line)
        began = time.monotonic()
        for line in halting:
            assert ended(line)
        assert time.monotonic() - began < 30
        plain = guest(b"GET /files/isos/note HTTP/1.1\r\nHost: a\r\n\r\n")
        said = plain.recv(4096)
        assert said.startswith(b"HTTP/1.1 400 ") and b"https://" in said and b"note" not in said
        assert ended(plain)
        for noise in (b"\0" * 3000, b"SSH-2.0-x\r\n", HELLO + b"\xff" * 3000, b"\x16" * 3000):
            assert ended(guest(noise))
        # Garbage after the handshake ends that connection alone.
        with admitted(strict, authority) as good, admitted(strict, authority) as bad:
            assert isinstance(bad.sock, ssl.SSLSocket)
            os.write(bad.sock.fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                while bad.sock.recv(100):
                    pass
                raise ConnectionError
            assert ask(good, "/files/isos/note") == (200, b"a note")


def admitted(server: Serving, authority: Authority) -> Line:
    """A connection whose handshake was done in time, at the first try or a later one."""
    made: list[Line] = []

    def done() -> bool:
        line = connect(server, authority)
        with suppress(ssl.SSLError, ConnectionError):
            assert ask(line, "/files/isos/note") == (200, b"a note")
            made.append(line)
        return bool(made)

    until(done)
    return made[0]


def test_who_stops_reading_is_cut_off_and_who_reads_slowly_is_not(
    published: Published, authority: Authority
) -> None:
    pair = authority.issue("strict")
    for stall in (5.0, 15.0, 40.0):  # our own pauses are longer on a machine that is slow
        limits = Limits(stall=stall)
        with Serving(published.store.folder, limits=limits, tls=pair) as server:
            if read_slowly(server, authority):
                return
    pytest.fail("who reads slowly is cut off")


def read_slowly(server: Serving, authority: Authority) -> bool:
    """Whether who reads slowly gets everything. Who does not read never does."""
    with connect(server, authority) as stuck, connect(server, authority) as slow:
        for line in (stuck, slow):
            assert line.sock is not None
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            line.request("GET", "/files/isos/disk.iso")
        broken = (ConnectionError, ssl.SSLError, http.client.IncompleteRead)
        try:
            answer = slow.getresponse()
            blocks = [answer.read(1 << 20)]
            for _ in range(20):
                time.sleep(0.5)
                blocks.append(answer.read(1 << 19))
            whole = b"".join([*blocks, answer.read()]) == BIG
        except broken:
            whole = False
        with pytest.raises(broken):
            stuck.getresponse().read()
        return whole


def ended(line: socket.socket) -> bool:
    """Whether the server closes the connection, whatever it says before."""
    try:
        while line.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True
