"""zone.yaml of an outside zone."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from manifests.bundle.manifest import WIRE, WIRES
from manifests.errors import BadPath
from manifests.formats.oci.layout import is_image
from manifests.tree import check_path
from manifests.zone.carriers import (
    MIN_PART_SIZE,
    RECEIVING_KEYS,
    SENDING_KEYS,
    read_sending,
)
from manifests.zone.common import COMMON_KEYS, read_common, read_signers
from manifests.zone.foreign import refuse_foreign
from manifests.zone.maven import MAVEN_KEYS, read_maven, read_maven_upstream
from manifests.zone.model import (
    GIB,
    Connection,
    Filters,
    Maven,
    Metadata,
    OutsideStream,
    OutsideZone,
    Repository,
)
from manifests.zone.oci import OCI_KEYS, read_oci, read_oci_upstream
from manifests.zone.reader import Section, Value, nearest
from manifests.zone.urls import read_upstream, read_web_url

KEYS = (*COMMON_KEYS, "repositories", "streams")
STREAM_KEYS = (
    "carrier",
    *SENDING_KEYS,
    "keys",
    "part_size",
    "repositories",
    "resend_window",
    "max_bundle",
    "full_every",
    "heartbeat",
    "wire",
)
_FILTER_KEYS = ("include", "exclude", "arches", "newest")
_CONNECTION_KEYS = (
    "bandwidth",
    "username",
    "password_file",
    "proxy",
    "ca_file",
    "client_cert",
    "client_key",
    "timeout",
    "retries",
    "parallel",
)
REPOSITORY_KEYS = (
    "format",
    "upstream",
    "keep",
    "signed_by",
    "check_packages",
    *_FILTER_KEYS,
    "metadata",
    "max_removals",
    "extra",
    "together",
    "schedule",
    *_CONNECTION_KEYS,
    *MAVEN_KEYS,
    *OCI_KEYS,
)
_INSIDE_ONLY = "in the zone.yaml of an inside zone; this one is outside"
_ARCH = re.compile(r"[A-Za-z0-9_]{1,32}")


def read_outside(root: Value, folder: Path, formats: Collection[str]) -> OutsideZone:
    """The whole file of an outside zone. Raises ConfigError."""
    section = root.section(KEYS, dict.fromkeys(("require", "serve", "wants"), _INSIDE_ONLY))
    repositories = section.get(
        "repositories",
        lambda v: v.named(lambda name, entry: _repository(name, entry, folder, formats)),
        {},
    )
    streams = section.get(
        "streams",
        lambda v: v.named(lambda name, entry: _stream(name, entry, folder, repositories)),
        {},
    )
    return OutsideZone(**read_common(section, folder), repositories=repositories, streams=streams)


def _repository(name: str, value: Value, folder: Path, formats: Collection[str]) -> Repository:
    section = value.section(REPOSITORY_KEYS, {})
    kind = section.need("format", lambda v: v.choice(formats), "yum")
    refuse_foreign(section, kind)
    if kind == "maven":
        return _maven(name, section, folder)
    if kind == "oci":
        return _oci(name, section, folder)
    filters = _filters(section)
    metadata = Metadata(section.get("metadata", lambda v: v.choice(tuple(Metadata)), "auto"))
    if metadata is Metadata.VERBATIM and filters:
        section.at("metadata").fail(
            f"`{value.path}` asks for verbatim metadata of a filtered repository, "
            "which would name files that are not there",
            f"remove `metadata`, or remove {', '.join(_FILTER_KEYS)}",
        )
    return Repository(
        name=name,
        format=kind,
        upstream=section.need("upstream", read_upstream, '"rsync://host/module/"'),
        keep=section.get("keep", lambda v: v.integer(1, 10_000), 5),
        signers=read_signers(section, folder),
        filters=filters,
        metadata=metadata,
        max_removals=section.get("max_removals", Value.percent, 0.3),
        extra=section.get("extra", lambda v: v.one_or_some(_tree_path), ()),
        together=section.get("together", Value.name, None),
        schedule=section.get("schedule", Value.cron, None),
        connection=_connection(section, folder),
    )


def _maven(name: str, section: Section, folder: Path) -> Repository:
    upstream, login = section.need("upstream", read_maven_upstream, "system")
    connection = _connection(section if login is None else _with_login(section, login), folder)
    maven = read_maven(section, folder)
    if upstream.transport != "http" and (maven != Maven()):
        section.at("upstream").fail(
            f"`{section.value.path}` asks for single files, which only http and https can give",
            "write `upstream: system`, an http(s):// address or {nexus: URL, repository: NAME}",
        )
    signers = read_signers(section, folder)
    if signers.check_packages:  # there must be something to check
        maven = replace(maven, signatures=True)
    return Repository(
        name=name,
        format="maven",
        upstream=upstream,
        keep=section.get("keep", lambda v: v.integer(1, 10_000), 5),
        signers=signers,
        max_removals=section.get("max_removals", Value.percent, 0.3),
        together=section.get("together", Value.name, None),
        schedule=section.get("schedule", Value.cron, None),
        connection=connection,
        maven=maven,
    )


def _oci(name: str, section: Section, folder: Path) -> Repository:
    if not is_image(name):
        section.value.fail(
            f"clients could not name {name!r}: it becomes a part of images' names",
            "use letters and digits, and between them one of . _ - (or __, or several -)",
        )
    return Repository(
        name=name,
        format="oci",
        upstream=section.need("upstream", read_oci_upstream, "https://registry.example.com"),
        keep=section.get("keep", lambda v: v.integer(1, 10_000), 5),
        signers=read_signers(section, folder),
        max_removals=section.get("max_removals", Value.percent, 0.3),
        together=section.get("together", Value.name, None),
        schedule=section.get("schedule", Value.cron, None),
        connection=_connection(section, folder),
        oci=read_oci(section, folder),
    )


def _with_login(section: Section, login: Section) -> Section:
    """The user of a Nexus may stand beside its address."""
    for key in ("username", "password_file"):
        if key in login.entries and key in section.entries:
            login.at(key).fail(
                f"`{login.at(key).path}` stands a second time in `{section.value.path}`",
                "remove one of the two",
            )
    own = {key: login.entries[key] for key in login.entries if key in _CONNECTION_KEYS}
    return Section(section.value, {**section.entries, **own})


def _tree_path(value: Value) -> str:
    try:
        return check_path(value.text())
    except BadPath as error:
        value.fail(f"`{value.path}`: {error.what}", "write a path below the upstream")


def _filters(section: Section) -> Filters:
    remedy = "write an architecture such as x86_64, aarch64, noarch or src"
    return Filters(
        include=section.get("include", lambda v: v.one_or_some(Value.text), ()),
        exclude=section.get("exclude", lambda v: v.one_or_some(Value.text), ()),
        arches=section.get(
            "arches", lambda v: v.one_or_some(lambda item: item.matching(_ARCH, remedy)), ()
        ),
        newest=section.get("newest", lambda v: v.integer(1, 10_000), None),
    )


def _connection(section: Section, folder: Path) -> Connection:
    def path(key: str) -> Path | None:
        return section.get(key, lambda v: v.file(folder), None)

    result = Connection(
        bandwidth=section.get("bandwidth", Value.rate, None),
        username=section.get("username", Value.text, None),
        password_file=path("password_file"),
        proxy=section.get("proxy", read_web_url, None),
        ca_file=path("ca_file"),
        client_cert=path("client_cert"),
        client_key=path("client_key"),
        timeout=section.get("timeout", Value.timeout, Connection().timeout),
        retries=section.get("retries", lambda v: v.integer(0, 100), Connection().retries),
        parallel=section.get("parallel", lambda v: v.integer(1, 64), Connection().parallel),
    )
    for key, other in (("password_file", "username"), ("client_key", "client_cert")):
        if key in section.entries and other not in section.entries:
            section.at(key).fail(
                f"`{section.value.path}` has `{key}` without `{other}`", f"add `{other}`"
            )
    return result


def _stream(name: str, value: Value, folder: Path, repositories: Collection[str]) -> OutsideStream:
    inside_keys = {*RECEIVING_KEYS, "root", "silence", "mark", "rename"} - set(STREAM_KEYS)
    elsewhere = dict.fromkeys(inside_keys, _INSIDE_ONLY)
    section = value.section(STREAM_KEYS, elsewhere)

    def known_repository(item: Value) -> str:
        wanted = item.name()
        if wanted not in repositories:
            item.fail(
                f"`{item.path}`: there is no repository {wanted!r}", nearest(wanted, repositories)
            )
        return wanted

    part_size = section.get("part_size", lambda v: v.size(MIN_PART_SIZE), GIB)
    return OutsideStream(
        name=name,
        **read_sending(section, folder, part_size),
        keys=section.get("keys", lambda v: v.file(folder), folder / "keys" / name),
        part_size=part_size,
        repositories=section.get(
            "repositories", lambda v: v.one_or_some(known_repository), tuple(repositories)
        ),
        resend_window=section.get("resend_window", lambda v: v.integer(0, 10_000), 0),
        max_bundle=section.get("max_bundle", lambda v: v.size(MIN_PART_SIZE), None),
        full_every=section.get("full_every", Value.positive, None),
        heartbeat=section.get("heartbeat", Value.positive, None),
        wire=section.get("wire", lambda v: v.integer(WIRES[0], WIRE), WIRE),
    )
