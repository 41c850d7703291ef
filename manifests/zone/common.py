"""The parts of zone.yaml that both kinds of zone share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from manifests.zone.model import GIB, Ledger, PartNames, Signers, Upkeep
from manifests.zone.notices import NOBODY, Notices
from manifests.zone.notifying import read_notices
from manifests.zone.reader import Section, Value
from manifests.zone.urls import split_url

COMMON_KEYS = (
    "zone",
    "version",
    "ledger",
    "ledger_password_file",
    "reserve_free",
    "log",
    "metrics",
    "notices",
    "repository_key",
    "timezone",
    "upkeep",
)
UPKEEP_KEYS = ("gc", "quarantine", "wants", "events", "changes")
NAME_KEYS = ("name_prefix", "name_suffix", "done_marker")
VERSION = 1
LEDGER_PASSWORD_VARIABLE = "SLUICE_LEDGER_PASSWORD"  # noqa: S105 - a name, not a secret
_LOG_LEVELS = ("debug", "info", "warning", "error")
_LEDGER_SCHEMES = ("postgresql", "sqlite")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9._-]{0,15}")


class CommonValues(TypedDict):
    """The arguments of ``model.Common``."""

    folder: Path
    ledger: Ledger
    version: int
    reserve_free: int
    log_level: str
    repository_key: Path | None
    timezone: str
    upkeep: Upkeep
    metrics: Path | None
    notices: Notices


def read_common(section: Section, folder: Path) -> CommonValues:
    """The common keys of the file's top level."""
    return CommonValues(
        folder=folder,
        ledger=_ledger(section, folder),
        version=section.get("version", _version, VERSION),
        reserve_free=section.get("reserve_free", lambda v: v.size(), GIB),
        log_level=section.get("log", _log_level, "info"),
        repository_key=section.get("repository_key", lambda v: v.file(folder), None),
        timezone=section.get("timezone", _timezone, "UTC"),
        upkeep=section.get("upkeep", _upkeep, Upkeep()),
        metrics=section.get("metrics", lambda v: v.file(folder), None),
        notices=section.get("notices", lambda v: read_notices(v, folder), NOBODY),
    )


def _version(value: Value) -> int:
    number = value.integer(1, 10**6)
    if number != VERSION:
        value.fail(
            f"this zone.yaml is of version {number}; this Sluice reads version {VERSION}",
            "install the Sluice that wrote it, or a newer one",
        )
    return number


def _log_level(value: Value) -> str:
    section = value.section(("level",), {})
    return section.get("level", lambda v: v.choice(_LOG_LEVELS), "info")


def _timezone(value: Value) -> str:
    name = value.text()
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        value.fail(
            f"`{value.path}`: there is no time zone {name[:80]!r} on this machine",
            "write a name such as Europe/Berlin, or UTC",
        )
    return name


def _upkeep(value: Value) -> Upkeep:
    section, default = value.section(UPKEEP_KEYS, {}), Upkeep()
    return Upkeep(
        gc=section.get("gc", lambda v: None if v.is_never else v.cron(), default.gc),
        quarantine=section.get("quarantine", _age, default.quarantine),
        wants=section.get("wants", _age, default.wants),
        events=section.get("events", _age, default.events),
        changes=section.get("changes", _age, default.changes),
    )


def _age(value: Value) -> float | None:
    return None if value.is_never else value.duration()


def _ledger(section: Section, folder: Path) -> Ledger:
    password_file = section.get("ledger_password_file", lambda v: v.file(folder), None)
    path: Path | None = folder / "ledger.sqlite"
    url: str | None = None
    if "ledger" in section.entries:
        value = section.at("ledger")
        text, parts = split_url(
            value,
            _LEDGER_SCHEMES,
            "postgresql://user@host/database or sqlite:///file",
            "remove it; put the password into a file named by `ledger_password_file`, "
            f"or into the environment variable {LEDGER_PASSWORD_VARIABLE}",
        )
        if parts.scheme == "postgresql":
            path, url = None, text
            if not parts.path.strip("/"):
                value.fail("`ledger` names no database", "write postgresql://user@host/database")
        elif parts.netloc or len(parts.path) < 2 or parts.query:
            value.fail(
                "`ledger` names no file",
                "write sqlite:///file, relative to the zone's folder, or sqlite:////absolute/file",
            )
        else:
            path = folder / parts.path[1:]
    if url is None and password_file is not None:
        section.at("ledger_password_file").fail(
            "`ledger_password_file` is of no use: a ledger in SQLite has no password",
            "remove it, or write `ledger: postgresql://user@host/database`",
        )
    return Ledger(path=path, url=url, password_file=password_file)


def read_signers(section: Section, folder: Path) -> Signers:
    """``signed_by`` and ``check_packages``."""
    keys = section.get("signed_by", lambda v: v.one_or_some(lambda item: item.file(folder)), ())
    check = section.get("check_packages", Value.boolean, False)
    if check and not keys:
        section.at("check_packages").fail(
            "`check_packages` has no keys to check against",
            "add `signed_by: keys/vendor.asc`",
        )
    return Signers(signed_by=keys, check_packages=check)


def read_part_names(section: Section, suffix: str) -> PartNames:
    """``name_prefix``, ``name_suffix`` (or else ``suffix``) and ``done_marker``."""
    suffix_remedy = "write a dot, then 1 to 16 of A-Z a-z 0-9 . _ -"
    names = PartNames(
        prefix=section.get(
            "name_prefix",
            lambda v: v.matching(
                _PREFIX, "use 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit"
            ),
            "",
        ),
        suffix=section.get("name_suffix", lambda v: v.matching(_SUFFIX, suffix_remedy), suffix),
        done_marker=section.get("done_marker", lambda v: _marker(v, suffix_remedy), None),
    )
    if names.done_marker == names.suffix:
        section.at("done_marker").fail(
            "`done_marker` is the same as the suffix of the parts", "choose another, such as .done"
        )
    return names


def _marker(value: Value, remedy: str) -> str | None:
    if value.text() == "none":
        return None
    return value.matching(_SUFFIX, f"{remedy}; or none")
