"""What zone.yaml says of registries: whose place a repository takes, and where it answers."""

from __future__ import annotations

import re

from manifests.formats.oci.origin import is_origin
from manifests.zone.reader import Value
from manifests.zone.served import Registry
from manifests.zone.urls import read_listen

REGISTRY_KEYS = ("listen", "hosts", "replaces")
_HOST = re.compile(r"[a-z0-9]+(?:[.-]+[a-z0-9]+)*(?::[1-9][0-9]{0,4})?")


def read_origin(value: Value) -> str:
    """The name of an original registry."""
    text = value.text()
    if not is_origin(text):
        value.fail(
            f"`{value.path}` is not the name of a registry: {text[:80]!r}",
            "write it as images name it: registry.example.com or registry.example.com:5000",
        )
    return text


def read_registries(value: Value) -> dict[str, Registry]:
    """``serve: registries:``, by our name of the repository."""
    registries = value.named(lambda _name, entry: _registry(entry))
    hosts: set[str] = set()
    places: set[tuple[str, int]] = set()
    for name, registry in registries.items():
        twice = hosts.intersection(registry.hosts)
        if twice or registry.listen in places:
            what = twice.pop() if twice else "this address"
            value.entries()[name].fail(
                f"`{value.path}.{name}`: {what} is already another repository's",
                "one host name or port leads to one repository",
            )
        hosts.update(registry.hosts)
        if registry.listen is not None and registry.listen[1]:
            places.add(registry.listen)
    return registries


def _registry(value: Value) -> Registry:
    section = value.section(REGISTRY_KEYS, {})
    if not section.entries:
        value.fail(f"`{value.path}` says nothing", "add `listen`, `hosts` or `replaces`")
    return Registry(
        listen=section.get("listen", read_listen, None),
        hosts=section.get("hosts", lambda v: v.one_or_some(_host), ()),
        replaces=section.get("replaces", _replaces, None),
    )


def _replaces(value: Value) -> tuple[str, ...]:
    if not value.is_list and not value.is_null and value.text() == "none":
        return ()
    return value.one_or_some(read_origin)


def _host(value: Value) -> str:
    remedy = "write a host name in lower case, with a port where clients name one"
    return value.matching(_HOST, remedy)
