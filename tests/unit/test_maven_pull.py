"""What the capturing proxy believes, shares and keeps out. Every upstream here is a real server."""

from __future__ import annotations

import errno
import hashlib
import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from manifests.zone import Connection, Repository, Upstream
from manifests.zone.model import Maven
from mirror.maven.proxy import Proxy
from mirror.maven.pull import Pull
from store.records import RootKind
from store.seam import Kind, Operation, Seam
from store.store import Store
from tests.support.maven import artifact, jar, place, pom
from tests.support.mavenweb import MavenWeb, Said

TOOL = "org.example:tool:1.0"
JAR, POM = place(TOOL, ".jar"), place(TOOL, ".pom")
PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


@contextmanager
def capturing(
    store: Store, web: MavenWeb, *, timeout: float = 20, signatures: bool = False
) -> Iterator[tuple[Proxy, Pull]]:
    repository = Repository(
        name="central",
        format="maven",
        upstream=Upstream(urls=(web.url,)),
        connection=Connection(retries=0, timeout=timeout),
        maven=Maven(signatures=signatures),
    )
    with (
        Pull.opened(store, repository, actor="tester", pause=lambda _: None) as pull,
        Proxy(store, "central", pull).serving() as proxy,
    ):
        yield proxy, pull


def ask(proxy: Proxy, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    """Status, reason and body; the path goes out exactly as it is written."""
    parts = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.putrequest(method, parts.path + path, skip_accept_encoding=True)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.read()
    finally:
        connection.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "OUT") as opened:
        yield opened


def roots(store: Store) -> list[str]:
    with store.ledger.read() as tx:
        return [one.root for one in tx.roots("central") if one.kind is RootKind.CAPTURED]


def test_a_file_is_fetched_once_kept_and_answered_with_all_its_checksums(store: Store) -> None:
    files = artifact(TOOL)
    web = MavenWeb(files)
    with web.serving(), capturing(store, web) as (proxy, pull):
        for _ in range(3):
            assert ask(proxy, JAR) == (200, "OK", files[JAR])
        assert ask(proxy, JAR, "HEAD")[0] == 200
        for kind in ("sha1", "md5", "sha256", "sha512"):
            value = hashlib.new(kind, files[JAR]).hexdigest().encode()
            assert ask(proxy, f"{JAR}.{kind}")[::2] == (200, value)
        assert web.asked[JAR] == 1
        assert pull.tally.failures == {}
    assert roots(store) == [JAR]
    with store.ledger.read() as tx:
        kept = tx.fetched("central", JAR)
    assert kept is not None
    assert kept.stated == f"sha1 {hashlib.sha1(files[JAR]).hexdigest()}"
    assert store.blobs.has(kept.digest)
    with web.serving(), capturing(store, web) as (proxy, pull):
        assert ask(proxy, JAR)[0] == 200
        assert web.asked[JAR] == 1, "the store has it since the last session"


def test_a_miss_is_a_miss_and_becomes_no_root(store: Store) -> None:
    web = MavenWeb({})
    with web.serving(), capturing(store, web) as (proxy, pull):
        assert ask(proxy, JAR)[0] == 404
        assert ask(proxy, f"{JAR}.sha1")[0] == 404
        assert ask(proxy, "org/example/")[0] == 404
        assert ask(proxy, JAR, "PUT")[0] == 405
        assert pull.tally.failures == {}
    assert roots(store) == []


def test_the_strongest_checksum_of_the_upstream_counts(store: Store) -> None:
    files = artifact(TOOL)
    right = hashlib.sha1(files[JAR]).hexdigest().encode()
    web = MavenWeb(files, odd={f"{JAR}.sha1": right, f"{JAR}.sha512": b"0" * 128})
    with web.serving(), capturing(store, web) as (proxy, pull):
        status, reason, _ = ask(proxy, JAR)
        assert status == 502
        assert "sha512" in reason
        assert list(pull.tally.failures) == [TOOL]
    assert roots(store) == []


def test_checksum_files_as_others_write_them(store: Store) -> None:
    files = artifact(TOOL)
    value = hashlib.sha1(files[JAR]).hexdigest().upper()
    for text in (f"{value}  tool-1.0.jar\n", f"SHA1(tool-1.0.jar)= {value}\n"):
        web = MavenWeb(files, odd={f"{JAR}.sha1": text.encode()})
        with web.serving(), capturing(store, web) as (proxy, _):
            assert ask(proxy, JAR)[0] == 200


