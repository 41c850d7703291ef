"""Small hand-made Maven repositories, and the real Maven over them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from manifests.formats import format_named
from manifests.formats.base import Before, Derived
from tests.support import tools
from tests.support.formats import MemoryView

MAVEN = format_named("maven")
LIBRARIES = Path("/usr/share/maven/lib")
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For ``MAVEN_OPTS``: tests run Maven for seconds, so that its start counts, not its best speed."""
SPACE = "http://maven.apache" + ".org/POM/4.0.0"


def pom(
    coordinates: str,
    *,
    parent: str = "",
    packaging: str = "",
    dependencies: Iterable[str] = (),
    extra: str = "",
) -> bytes:
    """A POM; dependencies are ``group:artifact:version[:type[:classifier]]``."""
    names = ("groupId", "artifactId", "version", "type", "classifier")

    def rows(text: str) -> str:
        words = zip(names, text.split(":"), strict=False)
        return "".join(f"<{name}>{word}</{name}>" for name, word in words if word)

    parts = [
        "<modelVersion>4.0.0</modelVersion>",
        f"<parent>{rows(parent)}<relativePath/></parent>" if parent else "",
        rows(coordinates),
        f"<packaging>{packaging}</packaging>" if packaging else "",
        "<dependencies>",
        *(f"<dependency>{rows(each)}</dependency>" for each in dependencies),
        "</dependencies>",
        extra,
    ]
    return f'<project xmlns="{SPACE}">{"".join(parts)}</project>'.encode()


def jar(members: Mapping[str, bytes] | None = None) -> bytes:
    """A ZIP with these members and fixed times."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (members or {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n"}).items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
    return target.getvalue()


def place(coordinates: str, ending: str, build: str = "") -> str:
    """The path for ``group:artifact:version`` and an ending like ``.jar`` or ``-sources.jar``."""
    group, name, version = coordinates.split(":")
    return f"{group.replace('.', '/')}/{name}/{version}/{name}-{build or version}{ending}"


def artifact(coordinates: str, build: str = "", **words: object) -> dict[str, bytes]:
    """A JAR with its POM."""
    return {
        place(coordinates, ".pom", build): pom(coordinates, **words),  # type: ignore[arg-type]
        place(coordinates, ".jar", build): jar({"name.txt": f"{coordinates} {build}".encode()}),
    }


def with_checksums(files: Mapping[str, bytes], *algorithms: str) -> dict[str, bytes]:
    """``files`` and a checksum file of each kind beside each."""
    result = dict(files)
    for path, data in files.items():
        for algorithm in algorithms:
            result[f"{path}.{algorithm}"] = hashlib.new(algorithm, data).hexdigest().encode()
    return result


def overlay(
    files: Mapping[str, bytes], previous: tuple[MemoryView, MemoryView] | None = None
) -> dict[str, bytes]:
    """What the format derives from ``files``."""
    before = None if previous is None else Derived(*previous)
    made: dict[str, bytes] = {}
    named: set[str] = set()
    rest: dict[str, bytes] = {}
    for path, content in MAVEN.derive(MemoryView(files), before, None):
        if content is Before.REST:
            assert previous is not None and not path
            rest = previous[1].files
            continue
        assert path not in named, f"derived twice: {path}"
        named.add(path)
        if not isinstance(content, Before):
            made[path] = content if isinstance(content, bytes) else content.read_bytes()
    return made | {path: data for path, data in rest.items() if path not in named}


_MOJO = """
package demo;
import java.util.*;
import org.apache.maven.plugin.AbstractMojo;
public class Show extends AbstractMojo {
    private List<String> paths;
    private String edition;
    public void execute() {
        getLog().info("edition " + edition);
        for (Object each : new TreeSet<Object>(paths)) getLog().info("path " + each);
    }
}
"""
_DESCRIPTOR = """<plugin><name>Show</name><groupId>org.example.tools</groupId>
<artifactId>show-maven-plugin</artifactId><version>{version}</version>
<goalPrefix>reveal</goalPrefix><isolatedRealm>false</isolatedRealm>
<inheritedByDefault>true</inheritedByDefault><mojos><mojo><goal>paths</goal>
<requiresDependencyResolution>compile</requiresDependencyResolution>
<requiresProject>true</requiresProject><implementation>demo.Show</implementation>
<language>java</language><instantiationStrategy>per-lookup</instantiationStrategy>
<parameters><parameter><name>paths</name><type>java.util.List</type></parameter>
<parameter><name>edition</name><type>java.lang.String</type></parameter></parameters>
<configuration>
<paths implementation="java.util.List" default-value="${{project.compileClasspathElements}}"/>
<edition implementation="java.lang.String" default-value="{version}"/>
</configuration></mojo></mojos></plugin>"""


@cache
def _mojo(text: str, *libraries: str) -> bytes:
    """The compiled class of a plugin, with these libraries of Maven's."""
    with TemporaryDirectory() as folder:
        source = Path(folder) / "Show.java"
        source.write_text(text)
        found = [str(each) for name in libraries for each in LIBRARIES.glob(f"maven-{name}*.jar")]
        tools.run([tools.need("javac"), "--release", "8", "-nowarn", "-cp", ":".join(found),
                   "-d", folder, source])  # fmt: skip
        return (Path(folder) / "demo" / "Show.class").read_bytes()


