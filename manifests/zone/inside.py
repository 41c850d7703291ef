"""zone.yaml of an inside zone."""

from __future__ import annotations

import re
from pathlib import Path

from manifests.digest import Digest
from manifests.zone.carriers import RECEIVING_KEYS, SENDING_KEYS, read_receiving
from manifests.zone.common import COMMON_KEYS, read_common, read_signers
from manifests.zone.model import (
    DAY,
    InsideStream,
    InsideZone,
    Signers,
    Wants,
)
from manifests.zone.reader import Value
from manifests.zone.registries import read_registries
from manifests.zone.served import Serve, ServerTls
from manifests.zone.urls import read_listen, read_web_url

KEYS = (*COMMON_KEYS, "streams", "require", "serve", "wants")
STREAM_KEYS = ("carrier", *RECEIVING_KEYS, "root", "silence", "mark", "repositories", "rename")
REQUIRE_KEYS = ("signed_by", "check_packages")
SERVE_KEYS = (
    "listen",
    "workers",
    "external_url",
    "grace",
    "deny",
    "groups",
    "registries",
    "ca_file",
    "tls",
)
SERVE_TLS_KEYS = ("cert", "key")
WANTS_KEYS = ("ignore",)
_OUTSIDE_ONLY = "in the zone.yaml of an outside zone; this one is inside"
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def read_inside(root: Value, folder: Path) -> InsideZone:
    """The whole file of an inside zone. Raises ConfigError."""
    section = root.section(KEYS, {"repositories": _OUTSIDE_ONLY})
    return InsideZone(
        **read_common(section, folder),
        streams=section.get(
            "streams", lambda v: v.named(lambda name, entry: _stream(name, entry, folder)), {}
        ),
        require=section.get(
            "require", lambda v: v.named(lambda _name, entry: _require(entry, folder)), {}
        ),
        serve=section.get("serve", lambda v: _serve(v, folder), Serve()),
        wants=section.get("wants", _wants, Wants()),
    )


def _wants(value: Value) -> Wants:
    section = value.section(WANTS_KEYS, {})
    return Wants(ignore=section.get("ignore", lambda v: v.one_or_some(Value.text), ()))


def _require(value: Value, folder: Path) -> Signers:
    section = value.section(REQUIRE_KEYS, {})
    if "signed_by" not in section.entries:
        value.fail(f"`{value.path}` requires nothing", "add `signed_by: keys/vendor.asc`")
    return read_signers(section, folder)


def _stream(name: str, value: Value, folder: Path) -> InsideStream:
    outside_only = (
        *("keys", "part_size", "resend_window", "max_bundle", "full_every", "heartbeat", "wire"),
    )
    outside_keys = {*SENDING_KEYS, *outside_only} - set(STREAM_KEYS)
    section = value.section(STREAM_KEYS, dict.fromkeys(outside_keys, _OUTSIDE_ONLY))
    repositories = section.get("repositories", lambda v: v.one_or_some(Value.name), None)
    return InsideStream(
        name=name,
        **read_receiving(section, folder, name),
        root=section.need("root", lambda v: v.file(folder), "trust/root.json"),
        silence=section.get("silence", Value.positive, None),
        mark=section.get("mark", lambda v: v.file(folder), folder / "marks" / f"{name}.json"),
        repositories=repositories,
        rename=section.get("rename", lambda v: _rename(v, repositories), {}),
    )


def _rename(value: Value, repositories: tuple[str, ...] | None) -> dict[str, str]:
    result: dict[str, str] = {}
    for theirs, entry in value.entries().items():
        entry.check_name(theirs)
        ours = entry.name()
        if repositories is not None and theirs not in repositories:
            entry.fail(
                f"`{entry.path}`: {theirs!r} is not among this stream's `repositories`",
                "add it there, or remove it here",
            )
        taken = set(result.values()) | (set(repositories or ()) - set(value.entries()))
        if ours in taken:
            entry.fail(f"`{entry.path}`: two repositories would be {ours!r}", "choose another name")
        result[theirs] = ours
    return result


def _serve(value: Value, folder: Path) -> Serve:
    section = value.section(SERVE_KEYS, {})
    host, port = section.get("listen", read_listen, (Serve().host, Serve().port))
    external_url = section.get("external_url", read_web_url, None)
    tls = section.get("tls", lambda v: _server_tls(v, folder), None)
    if tls is not None and external_url is not None and external_url.startswith("http://"):
        section.at("external_url").fail(
            f"`{value.path}.external_url` is plain HTTP, but the server speaks TLS",
            "write https://, or remove `tls`",
        )
    return Serve(
        host=host,
        port=port,
        workers=section.get("workers", lambda v: v.integer(1, 256), 1),
        external_url=external_url,
        grace=section.get("grace", Value.duration, DAY),
        deny=section.get("deny", _digests, frozenset()),
        groups=section.get("groups", _groups, {}),
        registries=section.get("registries", read_registries, {}),
        ca_file=section.get("ca_file", lambda v: v.file(folder), None),
        tls=tls,
    )


def _server_tls(value: Value, folder: Path) -> ServerTls:
    section = value.section(SERVE_TLS_KEYS, {"pin": "to a stream with `carrier: tcp`"})
    return ServerTls(
        cert=section.need("cert", lambda v: v.file(folder), "keys/server.pem"),
        key=section.need("key", lambda v: v.file(folder), "keys/server.key"),
    )


def _groups(value: Value) -> dict[str, tuple[str, ...]]:
    groups = value.named(lambda _name, entry: entry.one_or_some(Value.name))
    for name, members in groups.items():
        for member in members:
            if member in groups:
                value.entries()[name].fail(
                    f"`{value.path}.{name}` names the group {member!r}, not a repository",
                    "name the repositories themselves, in the order to look",
                )
    return groups


def _digests(value: Value) -> frozenset[Digest]:
    found = []
    for item in value.items():
        match = _DIGEST.fullmatch(str(item.node.value)) if not item.is_mapping else None
        if match is None:
            item.fail(
                f"`{item.path}` is not a digest",
                "write the SHA-256 as 64 of 0-9 a-f; `sha256sum FILE` prints it",
            )
        found.append(Digest(match[1]))
    return frozenset(found)