@pytest.mark.parametrize(
    ("path", "odd", "named", "why"),
    [
        (JAR, {JAR: PAGE}, TOOL, "sha1"),
        (JAR, {JAR: PAGE, f"{JAR}.sha1": Said(404)}, TOOL, "web page"),
        (JAR, {JAR: PAGE, f"{JAR}.sha1": PAGE}, TOOL, "web page"),
        (POM, {POM: PAGE, f"{POM}.sha1": Said(404)}, "org.example:tool:pom:1.0", ""),
        (JAR, {f"{JAR}.sha1": b"0" * 40}, TOOL, "sha1"),
        (
            POM,
            {POM: b'<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><project>&x;</project>',
             f"{POM}.sha1": Said(404)},
            "org.example:tool:pom:1.0",
            "document type",
        ),
        (
            POM,
            {POM: pom(TOOL, parent=TOOL), f"{POM}.sha1": Said(404)},
            "org.example:tool:pom:1.0",
            "own ancestor",
        ),
        (JAR, {JAR: Said(500)}, TOOL, "500"),
        (JAR, {JAR: Said(401)}, TOOL, "401"),
        (JAR, {JAR: Said(200, b"half", promised=100)}, TOOL, ""),
        (JAR, {JAR: Said(302, b"", {"Location": "http://localhost:1/tool.jar"})}, TOOL,
         "another host"),
    ],
)  # fmt: skip
def test_what_cannot_be_believed_is_kept_out_by_name_and_never_the_others(
    store: Store, path: str, odd: dict[str, object], named: str, why: str
) -> None:
    other = artifact("org.example:other:2.0")
    web = MavenWeb({**artifact(TOOL), **other}, odd=dict(odd))  # type: ignore[arg-type]
    with web.serving(), capturing(store, web, timeout=2) as (proxy, pull):
        status, reason, _ = ask(proxy, path)
        assert status == 502
        assert why in reason
        for fine in other:
            assert ask(proxy, fine)[0] == 200
        assert list(pull.tally.failures) == [named]
    assert roots(store) == sorted(other)


def test_the_pom_that_closes_a_cycle_of_parents_is_kept_out(store: Store) -> None:
    one, two = "org.example:one:1", "org.example:two:1"
    files = {place(one, ".pom"): pom(one, parent=two), place(two, ".pom"): pom(two, parent=one)}
    web = MavenWeb(files)
    with web.serving(), capturing(store, web) as (proxy, pull):
        assert ask(proxy, place(one, ".pom"))[0] == 200
        status, reason, _ = ask(proxy, place(two, ".pom"))
        assert status == 502 and "own ancestor" in reason
        assert list(pull.tally.failures) == ["org.example:two:pom:1"]
    assert roots(store) == [place(one, ".pom")]


def test_a_redirect_on_the_same_host_is_followed(store: Store) -> None:
    files = artifact(TOOL)
    web = MavenWeb(files, odd={JAR: Said(302, b"", {"Location": "/elsewhere.jar"}),
                               "elsewhere.jar": files[JAR]})  # fmt: skip
    with web.serving(), capturing(store, web) as (proxy, _):
        assert ask(proxy, JAR)[0] == 200


@pytest.mark.parametrize("validators", [True, False])
def test_a_file_without_checksum_must_be_the_same_twice(store: Store, validators: bool) -> None:
    versions = iter(jar({"n": str(n).encode()}) for n in range(100))
    files = artifact(TOOL)
    web = MavenWeb(files, sums=(), odd={JAR: lambda: next(versions)}, validators=validators)
    with web.serving(), capturing(store, web) as (proxy, pull):
        status, reason, _ = ask(proxy, JAR)
        assert status == 502
        assert "asked for again" in reason
        assert ask(proxy, POM)[0] == 200
        assert list(pull.tally.failures) == [TOOL]


def test_a_file_that_was_replaced_between_its_checksum_and_itself_is_asked_for_again(
    store: Store,
) -> None:
    old, new = jar({"n": b"old"}), jar({"n": b"new"})
    turns = iter([old, *[new] * 10])
    sha1 = hashlib.sha1(new).hexdigest().encode()
    web = MavenWeb({}, odd={JAR: lambda: next(turns), f"{JAR}.sha1": sha1})
    with web.serving(), capturing(store, web) as (proxy, pull):
        assert ask(proxy, JAR) == (200, "OK", new)
        assert pull.tally.failures == {}


@pytest.mark.parametrize(
    "path",
    [
        "org/../../etc/passwd",
        "org/%2e%2e/secret.jar",
        "org%2fexample/x.jar",
        "org/a%5cb.jar",
        "org/a%00b.jar",
        "org//x.jar",
        "org/%252e/x.jar",
        ".sluice/facts.json",
        "a%ff.jar",
    ],
)
def test_paths_that_lead_elsewhere_reach_no_upstream(store: Store, path: str) -> None:
    web = MavenWeb({})
    with web.serving(), capturing(store, web) as (proxy, pull):
        assert ask(proxy, path)[0] == 400
        assert len(pull.tally.failures) == 1
        assert not web.asked
    assert roots(store) == []


