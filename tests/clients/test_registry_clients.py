"""skopeo, podman and a second registry before the real server."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.zone.served import Registry as Registered
from tests.clients.test_registry_http import ORIGIN, ask
from tests.support.images import HERE, Layout
from tests.support.imagetrees import overlay, tree
from tests.support.podman import Podman
from tests.support.registry import Registry
from tests.support.served import Published, Serving
from tests.support.skopeo import Skopeo


class Site:
    """Two publications of one repository, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.layout = layout = Layout(folder / "layout")
        common = layout.layer({"data/common": b"common" * 5000})
        self.app = layout.index(
            [layout.image("app one\n", architecture=each, layers=[common]) for each in
             ("amd64", "arm64")]
        )  # fmt: skip
        self.docker = layout.image("docker\n", docker=True)
        self.zstd = layout.image("zstd\n", compression="zstd")
        self.moved = layout.image("app two\n", layers=[common])
        self.sbom = layout.artifact("application/vnd.example.sbom", subject=self.app)
        self.published = Published(folder / "store")

    def first(self) -> None:
        tags = {"team/app:v1": self.app, "team/app:latest": self.app, "team/app:old": self.docker,
                "team/app:zstd": self.zstd}  # fmt: skip
        self._publish(tree(self.layout, tags, also={"team/app": (self.sbom,)}, replaces=ORIGIN))

    def second(self) -> None:
        tags = {"team/app:v1": self.app, "team/app:latest": self.moved}
        self._publish(tree(self.layout, tags, replaces=ORIGIN))

    def _publish(self, files: dict[str, bytes]) -> None:
        self.published.publish("platform", files, format="oci", overlay=overlay(files))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    made.first()
    yield made
    made.published.close()


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Serving]:
    registries = {"platform": Registered(listen=("127.0.0.1", 0))}
    with Serving(site.published.store.folder, registries=registries) as serving:
        yield serving


@pytest.fixture
def podman() -> Iterator[Podman]:
    with tempfile.TemporaryDirectory(prefix="sl-", dir="/tmp") as folder:
        made = Podman(Path(folder))
        yield made
        made.close()


def registries_conf(server: Serving) -> str:
    status, _, body = ask(server, "/setup/registries.conf")
    assert status == 200
    return body.decode()


def blobs(layout: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (layout / "blobs/sha256").iterdir()}


def test_what_skopeo_copies_is_the_original_blob_for_blob(
    server: Serving, site: Site, tmp_path: Path
) -> None:
    skopeo = Skopeo(tmp_path / "skopeo")
    host = server.url.removeprefix("http://")
    name = f"docker://{host}/platform/team/app"
    assert skopeo.tags(name) == ["latest", "old", "v1", "zstd"]
    told = skopeo.inspect(f"{name}:v1")
    assert told["Architecture"] == HERE and told["Digest"] == site.app.digest
    assert skopeo.raw(f"{name}@{site.app.digest}") == site.layout.read(site.app)
    for source, what in (("v1", site.app), ("old", site.docker), ("zstd", site.zstd)):
        target = tmp_path / source
        skopeo.copy(f"{name}:{source}", f"oci:{target}:x")
        wanted = {one.hex: site.layout.read(one) for one in site.layout.within(what)}
        assert blobs(target).items() >= wanted.items()
    # The same at the root of a port of its own.
    own = server.server.urls["platform"].removeprefix("http://")
    skopeo.copy(f"docker://{own}/team/app@{site.app.digest}", f"oci:{tmp_path / 'own'}:x")
    assert blobs(tmp_path / "own").keys() >= {site.app.hex}


def test_skopeo_fills_a_second_registry(server: Serving, site: Site, tmp_path: Path) -> None:
    skopeo = Skopeo(tmp_path / "skopeo")
    host = server.url.removeprefix("http://")
    with Registry() as second:
        skopeo.sync(f"{host}/platform/team/app", second.host)
        for tag, what in (("v1", site.app), ("latest", site.app), ("old", site.docker)):
            _, headers, body = second.call("GET", f"/v2/app/manifests/{tag}",
                                           accept=what.media_type)  # fmt: skip
            assert body == site.layout.read(what)
            assert headers["docker-content-digest"] == what.digest
        for one in site.layout.within(site.docker):
            if one.digest != site.docker.digest:
                body = second.call("GET", f"/v2/app/blobs/{one.digest}")[2]
                assert body == site.layout.read(one)


def test_podman_pulls_and_runs_by_the_original_name(
    server: Serving, site: Site, podman: Podman
) -> None:
    podman.configure(registries_conf(server))
    name = f"{ORIGIN}/team/app"
    podman.pull(f"{name}:v1", verify=True)
    assert podman.start(f"{name}:v1") == "app one\n"
    podman.pull(f"{name}@{site.docker.digest}", verify=True)
    assert podman.start(f"{name}@{site.docker.digest}") == "docker\n"
    assert site.docker.digest in podman.images()
    # By our own name, too.
    host = server.url.removeprefix("http://")
    podman.pull(f"{host}/platform/team/app:zstd", verify=True)
    assert podman.start(f"{host}/platform/team/app:zstd") == "zstd\n"
    failed = podman.pull(f"{name}:none", verify=True, check=False)
    assert failed.returncode != 0
    assert "team/app:none is not mirrored here; the request was noted as a want" in failed.stderr
    assert "blocked" in failed.stderr and "lookup" not in failed.stderr


def test_set_up_files_stay_the_same_while_images_change(
    server: Serving, site: Site, podman: Podman
) -> None:
    names = ("registries.conf", f"containerd/{ORIGIN}/hosts.toml", "openshift/mirror-set.yaml",
             "openshift/3.11-inventory.ini", "docker/daemon.json")  # fmt: skip
    before = [ask(server, f"/setup/{name}") for name in names]
    assert [got[0] for got in before] == [200] * len(names)
    assert [got[2] for got in before] == [ask(server, f"/setup/{name}")[2] for name in names]
    site.second()
    moved = f"/v2/platform/team/app/manifests/{site.moved.digest}"
    while ask(server, moved)[0] != 200:
        pass
    assert [got[2] for got in before] == [ask(server, f"/setup/{name}")[2] for name in names]
    podman.configure(registries_conf(server))
    podman.pull(f"{ORIGIN}/team/app:latest", verify=True)
    assert podman.start(f"{ORIGIN}/team/app:latest") == "app two\n"
    assert podman.pull(f"{ORIGIN}/team/app:old", verify=True, check=False).returncode != 0
    # A node that was told the old digest a moment ago still gets it.
    podman.pull(f"{ORIGIN}/team/app@{site.docker.digest}", verify=True)
    tags = json.loads(ask(server, "/v2/platform/team/app/tags/list")[2])["tags"]
    assert tags == ["latest", "v1"]
