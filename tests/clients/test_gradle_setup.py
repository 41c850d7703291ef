"""A real Gradle with nothing but the init script; Debian's, which is 4.4.1."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import urllib.request
from pathlib import Path

from tests.clients.test_serving_http import get
from tests.support import tools
from tests.support.certs import Authority
from tests.support.drive import Outside
from tests.support.maven import artifact, overlay
from tests.support.mavenweb import MavenWeb
from tests.support.served import Published, Serving

BUILD = """
buildscript {{
    repositories {{ mavenCentral() }}
    dependencies {{ classpath 'org.example:plugged:1' }}
}}
apply plugin: 'java'
repositories {{
    mavenCentral()
    maven {{ url 'http://127.0.0.1:9/never/asked' }}
    flatDir {{ dirs 'lib' }}
}}
dependencies {{ compile {dependencies} }}
task show {{
    doLast {{
        configurations.compileClasspath.files.each {{ println "path ${{it.name}}" }}
        buildscript.configurations.classpath.files.each {{ println "plugin ${{it.name}}" }}
        repositories.each {{ println "repository ${{it.name}}" }}
    }}
}}
"""


def lay_out(folder: Path, *dependencies: str) -> None:
    """A project that prints where everything came from."""
    folder.mkdir()
    (folder / "lib").mkdir()
    (folder / "lib" / "ours-1.jar").write_bytes(b"")
    listed = ", ".join(f"'{each}'" for each in dependencies)
    (folder / "build.gradle").write_text(BUILD.format(dependencies=listed))
    (folder / "settings.gradle").write_text("rootProject.name = 'app'\n")


def gradle(
    folder: Path, script: bytes, *dependencies: str, trust: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """``trust`` is a key store with the authorities to believe."""
    lay_out(folder, *dependencies)
    if trust is not None:
        (folder / "home").mkdir()
        (folder / "home" / "gradle.properties").write_text(
            f"systemProp.javax.net.ssl.trustStore={trust}\n"
            "systemProp.javax.net.ssl.trustStorePassword=changeit\n"
        )
    (folder / "init.gradle").write_bytes(script)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [tools.need("gradle"), "--no-daemon", "-q", "-g", str(folder / "home"),
         "-I", str(folder / "init.gradle"), "show"],
        cwd=folder, env=environment, text=True, timeout=280, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_everything_comes_from_one_repository(tmp_path: Path, authority: Authority) -> None:
    published = Published(tmp_path / "store")
    for name, coordinates in (("central", "plain"), ("vendor", "plugged")):
        files = artifact(f"org.example:{coordinates}:1") | artifact(
            f"org.example:ranged:1.{name == 'vendor':d}"
        )
        published.publish(name, files, format="maven", overlay=overlay(files))
    with Serving(published.store.folder, groups={"public": ("central", "vendor")}) as server:
        script = get(server, "/setup/gradle/init.gradle")[2]
        done = gradle(
            tmp_path / "app", script,
            "org.example:plain:1", "org.example:ranged:[1.0,2.0)", ":ours:1",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        rows = set(done.stdout.splitlines())
        assert {"path plain-1.jar", "path ranged-1.1.jar", "path ours-1.jar"} <= rows
        assert "plugin plugged-1.jar" in rows
        assert {row for row in rows if row.startswith("repository")} == {
            "repository sluice", "repository flatDir",
        }  # fmt: skip
    store = tmp_path / "trust.p12"
    tools.run(
        [tools.need("keytool"), "-importcert", "-noprompt", "-alias", "ca", "-storetype", "PKCS12",
         "-file", authority.ca, "-keystore", store, "-storepass", "changeit"]
    )  # fmt: skip
    context = ssl.create_default_context(cafile=str(authority.ca))
    with Serving(
        published.store.folder,
        groups={"public": ("central", "vendor")},
        tls=authority.issue("gradle"),
    ) as server:
        url = f"{server.url}/setup/gradle/init.gradle"
        with urllib.request.urlopen(url, timeout=60, context=context) as answer:
            script = answer.read()
        assert server.url.startswith("https://") and server.url.encode() in script
        failed = gradle(tmp_path / "missing", script, "org.example:absent:1", trust=store)
        assert failed.returncode != 0 and "org.example:absent:1" in failed.stdout, failed.stdout
    # So it came through, verified.
    assert ("central", "org.example:absent:1") in {
        (miss.repository, miss.want) for miss in server.misses
    }
    published.close()


def test_a_captured_build(tmp_path: Path) -> None:
    """What it needs becomes roots, whatever repositories it names; its own folders stay."""
    files = artifact("org.example:plain:1") | artifact("org.example:plugged:1")
    web = MavenWeb(files)
    with web.serving():
        zone = Outside.make(tmp_path / "OUT")
        zone.repositories["central"] = {"format": "maven", "upstream": web.url, "retries": 1}
        zone.configure()
        app = tmp_path / "app"
        lay_out(app, "org.example:plain:1", ":ours:1")
        done = zone.run(
            "capture", "central", "--", "gradle", "--no-daemon", "-q", "-p", app, "show"
        )
    assert {"path plain-1.jar", "path ours-1.jar"} <= set(done.out.splitlines())
    found = json.loads(zone.sluice("roots", "central", "--json").out)
    assert {row["root"] for row in found} == set(files)
