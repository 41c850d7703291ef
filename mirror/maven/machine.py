"""Which repository this machine's own Maven uses for ``central``.

``upstream: system`` means: whatever an administrator set up here for builds. Read are the user's
``settings.xml``, then the installation's (Maven Settings 1.2), and at last Maven's own super POM,
so that no address of a public repository stands in Sluice itself.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from manifests.errors import ConfigError, FormatError
from manifests.formats import xmlstream
from manifests.zone import model as zone

CENTRAL = "central"
_MAX_SETTINGS = 4 << 20
_SUPER_POM = "org/apache/maven/model/pom-4.0.0.xml"
_REMEDY = "write the address itself: `upstream: https://host/path/`"
_VARIABLE = re.compile(r"\$\{(?:env\.([A-Za-z_][A-Za-z0-9_]*)|(user\.home))\}")
_ROWS = frozenset(("mirror", "server", "proxy", "profile", "repository"))


@dataclass(slots=True)
class _Reading:
    """Rows of a settings file or POM: each element that may stand several times, as a mapping."""

    deepest: int = 6
    names: list[str] = field(default_factory=list)
    rows: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    profile: str = ""
    by_default: bool = False

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        self.names[depth - 1 :] = [name]
        if name in _ROWS:
            self.rows.setdefault(name, []).append({})

    def end(self, depth: int, name: str, text: str) -> None:
        above = self.names[depth - 2] if depth > 1 else ""
        if above in _ROWS and name not in _ROWS:
            self.rows[above][-1].setdefault(name, text.strip())
        elif name == "activeProfile":
            self.active.append(text.strip())
        elif (above, name, text.strip()) == ("activation", "activeByDefault", "true"):
            self.rows["profile"][-1]["default"] = "true"
        if name == "repository" and "profile" in self.rows:
            # Which profile it belongs to: the one that is open.
            self.rows[name][-1]["of"] = str(len(self.rows["profile"]) - 1)


def settled(
    repository: zone.Repository, environ: Mapping[str, str] = os.environ
) -> zone.Repository:
    """``repository`` with an upstream that can be asked.

    Raises ConfigError: no Maven is installed, its settings cannot be read, or they name
    something that Sluice cannot use.
    """
    if not repository.upstream.system:
        if repository.connection.username and repository.connection.password_file is None:
            name = re.sub(r"[^A-Z0-9]", "_", repository.name.upper())
            password = environ.get(f"SLUICE_PASSWORD_{name}") or environ.get("SLUICE_PASSWORD")
            if password:
                connection = replace(repository.connection, password=password)
                return replace(repository, connection=connection)
        return repository
    home = maven_home(environ)
    files = [Path(environ.get("HOME", "~")).expanduser() / ".m2" / "settings.xml"]
    if home is not None:
        files.append(home / "conf" / "settings.xml")
    found = [_read(file, environ) for file in files if file.is_file()]
    url, server = _address(found, home)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            "this machine's Maven uses a repository that is not reached over http",
            where=repository.name,
            remedy=_REMEDY,
        )
    connection = _with_login(repository.connection, server, found, repository.name)
    if connection.proxy is None:
        connection = replace(connection, proxy=_proxy(found, parts.scheme, parts.hostname))
    upstream = zone.Upstream(urls=(url.rstrip("/") + "/",))
    return replace(repository, upstream=upstream, connection=connection)


def maven_home(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where Maven is installed, if it is."""
    for name in ("MAVEN_HOME", "M2_HOME"):
        if environ.get(name):
            return Path(environ[name])
    program = shutil.which("mvn", path=environ.get("PATH"))
    return None if program is None else Path(program).resolve().parent.parent


def _read(file: Path, environ: Mapping[str, str]) -> _Reading:
    reading = _Reading()
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_SETTINGS)
        for _ in xmlstream.read([data], reading, str(file)):
            pass
    except (OSError, FormatError) as error:
        raise ConfigError(
            f"Maven's settings cannot be read: {error}", where=str(file), remedy=_REMEDY
        ) from error

    def value(found: re.Match[str]) -> str:
        return environ.get(found[1] or "HOME", "")

    for rows in reading.rows.values():
        for row in rows:
            row.update({key: _VARIABLE.sub(value, text) for key, text in row.items()})
    return reading


