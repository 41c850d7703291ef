"""The real Maven with nothing but the set-up file, by a name that is not localhost.

Maven's shipped global settings stay in force: they block plain HTTP from everywhere but from a
mirror in the user's own settings, and exempt localhost, which is why another name is used.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.test_serving_http import get
from tests.support import tools
from tests.support.certs import Authority
from tests.support.maven import artifact, overlay, plugin, pom, with_checksums
from tests.support.served import Published, Serving

NAME = "packages.sluice.test"
SNAP = "org.example:moving:1-SNAPSHOT"
BLOCKED = "maven-default-http-blocker"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Two repositories, each with half of what a build needs."""
    made = Published(tmp_path_factory.mktemp("maven") / "store")
    central = artifact("org.codehaus.plexus:plexus-utils:1.1")  # Maven gives it to every plugin
    central |= artifact("org.example:ranged:1.1") | artifact("org.example:plain:1")
    vendor = plugin("1.0") | artifact("org.example:ranged:1.4")
    vendor |= artifact(SNAP, "1-20240502.120000-2")
    for name, files in (("central", central), ("vendor", vendor)):
        made.publish(name, files, format="maven", overlay=overlay(files))
    yield made
    made.close()


def fetch(server: Serving, path: str, host: str) -> str:
    request = urllib.request.Request(server.url + path, headers={"Host": host})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def mvn(
    folder: Path, settings: str, project: bytes, *words: str, java: str = ""
) -> subprocess.CompletedProcess[str]:
    """Maven with an empty local repository, the user's settings, and its own global ones."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_bytes(project)
    (folder / "settings.xml").write_text(settings)
    (folder / "hosts").write_text(f"127.0.0.1 {NAME}\n")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8",
        "MAVEN_OPTS": f"-Djdk.net.hosts.file={folder / 'hosts'} {java}",
    }  # fmt: skip
    return subprocess.run(
        [tools.need("mvn"), "-B", "-ntp", "-C", "-s", str(folder / "settings.xml"),
         f"-Dmaven.repo.local={folder / 'local'}", f"-Duser.home={folder}", *words],
        cwd=folder, env=environment, text=True, timeout=240, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


PROJECT = pom(
    "org.example.apps:app:1",
    dependencies=["org.example:plain:1", "org.example:ranged:[1.0,2.0)", SNAP],
    extra="<build><plugins><plugin><groupId>org.example.tools</groupId>"
    "<artifactId>show-maven-plugin</artifactId></plugin></plugins></build>",
)
REVEAL = "org.example.tools:show-maven-plugin:paths"


def seen(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The files of the class path that the plugin shows."""
    assert done.returncode == 0, done.stdout
    rows = (line.partition("path ")[2] for line in done.stdout.splitlines() if "path " in line)
    return {row.rpartition("/")[2] for row in rows if row.endswith(".jar")}


EXPECTED = {"plain-1.jar", "ranged-1.4.jar", "moving-1-SNAPSHOT.jar"}


def test_over_plain_http_by_a_name(published: Published, tmp_path: Path) -> None:
    groups = {"public": ("central", "vendor")}
    with Serving(published.store.folder, groups=groups) as server:
        host = f"{NAME}:{server.address[1]}"
        settings = fetch(server, "/setup/maven/settings.xml", host)
        assert f"<url>http://{host}/maven/public/</url>" in settings
        # Without our mirror the blocker stands in the way: so it is in force.
        bare = "<settings/>"
        direct = pom(
            "org.example.apps:app:1",
            dependencies=["org.example:plain:1"],
            extra=f"<repositories><repository><id>x</id><url>http://{host}/maven/public/</url>"
            "</repository></repositories><pluginRepositories><pluginRepository><id>x</id>"
            f"<url>http://{host}/maven/public/</url></pluginRepository></pluginRepositories>",
        )
        stopped = mvn(tmp_path / "direct", bare, direct, f"{REVEAL[:-6]}:1.0:paths")
        assert stopped.returncode != 0 and BLOCKED in stopped.stdout, stopped.stdout
        done = mvn(tmp_path / "mirror", settings, PROJECT, REVEAL)
        assert seen(done) == EXPECTED
        assert BLOCKED not in done.stdout
        # Even the build that names plain HTTP itself is led to the mirror.
        again = mvn(tmp_path / "direct2", settings, direct, f"{REVEAL[:-6]}:1.0:paths")
        assert seen(again) == {"plain-1.jar"}
        missing = pom("org.example.apps:app:1", dependencies=["org.example:absent:1.0"])
        failed = mvn(tmp_path / "missing", settings, missing, REVEAL)
        assert failed.returncode != 0 and "org.example:absent:jar:1.0" in failed.stdout
    assert {miss.want for miss in server.misses} == {"org.example:absent:1.0"}