def plugin(version: str) -> dict[str, bytes]:
    """A real plugin, ``reveal:paths``, in one version."""
    coordinates = f"org.example.tools:show-maven-plugin:{version}"
    descriptor = _DESCRIPTOR.format(version=version).encode()
    return {
        place(coordinates, ".pom"): pom(coordinates, packaging="maven-plugin"),
        place(coordinates, ".jar"): jar(
            {"META-INF/maven/plugin.xml": descriptor, "demo/Show.class": _mojo(_MOJO, "plugin-api")}
        ),
    }


_EFFECTIVE = """
package demo;
import java.io.*;
import org.apache.maven.model.io.xpp3.MavenXpp3Writer;
import org.apache.maven.plugin.*;
import org.apache.maven.project.MavenProject;
public class Show extends AbstractMojo {
    private MavenProject project;
    private File output;
    public void execute() throws MojoExecutionException {
        try (Writer writer = new OutputStreamWriter(new FileOutputStream(output), "UTF-8")) {
            new MavenXpp3Writer().write(writer, project.getModel());
        } catch (IOException error) { throw new MojoExecutionException("cannot write", error); }
    }
}
"""
_EFFECTIVE_DESCRIPTOR = """<plugin><name>Help</name><groupId>org.apache.maven.plugins</groupId>
<artifactId>maven-help-plugin</artifactId><version>9.9</version><goalPrefix>help</goalPrefix>
<mojos><mojo><goal>effective-pom</goal><requiresProject>true</requiresProject>
<implementation>demo.Show</implementation><language>java</language>
<instantiationStrategy>per-lookup</instantiationStrategy><parameters>
<parameter><name>project</name><type>org.apache.maven.project.MavenProject</type></parameter>
<parameter><name>output</name><type>java.io.File</type></parameter></parameters><configuration>
<project implementation="org.apache.maven.project.MavenProject" default-value="${project}"/>
<output implementation="java.io.File">${output}</output></configuration></mojo></mojos></plugin>"""


def help_plugin() -> dict[str, bytes]:
    """Stands for maven-help-plugin, which Debian has not: ``effective-pom`` by Maven's own model.

    With the index by which its newest release is found.
    """
    coordinates = "org.apache.maven.plugins:maven-help-plugin:9.9"
    files = {
        **artifact("org.codehaus.plexus:plexus-utils:1.1"),  # Maven gives it to every plugin
        place(coordinates, ".pom"): pom(coordinates, packaging="maven-plugin"),
        place(coordinates, ".jar"): jar(
            {
                "META-INF/maven/plugin.xml": _EFFECTIVE_DESCRIPTOR.encode(),
                "demo/Show.class": _mojo(_EFFECTIVE, "plugin-api", "core", "model"),
            }
        ),
    }
    return files | overlay(files)


def settings(folder: Path, url: str) -> Path:
    """User settings with ``url`` as the mirror of everything, SNAPSHOTs too.

    The repository that Maven knows by itself has none, so a profile says that it has.
    """
    path = folder / "settings.xml"
    path.write_text(
        "<settings><mirrors><mirror><id>sluice</id><mirrorOf>*</mirrorOf>"
        f"<url>{url}</url></mirror></mirrors>"
        "<profiles><profile><id>all</id><repositories><repository><id>central</id>"
        "<url>http://central</url><snapshots><enabled>true</enabled></snapshots></repository>"
        "</repositories></profile></profiles>"
        "<activeProfiles><activeProfile>all</activeProfile></activeProfiles>"
        "<pluginGroups><pluginGroup>org.example.tools</pluginGroup></pluginGroups></settings>"
    )
    return path


def mvn(
    folder: Path, url: str, project: bytes, *words: str, local: str = "local"
) -> subprocess.CompletedProcess[str]:
    """Run Maven on a project with a local repository of its own; output and errors together."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_bytes(project)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8",
                   "MAVEN_OPTS": QUICK_START}  # fmt: skip
    command = [tools.need("mvn"), "-B", "-ntp", "-s", str(settings(folder, url)),
               f"-Dmaven.repo.local={folder / local}", f"-Duser.home={folder}",
               *words]  # fmt: skip
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, timeout=240, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
