"""Maven, Gradle, IDEs and repository managers: everything from one URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from manifests.formats.maven.settings import init_gradle, settings_xml
from repo_server.frame import page
from repo_server.setup.base import Asked, Refusal, SetupFile
from repo_server.site import Site

FORMAT = "maven"
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HTML = "text/html; charset=utf-8"

_SETTINGS_HEADING = """Save it as ~/.m2/settings.xml, or call: mvn -s settings.xml ...
     Everything that a build asks for comes from the one mirror below.
     What was missing once is asked for again with: mvn -U"""
_GRADLE_HEADING = "Save it as ~/.gradle/init.d/sluice.gradle, or call: gradle -I init.gradle ..."


class MavenSetup:
    """``maven/settings.xml``, ``gradle/init.gradle``, and the pages ``ide`` and ``nexus``."""

    format = FORMAT

    def find(self, site: Site, name: str) -> SetupFile | None:
        if not site.names(FORMAT):
            return None
        if name == "maven/settings.xml":
            return SetupFile("text/xml", lambda asked: _settings(site, asked))
        if name == "gradle/init.gradle":
            return SetupFile("text/plain; charset=utf-8", lambda asked: _gradle(site, asked))
        if name in ("ide", "nexus"):
            make = _ide if name == "ide" else _nexus
            return SetupFile(_HTML, lambda asked: make(site, asked.base).encode())
        return None

    def link(self, name: str) -> tuple[str, str]:
        return f"maven/settings.xml?repository={quote(name)}", "settings.xml"

    def section(self, site: Site, base: str) -> Iterator[str]:
        yield "<h2>Maven, Gradle and IDEs</h2>\n"
        if chosen(site, ()) is None:
            names = ", ".join(f"<code>{escape(name)}</code>" for name in site.names(FORMAT))
            yield (
                "<p>There are several repositories: add <code>?repository=NAME</code> to the URLs"
                f" below ({names}), or merge them by <code>serve: groups:</code>.</p>\n"
            )
        settings = f"{escape(base)}/setup/maven/settings.xml"
        init = f"{escape(base)}/setup/gradle/init.gradle"
        yield (
            "<table>\n"
            '<tr><td><a href="maven/settings.xml">settings.xml</a></td>'
            f"<td><code>curl -o ~/.m2/settings.xml {settings}</code></td></tr>\n"
            '<tr><td><a href="gradle/init.gradle">init.gradle</a></td>'
            f"<td><code>curl --create-dirs -o ~/.gradle/init.d/sluice.gradle {init}</code></td>"
            "</tr>\n</table>\n"
            "<p><code>?except=ID</code> (repeatable) leaves repositories with that id alone, such"
            ' as your own. See also: <a href="ide">Eclipse and IntelliJ</a>,'
            ' <a href="nexus">a Nexus in front of this server</a>.</p>\n'
        )


def chosen(site: Site, wanted: tuple[str, ...]) -> str | None:
    """The repository or group that clients are pointed to; None if that is not clear.

    The one that they named; else the only group; else the only repository.
    """
    names = site.names(FORMAT)
    if wanted:
        return wanted[0] if len(wanted) == 1 and wanted[0] in names else None
    groups = [name for name in names if name in site.groups]
    for options in (groups, names):
        if len(options) == 1:
            return options[0]
    return None


def _target(site: Site, asked: Asked) -> tuple[str, list[str]] | Refusal:
    """URL of the repository, and the ids that are left alone."""
    name = chosen(site, tuple(asked.query.get("repository", ())))
    if name is None:
        names = ", ".join(site.names(FORMAT))
        return Refusal(404, f"Which repository? Add ?repository=NAME; there are: {names}")
    ids = list(dict.fromkeys(asked.query.get("except", ())))
    if not all(_ID.fullmatch(each) for each in ids):
        return Refusal(400, "An id in ?except=ID has letters, digits, - _ and . only.")
    return f"{asked.base}/{FORMAT}/{quote(name)}/", ids


def _settings(site: Site, asked: Asked) -> bytes | Refusal:
    target = _target(site, asked)
    if isinstance(target, Refusal):
        return target
    url, ids = target
    return settings_xml(url, heading=_SETTINGS_HEADING, excepted=ids).encode()


def _gradle(site: Site, asked: Asked) -> bytes | Refusal:
    target = _target(site, asked)
    if isinstance(target, Refusal):
        return target
    url, ids = target
    return init_gradle(url, heading=_GRADLE_HEADING, excepted=ids).encode()


def _ide(site: Site, base: str) -> str:
    settings = f"{escape(base)}/setup/maven/settings.xml"
    init = f"{escape(base)}/setup/gradle/init.gradle"
    return page(
        "Eclipse and IntelliJ",
        "<p>Save the two files where the tools look by themselves; then nothing need be set in the"
        f" IDE:</p>\n<pre>curl -o ~/.m2/settings.xml {settings}\n"
        f"curl --create-dirs -o ~/.gradle/init.d/sluice.gradle {init}</pre>\n"
        "<p>On Windows: <code>%USERPROFILE%\\.m2\\settings.xml</code> and"
        " <code>%USERPROFILE%\\.gradle\\init.d\\sluice.gradle</code>.</p>\n"
        "<h2>Eclipse</h2>\n<ul>\n"
        "<li>Window &gt; Preferences &gt; Maven &gt; User Settings: the file is shown as User"
        " Settings; <em>Update Settings</em> reads it again.</li>\n"
        "<li>Preferences &gt; Maven: leave <em>Download repository index updates on startup</em>"
        " off; there is no index here.</li>\n"
        "<li>After an artifact has arrived: right click on the project &gt; Maven &gt; Update"
        " Project, with <em>Force Update of Snapshots/Releases</em>.</li>\n</ul>\n"
        "<h2>IntelliJ IDEA</h2>\n<ul>\n"
        "<li>Settings &gt; Build, Execution, Deployment &gt; Build Tools &gt; Maven: <em>User"
        " settings file</em> is the one above; tick <em>Override</em> if it lies elsewhere.</li>\n"
        "<li>Build Tools &gt; Gradle uses the same <em>Gradle user home</em>, and so the init"
        " script.</li>\n"
        "<li>After an artifact has arrived: <em>Reload All Maven Projects</em>; Maven remembers"
        " what was missing, so once also <code>mvn -U</code>.</li>\n</ul>\n" + _https(base),
    )


def _nexus(site: Site, base: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(base)}/maven/{quote(name)}/</code></td>"
        "</tr>\n"
        for name in site.names(FORMAT)
    )
    return page(
        "A repository manager in front of this server",
        "<p>In Nexus: Repositories &gt; Create repository &gt; <code>maven2 (proxy)</code>, one for"
        f" each of these, then a <code>maven2 (group)</code> over them.</p>\n<table>\n{rows}"
        "</table>\n<ul>\n"
        "<li>Version policy: <em>Mixed</em>. Layout policy: <em>Permissive</em>.</li>\n"
        "<li>Maximum metadata age: a few minutes; new snapshots then show soon. Maximum component"
        " age: -1, since releases never change.</li>\n"
        "<li>Not found cache: short, or off, or a want that has come stays unseen.</li>\n"
        "<li>Auto blocking: off, or one restart of this server makes Nexus stop asking.</li>\n"
        "</ul>\n<p>What Nexus does not find here becomes a want here as if the client had"
        " asked.</p>\n" + _https(base),
    )


def _https(base: str) -> str:
    if base.startswith("https:"):
        return (
            "<p>If a private authority signed this server's certificate, Java must know it:"
            " <code>keytool -importcert -cacerts -file ca.pem</code>, or"
            " <code>-Djavax.net.ssl.trustStore=FILE</code> in <code>MAVEN_OPTS</code>.</p>\n"
        )
    return (
        "<p>This server is reached by plain HTTP. Maven 3.8.1 and newer takes that from the"
        " mirror in your own settings, and from nowhere else: repositories that are left alone"
        " by <code>?except=ID</code> need HTTPS, or a mirror of their own.</p>\n"
    )
