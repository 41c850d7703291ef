"""Addresses in zone.yaml: checked by their parts, never with a password in them."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from manifests.zone.model import Upstream
from manifests.zone.reader import Value

_UPSTREAM_SCHEMES = ("file", "http", "https", "rsync")
_UPSTREAM_EXAMPLE = "rsync://host/module/, https://host/path/ or file:///path/"
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_SECRET_QUERY = re.compile(r"(?i)(^|&)(password|passwd|secret|token)=")


def split_url(
    value: Value, schemes: Collection[str], example: str, secret_remedy: str
) -> tuple[str, SplitResult]:
    """The address in ``value`` and its parts (RFC 3986).

    Raises ConfigError: another scheme, no host, a password. No message repeats
    an address that might hold one.
    """
    text = value.text()
    try:
        parts = urlsplit(text)
        port_ok = parts.port != 0
        password = parts.password
    except ValueError:
        value.fail(f"`{value.path}` is not an address", f"write {example}")
    if password is not None or _SECRET_QUERY.search(parts.query):
        value.fail(f"`{value.path}` has a password in it", secret_remedy)
    # urlsplit finds no password if the scheme is forgotten or the password holds a slash.
    if "://" not in text or parts.scheme not in schemes:
        value.fail(
            f"`{value.path}` does not begin with one of {', '.join(f'{s}://' for s in schemes)}",
            f"write {example}",
        )
    # PostgreSQL without a host is its socket on this machine.
    host_wrong = parts.scheme != "postgresql" and bool(parts.hostname) == (
        parts.scheme in ("file", "sqlite")
    )
    if " " in text or parts.fragment or not port_ok or host_wrong:
        value.fail(f"`{value.path}` is not a usable {parts.scheme} address", f"write {example}")
    return text, parts


def read_web_url(value: Value) -> str:
    """An http or https address without a trailing slash, a user or a query."""
    text, parts = split_url(
        value,
        ("http", "https"),
        "https://host[:port]/path",
        "remove it from the address; a proxy's password may stand in the environment (HTTPS_PROXY)",
    )
    if parts.username is not None or parts.query:
        value.fail(
            f"`{value.path}` has a user name or a query in it", "write https://host[:port]/path"
        )
    return text.rstrip("/")


def _mirror(value: Value) -> str:
    text, parts = split_url(
        value,
        _UPSTREAM_SCHEMES,
        _UPSTREAM_EXAMPLE,
        "remove it; write the name as `username` and put the password into a file that only "
        "Sluice may read, named by `password_file`",
    )
    if parts.username is not None:
        value.fail(f"`{value.path}` has a user name in it", "write it as `username` instead")
    if parts.query:
        value.fail(
            f"`{value.path}` has a query (?), so file names cannot be added to it",
            "write the folder's address, or `{mirrorlist: URL}` for an address that lists mirrors",
        )
    if parts.scheme == "rsync" and not parts.path.strip("/"):
        value.fail(f"`{value.path}` names no rsync module", "write rsync://host/module/")
    return text.rstrip("/") + "/"


def read_upstream(value: Value) -> Upstream:
    """An address, a list of mirrors, ``{url: ...}`` or ``{mirrorlist: URL}``."""
    if not value.is_mapping:
        return read_mirrors(value)
    section = value.section(("url", "mirrorlist"), {})
    if len(section.entries) != 1:
        value.fail(
            f"`{value.path}` needs either `url` or `mirrorlist`", "write exactly one of them"
        )
    if "url" in section.entries:
        return read_mirrors(section.at("url"))
    listed = section.at("mirrorlist")
    text, parts = split_url(
        listed,
        ("http", "https"),
        "https://host/mirrorlist?repo=name",
        "remove it; use `username` and `password_file`",
    )
    if parts.username is not None:
        listed.fail(f"`{listed.path}` has a user name in it", "write it as `username` instead")
    return Upstream(mirrorlist=text)


def read_mirrors(value: Value) -> Upstream:
    """One address or a list of mirrors."""
    urls = value.one_or_some(_mirror)
    kinds = {Upstream(urls=(url,)).transport for url in urls}
    if len(kinds) > 1:
        value.fail(
            f"`{value.path}` mixes {' and '.join(sorted(kinds))} mirrors",
            "list mirrors of one kind, all rsync:// or all http(s)://",
        )
    return Upstream(urls=urls)


def read_listen(value: Value) -> tuple[str, int]:
    """``HOST:PORT``; IPv6 in brackets, which are not part of the host. Port 0: any free one."""
    return _host_and_port(value, "listen on", '"127.0.0.1:8080", "[::1]:8080" or "0.0.0.0:80"')


def read_target(value: Value) -> tuple[str, int]:
    """``HOST:PORT`` to connect to; IPv6 in brackets, which are not part of the host."""
    host, port = _host_and_port(value, "connect to", '"cds.example.org:9000" or "[::1]:9000"')
    if port == 0:
        value.fail(f"`{value.path}` has no port", "write a port from 1 to 65535")
    return host, port


def _host_and_port(value: Value, purpose: str, examples: str) -> tuple[str, int]:
    plain = not value.is_null and not value.is_list and not value.is_mapping
    match = _LISTEN.fullmatch(str(value.node.value)) if plain else None
    if match is None or int(match[2]) > 65535:
        value.fail(
            f"`{value.path}` is not an address to {purpose}",
            f'write "HOST:PORT", such as {examples}',
        )
    return match[1].strip("[]"), int(match[2])