def test_signatures_come_along_where_the_upstream_has_them(store: Store) -> None:
    files = artifact(TOOL)
    signed = files | {f"{JAR}.asc": b"-----BEGIN PGP SIGNATURE-----"}
    web = MavenWeb(signed)
    with web.serving():
        with capturing(store, web) as (proxy, pull):
            assert ask(proxy, JAR)[0] == 200
        assert roots(store) == [JAR]
        # What is here already gets its signature, too, once it is asked for again.
        with capturing(store, web, signatures=True) as (proxy, pull):
            for path in (JAR, POM, JAR, f"{JAR}.sha1"):
                assert ask(proxy, path)[0] == 200
            assert pull.tally.failures == {}
        assert roots(store) == sorted(signed)
        assert web.asked[f"{POM}.asc"] == web.asked[f"{JAR}.asc"] == web.asked[JAR] == 1


def test_many_builds_share_one_download(store: Store) -> None:
    files = artifact(TOOL)
    web = MavenWeb(files, odd={JAR: Said(200, files[JAR], before=0.5)})
    answers: list[tuple[int, str, bytes]] = []
    with web.serving(), capturing(store, web) as (proxy, pull):
        threads = [
            threading.Thread(target=lambda: answers.append(ask(proxy, JAR))) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [(200, "OK", files[JAR])] * 12
        assert web.asked[JAR] == 1
        assert pull.tally.fetched == 1


@pytest.mark.parametrize("broken", [Said(500), PAGE])
def test_many_builds_share_one_failure_and_the_next_asks_again(
    store: Store, broken: Said | bytes
) -> None:
    """Nobody waits for ever, nobody gets bytes that were not kept, nothing stays behind."""
    files = artifact(TOOL)
    first = threading.Event()

    def odd() -> Said | bytes:
        if first.is_set():
            return files[JAR]
        time.sleep(0.5)  # so that all wait for it
        return broken

    web = MavenWeb(files, odd={JAR: odd})
    answers: list[int] = []
    with web.serving(), capturing(store, web) as (proxy, pull):
        threads = [
            threading.Thread(target=lambda: answers.append(ask(proxy, JAR)[0])) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [502] * 12
        assert web.asked[JAR] < 12
        assert list(pull.tally.failures) == [TOOL]
        assert roots(store) == []
        first.set()
        assert ask(proxy, JAR) == (200, "OK", files[JAR])
    assert roots(store) == [JAR]


def test_many_builds_share_one_refusing_disk(tmp_path: Path) -> None:
    files = artifact(TOOL)
    web = MavenWeb(files, odd={JAR: Said(200, files[JAR], before=0.5)})
    full = threading.Event()

    def observe(operation: Operation) -> None:
        if full.is_set() and operation.kind is Kind.LINK:
            raise OSError(errno.ENOSPC, "No space left on device")

    answers: list[int] = []
    with (
        Store.open(tmp_path / "OUT", files=Seam(observe)) as store,
        web.serving(),
        capturing(store, web) as (proxy, pull),
    ):
        full.set()
        threads = [
            threading.Thread(target=lambda: answers.append(ask(proxy, JAR)[0])) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [507] * 6
        assert roots(store) == []
        with store.ledger.read() as tx:
            assert tx.fetched("central", JAR) is None
        full.clear()
        assert ask(proxy, JAR) == (200, "OK", files[JAR])
        assert pull.tally.failures == {}
        assert roots(store) == [JAR]


def test_metadata_passes_but_is_no_root(store: Store) -> None:
    path = "org/example/tool/maven-metadata.xml"
    data = (
        b"<metadata><versioning><versions><version>1.0</version></versions></versioning></metadata>"
    )
    web = MavenWeb({path: data})
    with web.serving(), capturing(store, web) as (proxy, _):
        assert ask(proxy, path)[::2] == (200, data)
        assert ask(proxy, f"{path}.sha1")[0] == 200
        assert web.asked[path] == 1
    assert roots(store) == []


def test_what_was_fetched_survives_garbage_collection(store: Store) -> None:
    from store.gc import collect

    files = artifact(TOOL)
    web = MavenWeb(files)
    with web.serving(), capturing(store, web) as (proxy, _):
        assert ask(proxy, JAR)[0] == 200
    collect(store)
    with store.ledger.read() as tx:
        kept = tx.fetched("central", JAR)
    assert kept is not None
    assert store.blobs.has(kept.digest)
