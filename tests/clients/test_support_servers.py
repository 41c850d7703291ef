"""The servers of the fixtures are true: nginx, the hostile upstream, PostgreSQL."""

from __future__ import annotations

import configparser
import hashlib
import ssl
import time
from pathlib import Path

import pytest
import requests
import sqlalchemy

from tests.conftest import DnfFactory, NginxFactory
from tests.support import samples, tools
from tests.support.certs import Authority
from tests.support.dnf import DnfRepo
from tests.support.gpg import GpgHome
from tests.support.hostile import HostileServer, Reply, Seen, document, redirect
from tests.support.postgres import Postgres
from tests.support.rpms import RpmCache
from tests.support.samples import GREETING, HELLO, ODD
from tests.support.yumrepo import YumRepo


def test_dnf_installs_over_nginx_with_all_checks_on(
    vendor_repo: YumRepo, vendor_key: GpgHome, nginx: NginxFactory, dnf: DnfFactory
) -> None:
    server = nginx(vendor_repo.root)
    key = f"{server.url}repodata/repomd.xml.key"
    client = dnf(DnfRepo("t", server.url, gpgcheck=True, repo_gpgcheck=True, gpgkey=key))
    client.install("hello", "libodd+c++")
    expected = sorted(p.filename.removesuffix(".rpm") for p in (GREETING, HELLO, ODD))
    assert client.installed() == expected
    fetched = [line.split()[1] for line in server.access()]
    assert f"/{HELLO.filename}" in fetched
    assert "/repodata/repomd.xml.asc" in fetched


def test_xml_base_sends_dnf_to_another_server(
    tmp_path: Path, rpm_cache: RpmCache, nginx: NginxFactory, dnf: DnfFactory
) -> None:
    elsewhere = tmp_path / "elsewhere"
    packages = nginx(elsewhere)
    repo = samples.vendor_repo(tmp_path / "r", rpm_cache, None, base_url=packages.url)
    elsewhere.mkdir()
    for name in repo.packages():
        (repo.root / name).rename(elsewhere / name)
    client = dnf(DnfRepo("t", nginx(repo.root).url))
    client.install("hello")
    assert any(f"/{HELLO.filename} 200" in line for line in packages.access())


def test_the_kickstart_tree_lists_its_files(vendor_repo: YumRepo) -> None:
    info = configparser.ConfigParser(interpolation=None)
    info.optionxform = str  # type: ignore[assignment, method-assign]
    info.read(vendor_repo.root / ".treeinfo")
    for path, promised in info["checksums"].items():
        digest = hashlib.sha256((vendor_repo.root / path).read_bytes()).hexdigest()
        assert promised == f"sha256:{digest}"
    named = {info[s][k] for s, k in (("images-x86_64", "kernel"), ("stage2", "mainimage"))}
    assert named <= set(info["checksums"])


def test_nginx_answers_ranges_and_conditional_requests(tmp_path: Path, nginx: NginxFactory) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    url = f"{nginx(tmp_path).url}file"
    part = requests.get(url, headers={"Range": "bytes=3-5"}, timeout=60)
    assert (part.status_code, part.content) == (206, b"345")
    again = requests.get(url, headers={"If-None-Match": part.headers["ETag"]}, timeout=60)
    assert again.status_code == 304


def test_nginx_over_tls_wants_the_right_certificates(
    tmp_path: Path, nginx: NginxFactory, authority: Authority
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    mine = authority.issue("client")
    url = f"{nginx(tmp_path, tls=authority.issue('server'), client_ca=authority.ca).url}file"
    ca, pair = str(authority.ca), (str(mine.cert), str(mine.key))
    assert requests.get(url, verify=ca, cert=pair, timeout=60).content == b"x"
    assert requests.get(url, verify=ca, timeout=60).status_code == 400
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, cert=pair, timeout=60)
    assert ssl.create_default_context(cafile=ca).cert_store_stats()["x509_ca"] == 1