def _address(found: list[_Reading], home: Path | None) -> tuple[str, str]:
    """The URL for ``central`` and the id whose login counts: a mirror's, a profile's, Maven's."""
    mirrors = [
        row
        for reading in found
        for row in reading.rows.get("mirror", [])
        if row.get("blocked") != "true" and row.get("url")
    ]
    # As Maven chooses: an exact name before patterns, then the order of the files.
    for fits in (lambda pattern: pattern == CENTRAL, _matches):
        for row in mirrors:
            if fits(row.get("mirrorOf", "")):
                return row["url"], row.get("id", "")
    for reading in found:
        profiles = reading.rows.get("profile", [])
        active = {name for each in found for name in each.active}
        for row in reading.rows.get("repository", []):
            profile = profiles[int(row["of"])] if "of" in row else {}
            on = profile.get("id") in active or (profile.get("default") and not reading.active)
            if row.get("id") == CENTRAL and row.get("url") and on:
                return row["url"], CENTRAL
    return _built_in(home), CENTRAL


def _matches(pattern: str) -> bool:
    """Whether a mirror's pattern covers ``central`` ("Using Mirrors", advanced specification)."""
    words = [word.strip() for word in pattern.split(",")]
    if f"!{CENTRAL}" in words:
        return False
    return any(word in (CENTRAL, "*", "external:*") for word in words)


def _built_in(home: Path | None) -> str:
    """The repository in the super POM of the installed Maven."""
    if home is None:
        raise ConfigError(
            "`upstream: system` needs Maven, and no `mvn` is installed here",
            remedy=f"install Maven, or {_REMEDY}",
        )
    for jar in sorted((home / "lib").glob("maven-model-builder-*.jar")):
        try:
            with zipfile.ZipFile(jar) as archive:
                data = archive.read(_SUPER_POM)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"Maven's own settings cannot be read: {error}", where=str(jar), remedy=_REMEDY
            ) from error
        reading = _Reading()
        for _ in xmlstream.read([data], reading, str(jar)):
            pass
        for row in reading.rows.get("repository", []):
            if row.get("id") == CENTRAL and row.get("url"):
                return row["url"]
    raise ConfigError("this Maven names no repository of its own", where=str(home), remedy=_REMEDY)


def _with_login(
    connection: zone.Connection, server: str, found: list[_Reading], name: str
) -> zone.Connection:
    """The login that the settings have for ``server``, unless zone.yaml names one."""
    if connection.username is not None:
        return connection
    for reading in found:
        for row in reading.rows.get("server", []):
            if row.get("id") != server or not row.get("username"):
                continue
            password = row.get("password", "")
            if password.startswith("{") and password.endswith("}"):
                raise ConfigError(
                    f"Maven's password for {server} is encrypted, which only Maven can read",
                    where=name,
                    remedy="write `upstream`, `username` and `password_file` into zone.yaml",
                )
            return replace(connection, username=row["username"], password=password)
    return connection


def _proxy(found: list[_Reading], scheme: str, host: str) -> str | None:
    """The active proxy of the settings for this host."""
    for reading in found:
        for row in reading.rows.get("proxy", []):
            if row.get("active", "true") != "true" or not row.get("host"):
                continue
            if row.get("protocol", "http") not in (scheme, "http"):
                continue
            around = re.split(r"[|,]", row.get("nonProxyHosts", ""))
            if any(
                re.fullmatch(re.escape(one).replace(r"\*", ".*"), host) for one in around if one
            ):
                return None
            login = ""
            if row.get("username"):
                login = f"{quote(row['username'], '')}:{quote(row.get('password', ''), '')}@"
            return f"http://{login}{row['host']}:{row.get('port', '8080')}"
    return None
