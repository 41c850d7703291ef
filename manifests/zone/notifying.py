"""Reading ``notices:``."""

from __future__ import annotations

from pathlib import Path

from manifests.zone.notices import FACILITIES, KINDS, NOBODY, Notices, Syslog, Webhook
from manifests.zone.reader import Value
from manifests.zone.urls import split_url

NOTICES_KEYS = ("syslog", "webhook", "kinds", "after")
SYSLOG_KEYS = ("address", "facility")
WEBHOOK_KEYS = ("url", "secret_file", "ca_file")
_PORTS = {"udp": 514, "tcp": 601}
_EXAMPLE = "/dev/log, udp://loghost:514 or tcp://loghost:601"


def read_notices(value: Value, folder: Path) -> Notices:
    """The settings below ``notices``."""
    section = value.section(NOTICES_KEYS, {})
    notices = Notices(
        syslog=section.get("syslog", _syslog, None),
        webhook=section.get("webhook", lambda v: _webhook(v, folder), None),
        kinds=frozenset(section.get("kinds", _kinds, KINDS)),
        after=section.get("after", Value.duration, NOBODY.after),
    )
    if not notices.channels:
        value.fail(f"`{value.path}` names nobody to tell", "add `syslog: {address: /dev/log}`")
    return notices


def _kinds(value: Value) -> tuple[str, ...]:
    return value.one_or_some(lambda item: item.choice(KINDS))


def _syslog(value: Value) -> Syslog:
    section = value.section(SYSLOG_KEYS, {})
    facility = section.get("facility", lambda v: v.choice(FACILITIES), Syslog().facility)
    address = section.need("address", lambda v: v, "/dev/log")
    text = address.text()
    if text.startswith("/"):
        return Syslog(path=Path(text), facility=facility)
    _, parts = split_url(address, tuple(_PORTS), _EXAMPLE, "remove it: syslog has no passwords")
    if parts.path.strip("/") or parts.query or parts.username is not None:
        address.fail(f"`{address.path}` has more than a host and a port", f"write {_EXAMPLE}")
    return Syslog(
        transport=parts.scheme,
        host=str(parts.hostname),
        port=parts.port or _PORTS[parts.scheme],
        facility=facility,
    )


def _webhook(value: Value, folder: Path) -> Webhook:
    section = value.section(WEBHOOK_KEYS, {})
    address = section.need("url", lambda v: v, "https://alerts.example.org/sluice")
    url, parts = split_url(
        address, ("http", "https"), "https://host/path", "use `secret_file`: messages are signed"
    )
    if parts.username is not None:
        address.fail(f"`{address.path}` has a user name in it", "remove it; use `secret_file`")
    ca_file = section.get("ca_file", lambda v: v.file(folder), None)
    if ca_file is not None and parts.scheme == "http":
        section.at("ca_file").fail(
            f"`{value.path}.ca_file` is of no use: `url` is plain HTTP", "write https://"
        )
    return Webhook(
        url=url,
        secret_file=section.get("secret_file", lambda v: v.file(folder), None),
        ca_file=ca_file,
    )
