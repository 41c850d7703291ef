"""Images whose signatures the inside asks for itself, whatever the outside let through."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cosign import Signer, signature_tag
from tests.support.images import Descriptor, Layout
from tests.support.registry import Registry
from tests.support.zones import Zones

IMAGE = "team/app"
NAMED = f"registry.example.com/{IMAGE}"


class Upstream:
    """A registry with one image."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.layout = Layout(folder)
        self.registry = registry
        self.signer = Signer()

    def push(self, text: str, *, signed: bool) -> Descriptor:
        what = self.registry.push(self.layout, IMAGE, self.layout.image(text), "v1")
        if signed:
            self.sign(what)
        return what

    def sign(self, what: Descriptor) -> None:
        made = self.signer.sign(self.layout, what, NAMED)
        self.registry.push(self.layout, IMAGE, made, signature_tag(what))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Registry() as registry:
        yield Upstream(tmp_path / "layout", registry)


def zones_of(upstream: Upstream, folder: Path, key: Signer, **outside: object) -> Zones:
    """``key`` is pinned inside."""
    platform = {
        "format": "oci",
        "upstream": upstream.registry.url,
        "images": [IMAGE],
        "referrers": True,
        "max_removals": "100%",
        **outside,
    }
    require = {"platform": {"signed_by": "keys/cosign.pub"}}
    made = Zones(folder, {"platform": platform}, inside={"require": require})
    (made.inside / "keys").mkdir(exist_ok=True)
    key.write(made.inside / "keys/cosign.pub")
    return made


def holds(zones: Zones) -> dict[str, str]:
    return {one["repository"]: one["reason"] for one in zones.status()["holds"]}


def test_an_outside_that_asks_for_no_signature_publishes_nothing_unsigned(
    upstream: Upstream, tmp_path: Path
) -> None:
    first = upstream.push("first\n", signed=True)
    zones = zones_of(upstream, tmp_path / "zones", upstream.signer)
    zones.cross()
    second = upstream.push("second\n", signed=False)
    zones.cross(expect=3)
    assert "team/app/_tags/v1: it is not signed" in holds(zones)["platform"]
    with zones.serving(workers=1) as server:
        host = server.url.removeprefix("http://")
        accept = first.media_type
        got = _get(host, f"/v2/platform/{IMAGE}/manifests/v1", accept)
        assert got == (200, upstream.layout.read(first))
        path = f"/v2/platform/{IMAGE}/manifests/{second.digest}"
        assert _get(host, path, accept)[0] == 404
    upstream.sign(second)
    zones.cross()
    assert holds(zones) == {}


def test_another_key_inside_refuses_what_the_outside_took(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.push("first\n", signed=True)
    zones = zones_of(upstream, tmp_path / "zones", Signer(), signed_by="keys/cosign.pub")
    upstream.signer.write(zones.outside / "keys/cosign.pub")
    zones.cross(expect=3)
    assert "signed, but by no trusted key" in holds(zones)["platform"]
    # The parts are not needed any more: only the key was wrong.
    upstream.signer.write(zones.inside / "keys/cosign.pub")
    zones.within("receive", "--once")
    assert holds(zones) == {}
    # The outside's key came along, offered and trusted by nobody.
    listed = zones.within("keys", "list").out
    assert "pinned in zone.yaml" in listed
    said = json.loads(zones.within("status", "--json").out)
    assert said["holds"] == []


def _get(host: str, path: str, accept: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