def test_over_https_with_a_private_authority(
    published: Published, tmp_path: Path, authority: Authority
) -> None:
    store = tmp_path / "trust.p12"
    tools.run(
        [tools.need("keytool"), "-importcert", "-noprompt", "-alias", "ca", "-storetype", "PKCS12",
         "-file", authority.ca, "-keystore", store, "-storepass", "changeit"]
    )  # fmt: skip
    java = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit"
    groups = {"public": ("central", "vendor")}
    with Serving(published.store.folder, groups=groups, tls=authority.issue(NAME)) as server:
        url = f"https://{NAME}:{server.address[1]}"
        context = ssl.create_default_context(cafile=str(authority.ca))
        asked = urllib.request.Request(
            f"{server.url}/setup/maven/settings.xml", headers={"Host": url.partition("://")[2]}
        )
        with urllib.request.urlopen(asked, timeout=60, context=context) as answer:
            settings = answer.read().decode()
        assert f"<url>{url}/maven/public/</url>" in settings
        assert seen(mvn(tmp_path / "tls", settings, PROJECT, REVEAL, java=java)) == EXPECTED


def test_our_own_repository_is_left_alone(published: Published, tmp_path: Path) -> None:
    own = tmp_path / "own"
    for path, data in with_checksums(artifact("com.corp:inner:1"), "sha1").items():
        (own / path).parent.mkdir(parents=True, exist_ok=True)
        (own / path).write_bytes(data)
    project = pom(
        "com.corp:app:1",
        dependencies=["com.corp:inner:1", "org.example:plain:1"],
        extra=f"<repositories><repository><id>corp</id><url>{own.as_uri()}</url>"
        "</repository></repositories>",
    )
    with Serving(published.store.folder, groups={"public": ("central", "vendor")}) as server:
        host = f"{NAME}:{server.address[1]}"
        settings = fetch(server, "/setup/maven/settings.xml?except=corp", host)
        assert "<mirrorOf>*,!corp</mirrorOf>" in settings
        done = mvn(tmp_path / "own-build", settings, project, REVEAL)
        assert seen(done) == {"inner-1.jar", "plain-1.jar"}


def test_which_repository_clients_are_pointed_to(published: Published) -> None:
    def status(server: Serving, path: str) -> int:
        return get(server, f"/setup/{path}")[0]

    with Serving(published.store.folder) as server:  # two repositories, no group
        assert status(server, "maven/settings.xml") == 404
        body = get(server, "/setup/maven/settings.xml?repository=vendor")[2].decode()
        assert "/maven/vendor/</url>" in body and "<mirrorOf>*</mirrorOf>" in body
        assert status(server, "gradle/init.gradle?repository=none") == 404
        assert b"?repository=NAME" in get(server, "/setup/")[2]
    groups = {"public": ("central", "vendor")}
    with Serving(published.store.folder, groups=groups) as server:
        body = get(server, "/setup/maven/settings.xml?except=a&except=central&except=a")[2]
        assert b"<mirrorOf>*,!a,!central</mirrorOf>" in body and b"<profiles>" not in body
        for bad in ("except=a%3Cb", "except=", "except=a,b", "except=%ff", "&".join(["x=1"] * 99)):
            assert status(server, f"maven/settings.xml?{bad}") == 400, bad
        script = get(server, "/setup/gradle/init.gradle?except=corp")[2].decode()
        assert f"def sluiceUrl = '{server.url}/maven/public/'" in script
        assert "def kept = ['corp']" in script and "{{" not in script
        for page in ("ide", "nexus", ""):
            code, headers, _ = get(server, f"/setup/{page}")
            assert code == 200 and headers["content-type"].startswith("text/html")
        assert b"plain HTTP" in get(server, "/setup/ide")[2]
    with Serving(published.store.folder, external_url="https://x.example.org/y") as server:
        assert b"keytool" in get(server, "/setup/ide")[2]


def test_without_a_maven_repository_there_are_no_such_files(tmp_path: Path) -> None:
    made = Published(tmp_path / "store")
    made.publish("baseos", {"a.rpm": b""})
    with Serving(made.store.folder) as server:
        for path in ("maven/settings.xml", "gradle/init.gradle", "ide", "nexus"):
            assert get(server, f"/setup/{path}")[0] == 404
        assert b"Maven" not in get(server, "/setup/")[2]
    made.close()
