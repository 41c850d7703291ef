"""Mirroring over HTTP, from nginx and from a server that misbehaves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote

import pytest

from manifests import errors
from manifests.zone.model import Connection, Filters, Upstream
from tests.clients.syncing import Mirror, open_store, repository
from tests.clients.test_sync_rsync import upstream_files
from tests.support import samples
from tests.support.hostile import HostileServer, Reply, document, redirect
from tests.support.nginx import Nginx
from tests.support.rpms import RpmCache
from tests.support.yumrepo import YumRepo

SPARE = samples.SPARE.filename


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


def serve(server: HostileServer, repo: YumRepo, prefix: str = "/") -> None:
    """Answer for every file of ``repo``, as a good server would."""
    for path, data in upstream_files(repo).items():
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        server.put(prefix + quote(path), document(data, etag=etag))


@pytest.fixture
def mirror(tmp_path: Path, vendor_repo: YumRepo, server: HostileServer) -> Iterator[Mirror]:
    serve(server, vendor_repo)
    with open_store(tmp_path / "store") as store:
        yield Mirror(store, repository(server.url))


def test_a_copy_over_nginx_has_the_upstreams_bytes(tmp_path: Path, vendor_repo: YumRepo) -> None:
    with Nginx(vendor_repo.root) as nginx, open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository(nginx.url))
        report = mirror.sync()
        expected = upstream_files(vendor_repo)
        found = mirror.paths()
        assert report.snapshot is not None and set(found) == set(expected)
        assert all(mirror.content(path) == data for path, data in expected.items())
        before = len(nginx.access())
        assert mirror.sync().snapshot is None
        again = nginx.access()[before:]
        assert not [line for line in again if ".rpm" in line or "primary" in line]
        assert [line for line in again if "repomd.xml 304" in line]


def test_an_update_fetches_only_what_is_new(
    mirror: Mirror, server: HostileServer, vendor_repo: YumRepo, rpm_cache: RpmCache
) -> None:
    mirror.sync()
    samples.release_update(vendor_repo, rpm_cache)
    server.requests.clear()
    serve(server, vendor_repo)
    report = mirror.sync()
    assert report.snapshot is not None and SPARE not in mirror.paths()
    fetched = [one.path for one in server.requests if one.path.endswith(".rpm")]
    assert fetched == [f"/{samples.HELLO_NEW.filename}"]


def test_a_truncated_download_is_resumed_and_only_the_rest_is_asked_for(
    mirror: Mirror, server: HostileServer, vendor_repo: YumRepo
) -> None:
    data = (vendor_repo.root / SPARE).read_bytes()
    good = document(data, etag='"v1"')
    server.put(f"/{SPARE}", Reply(200, data, {"ETag": '"v1"'}, cut_at=1000), good)
    mirror.sync()
    first, second = server.asked(f"/{SPARE}")
    assert first.header("range") == ""
    assert second.header("range") == "bytes=1000-" and second.header("if-range") == '"v1"'
    assert mirror.content(SPARE) == data


def test_an_interrupted_sync_goes_on_where_it_stopped(
    mirror: Mirror, server: HostileServer, vendor_repo: YumRepo
) -> None:
    data = (vendor_repo.root / SPARE).read_bytes()
    server.put(f"/{SPARE}", Reply(200, data, cut_at=1000))
    with pytest.raises(errors.UpstreamUnreachable):
        mirror.sync()
    assert [kind for kind, *_ in mirror.holds()] == ["unreachable"]
    server.put(f"/{SPARE}", document(data))
    server.requests.clear()
    mirror.sync()
    asked = server.asked(f"/{SPARE}")
    assert [one.header("range") for one in asked] == ["bytes=1000-"]
    assert mirror.holds() == []


def test_retry_after_is_obeyed(mirror: Mirror, server: HostileServer, vendor_repo: YumRepo) -> None:
    data = (vendor_repo.root / SPARE).read_bytes()
    busy = Reply(503, b"", {"Retry-After": "7"})
    server.put(f"/{SPARE}", busy, document(data))
    mirror.sync()
    assert mirror.pauses == [7.0]
    later = Reply(429, b"", {"Retry-After": formatdate(0, usegmt=True)})
    server.put("/repodata/repomd.xml", later, document(vendor_repo.repomd.read_bytes()))
    assert mirror.sync().snapshot is None
    assert mirror.pauses == [7.0, 0.0]


def test_a_web_page_in_place_of_a_package_is_a_mismatch(
    mirror: Mirror, server: HostileServer, vendor_repo: YumRepo
) -> None:
    data = (vendor_repo.root / SPARE).read_bytes()
    page = b"<html>log in</html>".ljust(len(data))
    server.put(f"/{SPARE}", Reply(200, page, {"Content-Type": "text/html"}))
    with pytest.raises(errors.UpstreamMismatch) as caught:
        mirror.sync()
    said = str(caught.value)
    assert SPARE in said
    assert hashlib.sha256(page).hexdigest() in said and hashlib.sha256(data).hexdigest() in said
    assert mirror.snapshots() == []
    assert [kind for kind, *_ in mirror.holds()] == ["mismatch"]


@pytest.mark.parametrize("length", [None, 50])
def test_an_endless_answer_is_cut_at_the_promised_size(
    mirror: Mirror, server: HostileServer, length: int | None
) -> None:
    endless = Reply(200, b"x" * 65536, repeat=10_000, chunked=length is None, length=length)
    server.put(f"/{SPARE}", endless)
    with pytest.raises(errors.UpstreamError):
        mirror.sync()
    partial = mirror.store.folder / "work/baseos/partial"
    assert sum(path.stat().st_size for path in partial.iterdir()) < 1 << 20


def test_missing_packages_are_told_all_by_name(mirror: Mirror, server: HostileServer) -> None:
    for name in (SPARE, samples.TOOL.filename):
        server.put(f"/{name}", Reply(404))
    with pytest.raises(errors.TornUpstream) as caught:
        mirror.sync()
    assert SPARE in caught.value.what and samples.TOOL.filename in caught.value.what
    assert len(mirror.holds()[0][2]["items"]) >= 2
    names = [SPARE, samples.TOOL.filename]
    report = mirror.sync(accept_missing=names, reason="withdrawn")
    assert report.snapshot is not None and not set(names) & set(mirror.paths())


def test_an_index_that_changes_meanwhile_is_seen(
    mirror: Mirror, server: HostileServer, vendor_repo: YumRepo, rpm_cache: RpmCache
) -> None:
    old = vendor_repo.repomd.read_bytes()
    signature = (vendor_repo.repodata / "repomd.xml.asc").read_bytes()
    vendor_repo.update(add=rpm_cache.get(samples.HELLO_NEW, key=vendor_repo.key))
    serve_old = dict(upstream_files(vendor_repo))
    serve(server, vendor_repo)
    new = document(vendor_repo.repomd.read_bytes(), etag='"new"')
    server.put("/repodata/repomd.xml", document(old, etag='"old"'), new)
    first = document(signature, etag='"s1"')
    fresh = document((vendor_repo.repodata / "repomd.xml.asc").read_bytes(), etag='"s2"')
    server.put("/repodata/repomd.xml.asc", first, fresh)
    for name in set(mirror_paths(old)) - set(serve_old):
        server.put(f"/{name}", Reply(404))
    report = mirror.sync()
    assert report.attempts == 2
    assert mirror.content("repodata/repomd.xml") == vendor_repo.repomd.read_bytes()


def mirror_paths(repomd: bytes) -> list[str]:
    return [part.split('"')[0] for part in repomd.decode().split('href="')[1:]]


def test_the_next_mirror_stands_in(
    tmp_path: Path, server: HostileServer, vendor_repo: YumRepo
) -> None:
    serve(server, vendor_repo, "/good/")
    bad = b"tampered"
    server.put(f"/bad/{SPARE}", Reply(200, bad))
    for path, data in upstream_files(vendor_repo).items():
        if path.startswith("repodata/"):
            server.put(f"/bad/{path}", document(data, etag='"x"'))
    urls = ("http://127.0.0.1:9/", f"{server.url}bad/", f"{server.url}good/")
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository(urls[0], upstream=Upstream(urls=urls)))
        assert mirror.sync().snapshot is not None
        assert mirror.content(SPARE) == (vendor_repo.root / SPARE).read_bytes()


@pytest.mark.parametrize("kind", ["text", "metalink"])
def test_mirror_lists(
    tmp_path: Path, server: HostileServer, vendor_repo: YumRepo, kind: str
) -> None:
    serve(server, vendor_repo, "/m/")
    if kind == "text":
        body = f"# mirrors\nhttp://127.0.0.1:9/\n{server.url}m/\n".encode()
    else:
        body = (
            '<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/">'
            '<files><file name="repomd.xml"><resources>'
            '<url protocol="rsync" preference="100">rsync://127.0.0.1/x</url>'
            f'<url protocol="http" preference="90">{server.url}m/repodata/repomd.xml</url>'
            "</resources></file></files></metalink>"
        ).encode()
    server.put("/list?repo=x", Reply(200, body))
    upstream = Upstream(mirrorlist=f"{server.url}list?repo=x")
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository(server.url, upstream=upstream))
        assert mirror.sync().snapshot is not None


def test_a_password_goes_to_the_upstream_alone(
    tmp_path: Path, server: HostileServer, vendor_repo: YumRepo
) -> None:
    serve(server, vendor_repo)
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    with HostileServer() as other:
        serve(other, vendor_repo)
        server.put(f"/{SPARE}", redirect(f"{other.url}{SPARE}"))
        connection = Connection(username="sam", password_file=secret, retries=0)
        with open_store(tmp_path / "store") as store:
            Mirror(store, repository(server.url, connection=connection)).sync()
        assert all(one.header("authorization") for one in server.requests)
        assert other.requests and not any(one.header("authorization") for one in other.requests)


def test_redirects_without_end_and_to_other_schemes_are_refused(
    mirror: Mirror, server: HostileServer
) -> None:
    server.put(f"/{SPARE}", redirect(f"/{SPARE}"))
    with pytest.raises(errors.UpstreamRefused, match="redirects"):
        mirror.sync()
    for elsewhere in ("file:///etc/passwd", "http://[bad/"):
        server.put(f"/{SPARE}", redirect(elsewhere))
        with pytest.raises(errors.UpstreamRefused, match="not followed"):
            mirror.sync()


def test_a_stalled_answer_ends_in_time(mirror: Mirror, server: HostileServer) -> None:
    mirror.set(connection=Connection(retries=0, timeout=3.0))
    server.put(f"/{SPARE}", Reply(200, b"x" * 2000, stall=30, stall_at=10))
    with pytest.raises(errors.UpstreamUnreachable):
        mirror.sync()


def test_a_proxy_is_asked_for_whole_urls(
    tmp_path: Path, server: HostileServer, vendor_repo: YumRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, vendor_repo, "http://mirror.example.org/")
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository("http://mirror.example.org/"))
        assert mirror.sync().snapshot is not None
        monkeypatch.delenv("http_proxy")
        connection = Connection(retries=0, proxy=server.url.rstrip("/"))
        mirror.set(connection=connection)
        assert mirror.sync().snapshot is None


def test_a_filtered_repository_fetches_only_what_it_wants(
    mirror: Mirror, server: HostileServer
) -> None:
    mirror.set(filters=Filters(include=("hello", "greeting")))
    mirror.sync()
    rpms = [path for path in mirror.paths() if path.endswith(".rpm")]
    assert sorted(rpms) == [samples.GREETING.filename, samples.HELLO.filename]
    assert not server.asked(f"/{SPARE}")


def test_dry_run_over_http_fetches_no_package(mirror: Mirror, server: HostileServer) -> None:
    report = mirror.sync(dry_run=True)
    assert report.added >= 5 and report.bytes_needed > 0
    assert not [one for one in server.requests if one.path.endswith(".rpm")]
    assert mirror.snapshots() == []
