"""What makes Maven and Gradle ask one repository and no other: ``settings.xml``, ``init.gradle``.

Maven Settings 1.2; Gradle user guide, "Initialization Scripts". One mirror of everything stands in
the user's settings: Maven 3.8.1 and newer blocks plain HTTP by a mirror of its own global settings,
and the user's go before it. Outside, a captured build is ``strict`` and has a local repository of
its own; inside, the files are made for people, who may keep repositories of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_SETTINGS = """\
<?xml version="1.0" encoding="UTF-8"?>
{heading}<settings>{local}
  <mirrors>
    <mirror>
      <id>sluice</id>
      <name>{url}</name>
      <url>{url}</url>
      <mirrorOf>{mirrored}</mirrorOf>
    </mirror>
  </mirrors>{profile}
</settings>
"""
_LOCAL = """
  <localRepository>{path}</localRepository>
  <interactiveMode>false</interactiveMode>"""
_PROFILE = """
  <!-- The repository that Maven knows by itself has no SNAPSHOTs; here it has. -->
  <profiles>
    <profile>
      <id>sluice</id>
      <repositories>
        <repository>
          <id>central</id>
          <url>{url}</url>{policies}
        </repository>
      </repositories>
      <pluginRepositories>
        <pluginRepository>
          <id>central</id>
          <url>{url}</url>{policies}
        </pluginRepository>
      </pluginRepositories>
    </profile>
  </profiles>
  <activeProfiles>
    <activeProfile>sluice</activeProfile>
  </activeProfiles>"""
_POLICY = """
          <{kind}><enabled>true</enabled>{more}</{kind}>"""
_FAIL = "<checksumPolicy>fail</checksumPolicy>"

_GRADLE = """\
{heading}// Everything that a build asks for, plugins too, comes from one repository;
// files of {left} are left alone.
def sluiceUrl = '{url}'
def kept = [{kept}]

def onlySluice = {{ handler ->
    handler.all {{ repo ->
        def remote = repo.hasProperty('url') && repo.url != null && repo.url.scheme != 'file'
        if ((remote{strict}) && repo.name != 'sluice' && !(repo.name in kept)) {{
            handler.remove(repo)
        }}
    }}
    handler.maven {{ repo ->
        repo.name = 'sluice'
        repo.url = sluiceUrl
        // Gradle 6 and newer want to be told that plain HTTP is meant; older ones do not know how.
        if (sluiceUrl.startsWith('http:') && repo.respondsTo('setAllowInsecureProtocol')) {{
            repo.allowInsecureProtocol = true
        }}
    }}
}}

def settingsPlugins = {{ settings ->
    if (settings.respondsTo('getPluginManagement')) {{
        onlySluice(settings.pluginManagement.repositories)
    }}
    if (settings.respondsTo('getBuildscript')) {{
        onlySluice(settings.buildscript.repositories)
    }}
}}
if (gradle.respondsTo('beforeSettings')) {{
    beforeSettings(settingsPlugins)
}}

settingsEvaluated {{ settings ->
    if (!gradle.respondsTo('beforeSettings')) {{
        settingsPlugins(settings)
    }}
    def ofProjects = true
    if (settings.respondsTo('getDependencyResolutionManagement')) {{
        def management = settings.dependencyResolutionManagement
        onlySluice(management.repositories)
        // Builds may forbid repositories of projects; then those of the settings count.
        ofProjects = management.repositoriesMode.get().name() == 'PREFER_PROJECT'
    }}
    gradle.allprojects {{ project ->
        onlySluice(project.buildscript.repositories)
        if (ofProjects) {{
            onlySluice(project.repositories)
        }}
    }}
}}
"""


def settings_xml(
    url: str,
    *,
    heading: str = "",
    excepted: Sequence[str] = (),
    local: str = "",
    strict: bool = False,
) -> str:
    """A ``settings.xml`` with ``url`` as the mirror of everything but the ids in ``excepted``.

    ``local`` is the path of a local repository for this build alone. ``strict`` makes a wrong
    checksum an error, as ``mvn -C`` does. ``heading`` becomes a comment.
    """
    address = escape(url)
    policies = "".join(
        _POLICY.format(kind=kind, more=_FAIL if strict else "")
        for kind in (["releases"] if strict else []) + ["snapshots"]
    )
    return _SETTINGS.format(
        heading=f"<!-- {heading} -->\n" if heading else "",
        local=_LOCAL.format(path=escape(local)) if local else "",
        url=address,
        mirrored=",".join(["*", *(f"!{each}" for each in excepted)]),
        profile="" if "central" in excepted else _PROFILE.format(url=address, policies=policies),
    )


def init_gradle(
    url: str, *, heading: str = "", excepted: Sequence[str] = (), strict: bool = False
) -> str:
    """A Gradle init script that leaves builds ``url`` and repositories named in ``excepted``.

    ``strict`` takes away what earlier builds left on this machine (``mavenLocal``), too.
    ``heading`` are comment lines without their ``//``.
    """
    literal = url.replace("\\", "\\\\").replace("'", "\\'")
    return _GRADLE.format(
        heading="".join(f"// {line}\n" for line in heading.splitlines()),
        left="the project itself (flatDir)" if strict else "this machine (mavenLocal, flatDir)",
        url=literal,
        kept=", ".join(f"'{each}'" for each in excepted),
        strict=" || repo.name == 'MavenLocal'" if strict else "",
    )
