"""Set-up files of container clients: what stands in them, by how the server is reached."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.errors import ConfigError
from manifests.zone.served import Registry, Serve
from repo_server import Settings
from repo_server.origins import Images, origins_of
from repo_server.setup import Asked, Refusal, asked, find
from repo_server.site import Site
from sluice.commands.serving import certificates
from tests.support.images import Layout
from tests.support.imagetrees import tree
from tests.support.served import Published
from tests.support.zones import Zones

PLAIN = "http://mirror.example.org:8080"
SECURE = "https://mirror.example.org"
CA = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
ONE, OTHER = "registry.example.com", "other.example.com:5000"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("setup")
    layout = Layout(folder / "layout")
    made = Published(folder / "store")
    for name, origin in (("platform", ONE), ("second", OTHER), ("third", ONE)):
        files = tree(layout, {"a:1": layout.image()}, replaces=origin)
        made.publish(name, files, format="oci", overlay={})
    yield made
    made.close()


def site(published: Published, ca: str = "", **registries: Registry) -> Site:
    settings = Settings(store=published.store.folder, ca=ca, serve=Serve(registries=registries))
    return Site.load(published.store, settings)


def made(where: Site, name: str, base: str = PLAIN, query: str = "") -> str:
    text = refused_or_made(where, name, base, query)
    assert isinstance(text, bytes), text
    return text.decode()


def refused_or_made(where: Site, name: str, base: str, query: str) -> bytes | Refusal:
    file, words = find(where, name), asked(base, query)
    assert file is not None and isinstance(words, Asked)
    return file.make(words)


def test_no_stream_takes_a_registry_of_another(published: Published) -> None:
    def images(name: str, stream: str) -> Images:
        live = Site.load(published.store, Settings(store=Path())).repositories[name]
        return Images(name, stream, lambda: live.edition.view)

    some = [images("third", "one"), images("platform", "one"), images("second", "other")]
    assert origins_of(Serve(), some) == {OTHER: ("second",), ONE: ("platform", "third")}
    some[0] = images("third", "another")
    assert origins_of(Serve(), some) == {OTHER: ("second",)}
    given = Serve(registries={"third": Registry(replaces=(ONE,))})
    assert origins_of(given, some) == {OTHER: ("second",), ONE: ("third",)}
    given = Serve(registries={"third": Registry(replaces=())})
    assert origins_of(given, some) == {OTHER: ("second",), ONE: ("platform",)}


def test_status_tells_of_a_registry_that_two_streams_claim(tmp_path: Path) -> None:
    zones = Zones(tmp_path, {})
    layout = Layout(tmp_path / "layout")
    made = Published(zones.inside)
    for name, stream, origin in (
        ("aaa", "hq", ONE), ("bbb", "other", ONE), ("ccc", "hq", OTHER), ("ddd", "hq", "No one"),
    ):  # fmt: skip
        files = tree(layout, {"a:1": layout.image()}, replaces=origin)
        live = made.publish(name, files, format="oci", overlay={})
        with made.store.ledger.write() as tx:
            tx.publish([replace(live, stream=stream)])
    made.close()
    claimed, unusable = sorted(w for w in zones.status()["warnings"] if "replaces" in w)
    assert claimed.startswith("aaa (of hq), bbb (of other) of different streams")
    assert ONE in claimed and "serve: registries: NAME: replaces" in claimed
    assert unusable.startswith("ddd: ") and "'No one'" in unusable
    assert "warning: aaa (of hq)" in zones.within("status").out
    zones.configure_inside(serve={"registries": {"bbb": {"replaces": ONE}}})
    assert not any(ONE in warning for warning in zones.status()["warnings"])


def test_registries_conf(published: Published) -> None:
    where = site(published)
    found = tomllib.loads(made(where, "registries.conf"))["registry"]
    assert found == [
        {"prefix": OTHER, "location": OTHER, "blocked": True, "mirror": [
            {"location": "mirror.example.org:8080/other.example.com_5000", "insecure": True}]},
        {"prefix": ONE, "location": ONE, "blocked": True, "mirror": [
            {"location": f"mirror.example.org:8080/{ONE}", "insecure": True}]},
        {"location": "mirror.example.org:8080", "insecure": True},
    ]  # fmt: skip
    found = tomllib.loads(made(where, "registries.conf", SECURE))["registry"]
    assert found[1]["mirror"] == [{"location": f"mirror.example.org/{ONE}"}] and len(found) == 2


def test_hosts_toml(published: Published) -> None:
    where = site(published, ca=CA)
    name = f"containerd/{OTHER}/hosts.toml"
    rules: dict[str, Any] = {"capabilities": ["pull", "resolve"]}
    assert tomllib.loads(made(where, name)) == {"server": PLAIN, "host": {PLAIN: rules}}
    rules["ca"] = f"/etc/containerd/certs.d/{OTHER}/ca.crt"
    found = tomllib.loads(made(where, name, f"{SECURE}/below"))
    assert found == {"server": SECURE, "host": {SECURE: rules}}
    assert find(where, "containerd/unknown.example.com/hosts.toml") is None
    assert made(where, "ca.crt") == CA
    assert isinstance(refused_or_made(site(published), "ca.crt", PLAIN, ""), Refusal)


def test_mirror_sets(published: Published) -> None:
    where = site(published, ca=CA)
    text = made(where, "openshift/mirror-set.yaml")
    digests, tags = yaml.safe_load_all(text)
    rows = [
        {"source": OTHER, "mirrors": ["mirror.example.org:8080/other.example.com_5000"],
         "mirrorSourcePolicy": "NeverContactSource"},
        {"source": ONE, "mirrors": [f"mirror.example.org:8080/{ONE}"],
         "mirrorSourcePolicy": "NeverContactSource"},
    ]  # fmt: skip
    assert digests["kind"] == "ImageDigestMirrorSet" and tags["kind"] == "ImageTagMirrorSet"
    assert digests["apiVersion"] == tags["apiVersion"] == "config.openshift.io/v1"
    assert digests["spec"] == {"imageDigestMirrors": rows}
    assert tags["spec"] == {"imageTagMirrors": rows}
    assert '"insecureRegistries":["mirror.example.org:8080"]' in text
    query = "kind=ImageContentSourcePolicy"
    older = yaml.safe_load(made(where, "openshift/mirror-set.yaml", SECURE, query))
    assert older["apiVersion"] == "operator.openshift.io/v1alpha1"
    assert older["spec"]["repositoryDigestMirrors"][1] == {
        "source": ONE, "mirrors": [f"mirror.example.org/{ONE}"],
    }  # fmt: skip
    assert "# kind: ImageContentSourcePolicy\n" in text
    assert "additionalTrustedCA" in made(where, "openshift/mirror-set.yaml", SECURE)


def test_inventory(published: Published) -> None:
    name = "openshift/3.11-inventory.ini"
    where = site(published)
    assert isinstance(refused_or_made(where, name, PLAIN, ""), Refusal)
    lines = made(where, name, query=f"registry={ONE}").splitlines()
    assert (
        f"oreg_url=mirror.example.org:8080/{ONE}/openshift3/ose-${{component}}:${{version}}"
        in lines
    )
    assert "openshift_docker_insecure_registries=mirror.example.org:8080" in lines
    assert f"openshift_docker_blocked_registries={OTHER},{ONE}" in lines
    where = site(published, third=Registry(listen=("0.0.0.0", 5000)))
    lines = made(where, name, SECURE, f"registry={ONE}").splitlines()
    assert "oreg_url=mirror.example.org:5000/openshift3/ose-${component}:${version}" in lines
    assert "openshift_docker_additional_registries=mirror.example.org:5000" in lines


def test_daemon_json(published: Published) -> None:
    name = "docker/daemon.json"
    found = json.loads(made(site(published), name))
    assert found == {"insecure-registries": ["mirror.example.org:8080"]}
    port = Registry(listen=("0.0.0.0", 5000))
    found = json.loads(made(site(published, second=port), name))
    assert found == {
        "registry-mirrors": ["http://mirror.example.org:5000"],
        "insecure-registries": ["mirror.example.org:5000", "mirror.example.org:8080"],
    }
    both = site(published, second=port, third=Registry(hosts=("images.example.org",)))
    assert isinstance(refused_or_made(both, name, SECURE, ""), Refusal)
    found = json.loads(made(both, name, SECURE, "repository=third"))
    assert found == {"registry-mirrors": ["https://images.example.org"]}
    assert isinstance(refused_or_made(both, name, SECURE, "repository=platform"), Refusal)


def test_no_private_key_is_given_to_clients(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(CA)
    assert certificates(file) == CA
    file.write_text(f"{CA}-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match="private key"):
        certificates(file)
    file.write_text("nothing")
    with pytest.raises(ConfigError, match="no certificate"):
        certificates(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        certificates(tmp_path / "none.pem")


def test_nothing_without_images(tmp_path: Path) -> None:
    published = Published(tmp_path)
    published.publish("rpms", {"repodata/repomd.xml": b"<repomd/>"})
    where = site(published)
    for name in ("registries.conf", "openshift/mirror-set.yaml", "docker/daemon.json"):
        assert find(where, name) is None
    published.close()
