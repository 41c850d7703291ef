"""What zone.yaml says of a repository of container images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from manifests.errors import BadPath
from manifests.formats.oci.layout import check_digest
from manifests.formats.oci.rules import (
    CLIENTS,
    Asked,
    ImageRule,
    check_name,
    check_tags,
    is_platform,
    rule_of,
)
from manifests.zone.model import Oci, Upstream
from manifests.zone.reader import Section, Value
from manifests.zone.registries import read_origin
from manifests.zone.urls import read_mirrors

OCI_KEYS = ("images", "referrers", "replaces", "strict", "clients", "auth_file")
OCI_FOREIGN = (
    "include", "exclude", "arches", "newest", "metadata", "extra", "check_packages",
)  # fmt: skip
"""Keys of other formats that mean nothing here."""
T = TypeVar("T")
_IMAGE_KEYS = ("name", "tags", "newest", "digests", "platforms")


def read_oci(section: Section, folder: Path) -> Oci:
    """The keys of ``OCI_KEYS``. Raises ConfigError."""
    images = section.need("images", lambda v: v.one_or_some(_image), '[{name: "team/app"}]')
    auth_file = section.get("auth_file", lambda v: v.file(folder), None)
    if auth_file is not None and "username" in section.entries:
        section.at("auth_file").fail(
            f"`{section.value.path}` has `auth_file` and `username`", "remove one of the two"
        )
    return Oci(
        asked=Asked(
            images=images,
            referrers=section.get("referrers", Value.boolean, False),
            strict=section.get("strict", Value.boolean, False),
            clients=section.get(
                "clients", lambda v: v.one_or_some(lambda item: item.choice(CLIENTS)), ()
            ),
            replaces=section.get("replaces", read_origin, ""),
        ),
        auth_file=auth_file,
    )


def read_oci_upstream(value: Value) -> Upstream:
    """One registry, or a ``file://`` folder or archive."""
    upstream = read_mirrors(value)
    if upstream.transport == "rsync":
        value.fail(
            f"`{value.path}`: a registry does not speak rsync",
            "write https://registry.example.com, or file:///path of an OCI layout or archive",
        )
    if len(upstream.urls) > 1:
        value.fail(f"`{value.path}` names several registries or files", "make a repository of each")
    return upstream


def _image(value: Value) -> ImageRule:
    if not value.is_mapping:
        return _checked(value, rule_of)
    section = value.section(_IMAGE_KEYS, {})
    rule = ImageRule(
        name=section.need("name", lambda v: _checked(v, check_name), "team/app"),
        tags=section.get("tags", lambda v: v.one_or_some(_tag), ()),
        newest=section.get("newest", lambda v: v.integer(1, 10_000), None),
        digests=section.get(
            "digests", lambda v: v.one_or_some(lambda item: _checked(item, check_digest)), ()
        ),
        platforms=section.get("platforms", lambda v: v.one_or_some(_platform), ()),
    )
    if rule.digests and rule.is_glob:
        section.at("digests").fail(
            f"`{value.path}` names digests of images that a glob stands for",
            "write the name of one image",
        )
    return rule


def _tag(value: Value) -> str:
    return _checked(value, check_tags)


def _platform(value: Value) -> str:
    text = value.text()
    if not is_platform(text):
        value.fail(
            f"`{value.path}` is not a platform: {text[:80]!r}",
            "write os/architecture, such as linux/amd64 or linux/arm64",
        )
    return text


def _checked(value: Value, read: Callable[[str], T]) -> T:
    text = value.text()
    try:
        return read(text)
    except BadPath as error:
        value.fail(
            f"`{value.path}`: {error.what}: {text[:80]!r}",
            "write names as they stand between the registry's host and the tag, such as team/app; "
            "tags as names, globs (v1.*) or expressions between slashes",
        )
