"""Images from an OCI layout and from archives, as skopeo writes them and as nobody should."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from manifests import errors
from manifests.formats.oci import media
from tests.clients.syncing import open_store
from tests.support.images import Layout
from tests.support.ocimirror import ImageMirror, images
from tests.support.skopeo import Skopeo


def mirror_of(upstream: Path, tmp_path: Path, *rules: str) -> ImageMirror:
    repo = images(upstream.as_uri(), *rules)
    return ImageMirror(open_store(tmp_path / "store"), repo)


def test_a_layout_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "a layout")
    image = layout.platforms("one\n")
    layout.tag("v1", image)
    layout.tag("registry.example.com:5000/team/other:v2", layout.image("two\n"))
    signature = layout.artifact("application/vnd.example.sig", layout.blob(b"s"), subject=image)
    layout.tag("untagged-signature", signature)
    mirror = mirror_of(layout.folder, tmp_path, "team/app:v1")
    mirror.sync()
    assert mirror.tags() == {"team/app:v1": image.digest}
    assert mirror.content("team/app/_tags/v1") == layout.read(image)

    oci = images(layout.folder.as_uri(), "team/app:v1", "team/other", referrers=True).oci
    mirror.set(oci=oci)
    with pytest.raises(errors.UpstreamRefused, match="tags without the name of an image"):
        mirror.sync()
    mirror.set(oci=images(layout.folder.as_uri(), "team/app:v1", "team/oth*", referrers=True).oci)
    mirror.sync()
    assert set(mirror.tags()) == {"team/app:v1", "team/other:v2"}
    assert f"team/app/_manifests/sha256/{signature.hex}" in mirror.paths()


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_that_skopeo_wrote(kind: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layer = layout.layer({"data": b"data" * 5000})
    image = layout.image("archived\n", layers=[layer])
    layout.tag("v1", image)
    archive = tmp_path / "image.tar"
    words = ["--preserve-digests"] if kind == "oci-archive" else []
    skopeo = Skopeo(tmp_path / "skopeo")
    skopeo.run(
        "copy", "--quiet", *words, f"oci:{layout.folder}:v1",
        f"{kind}:{archive}:registry.example.com/team/app:v1",
    )  # fmt: skip
    mirror = mirror_of(archive, tmp_path, "team/app")
    mirror.sync()
    assert list(mirror.tags()) == ["team/app:v1"]
    found = json.loads(mirror.content("team/app/_tags/v1"))
    names = [row["digest"].removeprefix("sha256:") for row in found["layers"]]
    for name, row in zip(names, json.loads(layout.read(image))["layers"], strict=True):
        data = mirror.content(f"team/app/_blobs/sha256/{name}")
        original = layout.read(row["digest"])
        assert data in (original, gzip.decompress(original) if original[:1] == b"\x1f" else b"")
    if kind == "oci-archive":
        assert mirror.tags() == {"team/app:v1": image.digest}
    else:
        assert found["mediaType"] == media.DOCKER_MANIFEST
        # The same archive makes the same manifest, so nothing is new.
        assert not mirror.sync().changed


def _tar(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """A tar of files, and of links for members that are text."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def _saved(layer: bytes, *diff_ids: str, layers: tuple[str, ...] = ("a/layer.tar",)) -> tuple[
    tuple[str, bytes], ...
]:  # fmt: skip
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": list(diff_ids)}}
    row = {"Config": "c.json", "RepoTags": ["team/app:v1"], "Layers": list(layers)}
    return (
        ("manifest.json", json.dumps([row]).encode()),
        ("c.json", json.dumps(config).encode()),
        ("a/layer.tar", layer),
    )


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_layers_of_docker_save_may_be_links_to_each_other(tmp_path: Path) -> None:
    layer = b"layer" * 200
    members = _saved(layer, _digest(layer), _digest(layer), layers=("a/layer.tar", "b/layer.tar"))
    archive = _tar(tmp_path / "x.tar", *members, ("b/layer.tar", "../a/layer.tar"))
    mirror = mirror_of(archive, tmp_path, "team/app")
    mirror.sync()
    found = json.loads(mirror.content("team/app/_tags/v1"))
    assert [row["digest"] for row in found["layers"]] == [_digest(layer)] * 2


@pytest.mark.parametrize(
    ("members", "what"),
    [
        (_saved(b"layer", _digest(b"other")), "its config says"),
        (_saved(b"layer", _digest(b"layer"), _digest(b"layer")), "names other layers"),
        (_saved(b"layer", _digest(b"layer"), layers=("../../etc/passwd",)), "is not in it"),
        (_saved(b"layer", _digest(b"layer"), layers=("/etc/passwd",)), "is not in it"),
        ((("b", "/etc/passwd"), *_saved(b"x", _digest(b"x"), layers=("b",))), "is not in it"),
        ((("a", "b"), ("b", "a"), *_saved(b"x", _digest(b"x"), layers=("a",))), "is not in it"),
        ((*_saved(b"x", _digest(b"x")), ("c.json", b"{}")), "is in it twice"),
        ((("hello", b"world"),), "neither an OCI layout"),
        ((("oci-layout", b"{}"),), "is no index"),
        ((("manifest.json", b"[{}]"),), "lacks `Config`"),
    ],
)  # fmt: skip
def test_archives_that_do_not_hold_together(
    members: tuple[tuple[str, bytes | str], ...], what: str, tmp_path: Path
) -> None:
    mirror = mirror_of(_tar(tmp_path / "x.tar", *members), tmp_path, "team/app")
    with pytest.raises(errors.UpstreamRefused, match=what):
        mirror.sync()
    assert mirror.snapshots() == []


def test_an_unpacked_archive_whose_names_lead_elsewhere_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "layer.tar").write_bytes(b"secret")
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "a").symlink_to(secret)
    for name, data in _saved(b"", _digest(b"secret")):
        if "/" not in name:
            (folder / name).write_bytes(data)
    mirror = mirror_of(folder, tmp_path, "team/app")
    with pytest.raises(errors.UpstreamRefused, match="neither an OCI layout"):
        mirror.sync()


def test_what_is_no_plain_tar(tmp_path: Path) -> None:
    members = _saved(b"x", _digest(b"x"))
    plain = _tar(tmp_path / "x.tar", *members).read_bytes()
    (tmp_path / "x.tar").write_bytes(gzip.compress(plain))
    mirror = mirror_of(tmp_path / "x.tar", tmp_path, "team/app")
    with pytest.raises(errors.UpstreamRefused, match="compressed"):
        mirror.sync()
    # A header of extended names that claims to be as long as the disk is not read into memory.
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(errors.UpstreamRefused, match="not an archive of images"):
        mirror.sync()
    (tmp_path / "x.tar").write_bytes(b"no tar at all")
    with pytest.raises(errors.UpstreamRefused, match="not an archive of images"):
        mirror.sync()
    (tmp_path / "x.tar").unlink()
    with pytest.raises(errors.UpstreamRefused, match="no such folder or file"):
        mirror.sync()


def test_names_that_look_like_calls_of_the_api(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    image = layout.image("odd\n")
    names = ("a/manifests/b", "blobs/tags", "tags/list", "v2/referrers/x")
    for name in names:
        layout.tag(f"registry.example.com/{name}:v1", image)
    mirror = mirror_of(layout.folder, tmp_path, "*")
    mirror.sync()
    assert set(mirror.tags()) == {f"{name}:v1" for name in names}
