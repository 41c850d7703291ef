"""Images from a real registry, across the gap, into real clients: two cycles and a want."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.support.images import Descriptor, Layout
from tests.support.podman import Podman
from tests.support.registry import Registry
from tests.support.skopeo import Skopeo
from tests.support.zones import Serving, Zones

ORIGIN = "registry.example.com"
NAME = f"{ORIGIN}/team/app"
GRACE = 15.0
LAYER = 3 << 20
SETUP = ("registries.conf", f"containerd/{ORIGIN}/hosts.toml", "openshift/mirror-set.yaml",
         "openshift/3.11-inventory.ini", "docker/daemon.json")  # fmt: skip


class Upstream:
    """A registry with an image that changes."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.layout = layout = Layout(folder)
        self.registry = registry
        self.shared = layout.random_layer(LAYER, 1)
        self.app = layout.index(
            [layout.image("app one\n", architecture=each, layers=[self.shared]) for each in
             ("amd64", "arm64")]
        )  # fmt: skip
        self.next = layout.image("app two\n", layers=[self.shared])
        self.old = layout.image("old\n", docker=True)
        self.tool = layout.image("tool\n")
        self.sbom = layout.artifact("application/vnd.example.sbom", subject=self.app)
        registry.push(layout, "team/app", self.app, "v1", "latest")
        registry.push(layout, "team/app", self.old, "old")
        registry.push(layout, "team/tool", self.tool, "1")
        registry.attach(layout, "team/app", self.sbom)

    def change(self) -> None:
        """A tag moves and a tag goes."""
        self.registry.push(self.layout, "team/app", self.next, "latest")
        self.registry.untag("team/app", "old")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Registry() as registry:
        yield Upstream(tmp_path / "layout", registry)


@pytest.fixture
def zones(upstream: Upstream, tmp_path: Path) -> Zones:
    platform = {
        "format": "oci",
        "upstream": upstream.registry.url,
        "images": [{"name": "team/app"}],
        "referrers": True,
        "replaces": ORIGIN,
        "max_removals": "100%",
    }
    return Zones(
        tmp_path / "zones",
        {"platform": platform},
        inside={
            "serve": {
                "grace": f"{GRACE:.0f}s",
                "registries": {"platform": {"listen": "127.0.0.1:0", "hosts": "images.test"}},
            }
        },
    )


@pytest.fixture
def podman() -> Iterator[Podman]:
    with tempfile.TemporaryDirectory(prefix="sl-", dir="/tmp") as folder:
        made = Podman(Path(folder))
        yield made
        made.close()


def fetch(server: Serving, path: str) -> bytes:
    with urlopen(server.url + path, timeout=60) as answer:
        body: bytes = answer.read()
    return body


def setup_files(server: Serving) -> dict[str, bytes]:
    """Whatever the port of this run is."""
    host = server.url.removeprefix("http://").encode()
    return {name: fetch(server, f"/setup/{name}").replace(host, b"HOST") for name in SETUP}


def same(layout: Layout, what: Descriptor, copy: Path) -> bool:
    """Whether a client's copy is the original, blob for blob."""
    wanted = {one.hex: layout.read(one) for one in layout.within(what)}
    found = {each.name: each.read_bytes() for each in (copy / "blobs/sha256").iterdir()}
    return found == wanted


def test_two_cycles_of_images(
    zones: Zones, upstream: Upstream, podman: Podman, tmp_path: Path
) -> None:
    skopeo = Skopeo(tmp_path / "skopeo")
    zones.cross()
    with zones.serving(workers=1) as server:
        upstream.registry.stop()  # nothing but ours is there
        host = server.url.removeprefix("http://")
        podman.configure(fetch(server, "/setup/registries.conf").decode())
        podman.pull(f"{NAME}:v1", verify=True)
        assert podman.start(f"{NAME}:v1") == "app one\n"
        podman.pull(f"{NAME}@{upstream.old.digest}", verify=True)
        skopeo.copy(f"docker://{host}/platform/team/app:v1", f"oci:{tmp_path / 'copy'}:v1")
        assert same(upstream.layout, upstream.app, tmp_path / "copy")
        said = re.search(r"^platform alone at http://(\S+)$", server.log.read_text(), re.MULTILINE)
        assert said is not None
        assert skopeo.raw(f"docker://{said[1]}/team/app:v1") == upstream.layout.read(upstream.app)
        by_host = Request(f"{server.url}/v2/team/app/tags/list", headers={"Host": "images.test"})
        with urlopen(by_host, timeout=60) as answer:
            assert json.load(answer)["name"] == "team/app"
        path = f"/v2/platform/team/app/referrers/{upstream.app.digest}"
        rows = json.loads(fetch(server, path))["manifests"]
        assert [row["digest"] for row in rows] == [upstream.sbom.digest]
        before = setup_files(server)

        upstream.registry.start()
        upstream.change()
        zones.out("sync")
        zones.out("pack")
        zones.out("send")
        crossing = sum(part.stat().st_size for part in (zones.outside / "outbox").iterdir())
        assert crossing < LAYER / 4, "the shared layer crossed again"
        assert zones.carry()
        zones.within("receive", "--once")
        published = time.monotonic()
        image = f"docker://{host}/{NAME}"
        while skopeo.tags(image) != ["latest", f"sha256-{upstream.app.hex}", "v1"]:
            assert time.monotonic() - published < GRACE
        # A deleted tag is gone at once; who knows its digest may finish, for a while.
        assert skopeo.raw(f"{image}@{upstream.old.digest}") == upstream.layout.read(upstream.old)
        gone = podman.pull(f"{NAME}:old", verify=True, check=False)
        assert "team/app:old is not mirrored here" in gone.stderr
        podman.pull(f"{NAME}:latest", verify=True)
        assert podman.start(f"{NAME}:latest") == "app two\n"
        assert setup_files(server) == before
        time.sleep(max(0.0, published + GRACE + 0.5 - time.monotonic()))
        failed = skopeo.run("inspect", "--raw", "--tls-verify=false",
                            f"{image}@{upstream.old.digest}", check=False)  # fmt: skip
        assert failed.returncode != 0 and "is not mirrored here" in failed.stderr
        # Its snapshot has a name of its own.
        pinned = f"docker://{host}/platform__1/team/app:old"
        assert skopeo.raw(pinned) == upstream.layout.read(upstream.old)


def test_a_missed_image_comes_as_a_want_with_all_that_it_needs(
    zones: Zones, upstream: Upstream, podman: Podman, tmp_path: Path
) -> None:
    zones.cross()
    name = f"{ORIGIN}/team/tool:1"
    with zones.serving(workers=1) as server:
        podman.configure(fetch(server, "/setup/registries.conf").decode())
        assert podman.pull(name, verify=True, check=False).returncode != 0
    wants = json.loads(zones.within("wants", "--json").out)["wants"]
    assert [(each["repository"], each["want"]) for each in wants] == [("platform", "team/tool:1")]
    note = tmp_path / "wants.txt"
    zones.within("wants", "export", note)
    assert note.read_text() == "sluice-wants 1 hq\nplatform team/tool:1\n"
    zones.out("wants", "import", note, "--accept")
    zones.cross()
    assert json.loads(zones.within("wants", "--json").out)["wants"] == []
    with zones.serving(workers=1) as server:
        podman.configure(fetch(server, "/setup/registries.conf").decode())
        podman.pull(name, verify=True)
        assert podman.start(name) == "tool\n"