def test_the_hostile_server_is_honest_until_told_otherwise(hostile: HostileServer) -> None:
    hostile.put("/f?x=1", document(b"0123456789", etag='"v1"', modified=1_700_000_000))
    url = f"{hostile.url}f?x=1"
    with requests.Session() as session:
        whole = session.get(url, timeout=60)
        assert (whole.status_code, whole.content) == (200, b"0123456789")
        same = session.get(url, headers={"If-None-Match": '"v1"'}, timeout=60)
        assert same.status_code == 304
        since = {"If-Modified-Since": whole.headers["Last-Modified"]}
        assert session.get(url, headers=since, timeout=60).status_code == 304
        rest = session.get(url, headers={"Range": "bytes=7-", "If-Range": '"v1"'}, timeout=60)
        assert (rest.status_code, rest.content) == (206, b"789")
        other = session.get(url, headers={"Range": "bytes=7-", "If-Range": '"v2"'}, timeout=60)
        assert other.status_code == 200
        over = session.get(url, headers={"Range": "bytes=10-"}, timeout=60)
        assert over.status_code == 416
        head = session.head(url, timeout=60)
        assert (head.headers["Content-Length"], head.content) == ("10", b"")
        assert session.get(f"{hostile.url}none", timeout=60).status_code == 404
    assert len(hostile.asked("/f?x=1", "GET")) == 6
    assert hostile.requests[1].header("If-None-Match") == '"v1"'


def test_the_hostile_server_changes_cuts_stalls_and_lies(hostile: HostileServer) -> None:
    def echo(seen: Seen) -> Reply:
        return Reply(body=seen.header("x-word").encode())

    hostile.put("/turns", Reply(503), Reply(body=b"1"), Reply(body=b"2"))
    got = [requests.get(f"{hostile.url}turns", timeout=60) for _ in range(4)]
    assert [one.status_code for one in got] == [503, 200, 200, 200]
    assert [one.content for one in got[1:]] == [b"1", b"2", b"2"]
    hostile.put("/here", redirect("/echo"))
    hostile.put("/echo", echo)
    assert requests.get(f"{hostile.url}here", headers={"X-Word": "w"}, timeout=60).content == b"w"
    hostile.put("/chunks", Reply(body=b"abc", chunked=True, repeat=3))
    assert requests.get(f"{hostile.url}chunks", timeout=60).content == b"abcabcabc"

    broken = {
        "/cut": Reply(body=b"x" * 100, cut_at=40),
        "/reset": Reply(body=b"x" * 100, cut_at=40, reset=True),
        "/long": Reply(body=b"x" * 100, length=200),
        "/half-chunk": Reply(body=b"x" * 100, chunked=True, cut_at=40),
        "/nothing": Reply(hang_up=True),
        "/slow": Reply(body=b"x" * 100, stall=30, stall_at=10),
        "/silent": Reply(stall=30),
    }
    for path, reply in broken.items():
        hostile.put(path, reply)
        with pytest.raises(requests.exceptions.RequestException):
            requests.get(hostile.url.rstrip("/") + path, timeout=0.3)
    hostile.put("/cut", broken["/cut"])
    with requests.get(f"{hostile.url}cut", stream=True, timeout=60) as cut:
        assert len(cut.raw.read(100, decode_content=False)) == 40


def test_the_hostile_server_is_a_proxy_too(hostile: HostileServer) -> None:
    hostile.put("http://repo.example.org/x", Reply(body=b"by proxy"))
    proxies = {"http": hostile.url}
    got = requests.get("http://repo.example.org/x", proxies=proxies, timeout=60)
    assert got.content == b"by proxy"


def test_postgres_gives_each_test_an_empty_database(postgres: Postgres, postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (n integer)"))
        version = connection.execute(sqlalchemy.text("SHOW server_version")).scalar_one()
    assert int(str(version).split(".")[0]) >= 13
    other = postgres.create()
    assert sqlalchemy.inspect(sqlalchemy.create_engine(other)).get_table_names() == []
    postgres.drop(other)
    with pytest.raises(sqlalchemy.exc.OperationalError, match="does not exist"):
        sqlalchemy.create_engine(other).connect()
    engine.dispose()


def test_a_missing_program_fails_and_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tools.PACKAGES, "no-such-program", ("deb-name", "rpm-name"))
    with pytest.raises(pytest.fail.Exception, match=r"deb-name \(Debian\) or rpm-name \(RHEL\)"):
        tools.need("no-such-program")


def test_spawned_programs_end_by_pid_and_early_ends_are_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = tools.spawn(["/bin/sh", "-c", "echo wrong flag >&2; exit 7"], log=log)
    with pytest.raises(AssertionError, match="ended\nwrong flag"):
        tools.wait_for_port(tools.free_port(), process, log=log)
    sleeper = tools.spawn(["/bin/sleep", "600"], log=log)
    before = time.monotonic()
    tools.stop(sleeper)
    assert sleeper.returncode is not None
    assert time.monotonic() - before < 60
