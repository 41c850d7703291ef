"""What zone.yaml says of a Maven repository."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

from manifests.errors import BadPath
from manifests.formats.maven.layout import coordinates
from manifests.zone.model import Login, Maven, Nexus, Upstream
from manifests.zone.reader import Section, Value
from manifests.zone.urls import read_listen, read_mirrors, read_web_url

MAVEN_KEYS = ("artifacts", "boms", "projects", "capture")
MAVEN_FOREIGN = ("exclude", "arches", "newest", "metadata", "extra")
"""Keys of other formats that mean nothing here."""
_SIDES = ("sources", "javadoc", "signatures")
_CAPTURE_KEYS = ("listen", "username", "password_file", "anonymous")
_USERNAME = re.compile(r"[!-9;-~]{1,64}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_UPSTREAM_EXAMPLE = (
    "write `upstream: system`, https://host/path/ or {nexus: https://host, repository: NAME}"
)


def read_maven_upstream(value: Value) -> tuple[Upstream, Section | None]:
    """``system``, addresses, or a Nexus, and then where its user is named."""
    if not value.is_mapping:
        if not value.is_list and not value.is_null and value.text() == "system":
            return Upstream(system=True), None
        return read_mirrors(value), None
    section = value.section(("url", "nexus", "repository", "username", "password_file"), {})
    if "url" in section.entries:
        for key in section.entries:
            if key != "url":
                section.at(key).fail(f"`{section.at(key).path}` belongs to a Nexus", "remove it")
        return read_mirrors(section.at("url")), None
    if "nexus" not in section.entries:
        value.fail(f"`{value.path}` names no upstream", _UPSTREAM_EXAMPLE)
    repository = section.need(
        "repository",
        lambda v: v.matching(_REPOSITORY, "write the repository's name as Nexus shows it"),
        "maven-releases",
    )
    nexus = Nexus(url=section.need("nexus", read_web_url, _UPSTREAM_EXAMPLE), repository=repository)
    return Upstream(urls=(nexus.content,), nexus=nexus), section


def read_maven(section: Section, folder: Path) -> Maven:
    """What is asked for, and where the capturing proxy listens."""
    chosen = section.get("include", lambda v: v.section(_SIDES, {}), None)
    sides = {side: chosen is not None and chosen.get(side, Value.boolean, False) for side in _SIDES}
    capture = section.get("capture", lambda v: v.section(_CAPTURE_KEYS, {}), None)
    return Maven(
        artifacts=section.get("artifacts", lambda v: v.one_or_some(_coordinates), ()),
        boms=section.get("boms", lambda v: v.one_or_some(_bom), ()),
        projects=section.get(
            "projects", lambda v: v.one_or_some(lambda item: item.file(folder)), ()
        ),
        sources=sides["sources"],
        javadoc=sides["javadoc"],
        signatures=sides["signatures"],
        listen=capture.need("listen", read_listen, '"127.0.0.1:8082"') if capture else None,
        login=_login(capture, folder) if capture else None,
    )


def _login(capture: Section, folder: Path) -> Login | None:
    """Of the capturing proxy, which gives none to a network only where that was written down."""
    username = capture.get(
        "username", lambda v: v.matching(_USERNAME, "write 1 to 64 printable characters, no `:`"),
        None,
    )  # fmt: skip
    file = capture.get("password_file", lambda v: v.file(folder), None)
    anonymous = capture.get("anonymous", Value.boolean, False)
    where = capture.value.path
    if (username is None) != (file is None):
        names = ("username", "password_file")
        key, other = names if file is None else names[::-1]
        capture.at(key).fail(f"`{where}` has `{key}` without `{other}`", f"add `{other}`")
    if username is not None and file is not None:
        if anonymous:
            capture.at("anonymous").fail(
                f"`{where}` asks for a login and for none", "remove `anonymous`, or the login"
            )
        return Login(username, file)
    host = capture.need("listen", read_listen, "")[0]
    if not anonymous and not _is_loopback(host):
        capture.at("listen").fail(
            f"`{where}` would let everybody who reaches {host} decide what is mirrored",
            "add `username` and `password_file`, or `anonymous: true` where the network keeps"
            " others away, or listen on 127.0.0.1",
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _coordinates(value: Value) -> str:
    text = value.text()
    try:
        coordinates(text)
    except BadPath as error:
        value.fail(
            f"`{value.path}`: {error.what}: {text[:80]!r}",
            "write GROUP:ARTIFACT:VERSION, such as junit:junit:4.13.2, or "
            "GROUP:ARTIFACT:EXTENSION[:CLASSIFIER]:VERSION",
        )
    return text


def _bom(value: Value) -> str:
    text = _coordinates(value)
    if text.count(":") != 2:
        value.fail(f"`{value.path}`: a BOM is a POM: {text[:80]!r}", "write GROUP:ARTIFACT:VERSION")
    return text
