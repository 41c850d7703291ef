"""Checksums of Maven files over the real server: remembered, denied, as long there as the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.digest import sha256_of
from tests.clients.test_serving_http import get
from tests.support.maven import artifact, overlay, place
from tests.support.served import Published, Serving, eventually

ONE, TWO = "org.example:app:1.0", "org.example:app:2.0"
JAR = place(ONE, ".jar")
META = "org/example/app/maven-metadata.xml"


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    made = Published(tmp_path / "store")
    yield made
    made.close()


def publish(published: Published, files: dict[str, bytes]) -> None:
    published.publish("lib", files, format="maven", overlay=overlay(files))


def test_checksums_live_and_end_with_their_file(published: Published) -> None:
    old, new = artifact(ONE), artifact(TWO)
    publish(published, old)
    sums = {kind: hashlib.new(kind, old[JAR]).hexdigest().encode()
            for kind in ("sha1", "md5", "sha256", "sha512")}  # fmt: skip
    with Serving(published.store.folder, workers=1) as server:
        for _ in range(3):  # worked out, then remembered
            for kind, value in sums.items():
                status, headers, body = get(server, f"/maven/lib/{JAR}.{kind}")
                assert (status, body) == (200, value)
                assert headers["content-length"] == str(len(value))
                assert headers["content-type"] == "text/plain"
        tag = headers["etag"]
        path = f"/maven/lib/{JAR}.sha512"
        assert get(server, path, If_None_Match=tag)[0] == 304
        assert get(server, path, Range="bytes=2-5")[::2] == (200, sums["sha512"])
        head = get(server, path, method="HEAD")
        assert head[::2] == (200, b"") and head[1]["content-length"] == "128"

        before = get(server, f"/maven/lib/{META}.sha1")[2]
        publish(published, new)
        eventually(lambda: get(server, f"/maven/lib/{META}.sha1")[2] != before)
        for kind, value in sums.items():  # a build goes on that began before the switch
            assert get(server, f"/maven/lib/{JAR}")[2] == old[JAR]
            assert get(server, f"/maven/lib/{JAR}.{kind}")[::2] == (200, value)
        assert get(server, f"/maven/lib/{JAR}.asc.sha1")[0] == 404

        published.deny(sha256_of(old[JAR]))
        eventually(lambda: get(server, f"/maven/lib/{JAR}")[0] == 451)
        assert get(server, f"/maven/lib/{JAR}.sha1")[0] == 451
    with Serving(published.store.folder, workers=1, grace=0) as server:
        assert get(server, f"/maven/lib/{JAR}.sha1")[0] == 404
        jar = new[place(TWO, ".jar")]
        told = get(server, f"/maven/lib/{place(TWO, '.jar')}.sha1")[2]
        assert told == hashlib.sha1(jar).hexdigest().encode()
