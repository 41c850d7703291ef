"""Ways to an upstream: authorities, client certificates, proxies and what they are told."""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from manifests import errors
from manifests.zone.model import Connection
from mirror import ways
from mirror.web import Web
from tests.support import tools
from tests.support.certs import Authority
from tests.support.hostile import HostileServer, Reply
from tests.support.nginx import Nginx


def got(url: str, connection: Connection) -> tuple[int, bytes]:
    """Status and body, asked for twice: the second time the way is known."""
    with closing(Web(connection, [url])) as web:
        for _ in range(2):
            with web.get(url, {}) as answer:
                found = answer.status, b"".join(answer.blocks(1 << 16, 0))
    return found


class _Tunnel(BaseHTTPRequestHandler):
    """A proxy for CONNECT."""

    def log_message(self, *_: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Proxy-Authorization", "")))  # type: ignore[attr-defined]
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            both = {self.connection: there, there: self.connection}
            while True:
                for end in select.select(list(both), [], [], 30)[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        self.close_connection = True
                        return
                    both[end].sendall(data)


@contextmanager
def tunnel() -> Iterator[tuple[int, list[tuple[str, str]]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tunnel)
    seen: list[tuple[str, str]] = []
    server.seen = seen  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _login(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_an_authority_of_our_own_and_a_client_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/file").write_bytes(b"content")
    ours, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    pair = ours.issue("client")
    with Nginx(tmp_path / "www", tls=ours.issue("127.0.0.1"), client_ca=ours.ca) as server:
        url = f"{server.url}file"
        trusting = Connection(retries=0, ca_file=ours.ca)
        known = Connection(retries=0, ca_file=ours.ca, client_cert=pair.cert, client_key=pair.key)
        assert got(url, known) == (200, b"content")
        assert got(url, trusting)[0] == 400
        for stranger in (Connection(retries=0), Connection(retries=0, ca_file=other.ca)):
            with pytest.raises(errors.UpstreamRefused, match=r"no trust.*certificate"):
                got(url, stranger)
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(ways, "_SYSTEMS", (str(tmp_path / "none"), str(ours.ca)))
        assert got(url, Connection(retries=0))[0] == 400, "the machine trusts it"
        gone = Connection(retries=0, ca_file=ours.ca, client_cert=tmp_path / "gone")
        with pytest.raises(errors.ConfigError, match="gone"):
            got(url, gone)


def test_a_proxy_with_a_password_for_both_schemes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/file").write_bytes(b"content")
    ours = Authority(tmp_path / "ca")
    with tunnel() as (port, seen), Nginx(tmp_path / "www", tls=ours.issue("127.0.0.1")) as server:
        proxy = f"http://us%40er:pass@127.0.0.1:{port}"
        connection = Connection(retries=0, ca_file=ours.ca, proxy=proxy)
        assert got(f"{server.url}file", connection) == (200, b"content")
        assert seen == [(f"127.0.0.1:{server.port}", _login("us@er:pass"))], "one connection"

        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "example.org,127.0.0.0/8")
        monkeypatch.setenv("https_proxy", proxy)
        assert got(f"{server.url}file", Connection(retries=0, ca_file=ours.ca))[0] == 200
        assert len(seen) == 1, "the network is excepted"

    with HostileServer() as plain:
        plain.put("http://mirror.example.org/a%20b?c=d", Reply(200, b"by proxy"))
        proxy = plain.url.replace("//", "//user:pass@")
        there = "http://sam:se%3Acret@mirror.example.org/a b?c=d#part"
        assert got(there, Connection(retries=0, proxy=proxy)) == (200, b"by proxy")
        asked = plain.requests[0]
        assert asked.header("proxy-authorization") == _login("user:pass")
        assert asked.header("authorization") == _login("sam:se:cret")
        assert asked.header("host") == "mirror.example.org"


def test_what_cannot_be_reached_says_why() -> None:
    port = tools.free_port()
    with pytest.raises(errors.UpstreamUnreachable, match="connection refused"):
        got(f"http://127.0.0.1:{port}/", Connection(retries=0))
    proxy = f"http://127.0.0.1:{port}"
    with pytest.raises(errors.UpstreamUnreachable, match="the proxy failed"):
        got("http://mirror.example.org/", Connection(retries=0, proxy=proxy))
    for bad in ("http://", "http://a b/", f"http://{'x' * 70}.example/"):
        with pytest.raises(errors.UpstreamRefused, match="not a usable address"):
            got(bad, Connection(retries=0))
    with pytest.raises(errors.UpstreamRefused, match="not a usable address"):
        got("http://mirror.example.org/", Connection(retries=0, proxy="http://"))
