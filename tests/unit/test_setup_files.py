"""What a Host header may put into a .repo file, and marks in shared memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manifests.zone.served import Serve
from repo_server.marks import Marks, identity
from repo_server.settings import Limits, Settings
from repo_server.setup import base_url

_LOCAL = ("192.0.2.7", 8080)


@pytest.mark.parametrize(
    "host",
    ["mirror.example.org", "mirror.example.org:8080", "192.0.2.1:80", "[2001:db8::1]:8080", "a"],
)
def test_a_host_is_repeated(host: str) -> None:
    assert base_url(Settings(store=Path()), host, _LOCAL) == f"http://{host}"


@pytest.mark.parametrize(
    "host",
    [None, "", "a b", "a\ngpgcheck=0", "a/b", "user@a", "a:port", "$(id)", "-a", "[::1", "a" * 300,
     "<script>", "a\\b", "a?b"],
)  # fmt: skip
def test_anything_else_is_replaced_by_our_own_address(host: str | None) -> None:
    assert base_url(Settings(store=Path()), host, _LOCAL) == "http://192.0.2.7:8080"


def test_the_external_url_wins() -> None:
    settings = Settings(store=Path(), serve=Serve(external_url="https://mirror.example.org/x"))
    assert base_url(settings, "other", _LOCAL) == "https://mirror.example.org/x"


def test_settings_survive_the_way_to_a_worker(tmp_path: Path) -> None:
    settings = Settings(
        store=tmp_path,
        ledger_url="postgresql://db.example.org/sluice",
        ledger_password="secret",
        serve=Serve(workers=3, grace=5.0),
        keys={"baseos": ("key one", "key two")},
        repository_key="ours",
        access_log=True,
        limits=Limits(connections=7),
    )
    assert Settings.from_json(settings.to_json()) == settings
    assert "secret" not in repr(settings)


def test_marks_are_shared_and_tell_clients_apart() -> None:
    fd = Marks.create()
    one, other = Marks.attach(fd), Marks.attach(fd)
    os.close(fd)
    edition = identity("baseos", 7)
    one.put("192.0.2.1", "baseos", "repodata/repomd.xml", edition)
    assert other.get("192.0.2.1", "baseos", "repodata/repomd.xml") == edition
    assert other.get("192.0.2.2", "baseos", "repodata/repomd.xml") == 0
    assert other.get("192.0.2.1", "extras", "repodata/repomd.xml") == 0
