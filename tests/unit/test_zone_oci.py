"""What zone.yaml may say of a repository of images, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import ConfigError
from manifests.formats.oci.rules import Asked, ImageRule, asked
from manifests.zone import OutsideZone, parse
from manifests.zone.model import Repository
from mirror.settings import spec_of

FOLDER = Path("/zone")
FORMATS = frozenset({"yum", "oci", "maven"})
DIGEST = "sha256:" + "a" * 64


def repository(settings: str, upstream: str = "https://registry.example.com") -> Repository:
    lines = "".join(f"    {line}\n" for line in settings.splitlines())
    zone = parse(
        f"zone: outside\nrepositories:\n  r:\n    format: oci\n    upstream: {upstream}\n{lines}",
        FOLDER,
        FORMATS,
    )
    assert isinstance(zone, OutsideZone)
    return zone.repositories["r"]


def test_everything_that_can_be_said() -> None:
    found = repository(
        f"""images:
  - {{name: team/app, tags: ["v1.*", latest, '/^\\d+$/']}}
  - {{name: "base/*", newest: 3, platforms: [linux/amd64, linux/arm64/v8]}}
  - {{name: tools, digests: {DIGEST}}}
  - team/db
  - team/db:16
  - team/db@{DIGEST}
referrers: true
replaces: registry.example.com:5000
strict: true
clients: docker-1.13
auth_file: secrets/auth.json"""
    )
    assert found.oci.auth_file == FOLDER / "secrets/auth.json"
    assert found.oci.asked == Asked(
        images=(
            ImageRule("team/app", tags=("v1.*", "latest", "/^\\d+$/")),
            ImageRule("base/*", newest=3, platforms=("linux/amd64", "linux/arm64/v8")),
            ImageRule("tools", digests=(DIGEST,)),
            ImageRule("team/db"),
            ImageRule("team/db", tags=("16",)),
            ImageRule("team/db", digests=(DIGEST,)),
        ),
        referrers=True,
        strict=True,
        clients=("docker-1.13",),
        replaces="registry.example.com:5000",
    )
    # A format sees the same, by way of plain values.
    assert asked(spec_of(found)) == found.oci.asked


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ("", "lacks the key `images`"),
        ("images: []", "empty list"),
        ("images: [Team/App]", "not the name of an image"),
        ("images: [../app]", "not the name of an image"),
        ("images: ['a:b:c']", "not a tag"),
        ("images: ['a@sha256:12']", "not a digest"),
        ("images: [{name: a, tags: ['a b']}]", "not a tag"),
        ("images: [{name: a, tags: ['/(/']}]", "not a regular expression"),
        ("images: [{name: a, newest: 0}]", "cannot be 0"),
        ("images: [{name: a, platforms: [linux]}]", "not a platform"),
        ("images: [{name: a, platform: [linux]}]", "not a known key"),
        (f"images: [{{name: 'a*', digests: ['{DIGEST}']}}]", "a glob stands for"),
        ("images: [{tags: v1}]", "lacks the key `name`"),
        ("images: [a, a]", "repeats"),
        ("images: [a]\nclients: docker-1.12", "cannot be 'docker-1.12'"),
        ("images: [a]\nreplaces: https://registry.example.com", "is not the name of a"),
        ("images: [a]\nauth_file: x\nusername: y", "`auth_file` and `username`"),
        ("images: [a]\nnewest: 3", "means nothing to a repository of format oci"),
        ("images: [a]\nartifacts: ['a:b:1']", "write `format: maven`"),
    ],
)
def test_what_cannot(settings: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        repository(settings)
    assert what in f"{caught.value.what} {caught.value.remedy}"


def test_upstreams() -> None:
    assert repository("images: [a]", "file:///images/x.tar").upstream.transport == "file"
    for upstream in (
        "rsync://h/m/",
        "[file:///a, file:///b]",
        "[https://a.example.org, https://b.example.org]",
    ):
        with pytest.raises(ConfigError):
            repository("images: [a]", upstream)


def test_keys_of_images_mean_nothing_elsewhere() -> None:
    text = "zone: outside\nrepositories:\n  r:\n    format: yum\n    upstream: https://h/\n"
    with pytest.raises(ConfigError, match="format yum"):
        parse(f"{text}    images: [a]\n", FOLDER, FORMATS)
