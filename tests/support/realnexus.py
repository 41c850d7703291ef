"""A real Nexus Repository 3, started from the artifact that Sonatype publishes.

131 MB come by Maven the first time; it needs Java 17 or newer and is up in one or two minutes.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.request
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError

import pytest

from tests.support import tools

VERSION = "3.71.0-06"
LOGIN = ("admin", "admin123")
_ARTIFACT = f"org.sonatype.nexus.assemblies:nexus-base-template:{VERSION}:zip"
_STARTS = 300.0
"""Seconds that it may take on a slow machine."""


class RealNexus:
    """Runs in ``folder``, on loopback, without any repository."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = folder / f"nexus-base-template-{VERSION}"
        self._port = tools.free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._unpack()
        work = self._folder / "sonatype-work" / "nexus3"
        for name in ("log", "tmp", "etc"):
            (work / name).mkdir(parents=True)
        (work / "etc" / "nexus.properties").write_text(
            f"application-host=127.0.0.1\napplication-port={self._port}\n"
            "nexus.skipDefaultRepositories=true\nnexus.security.randompassword=false\n"
        )
        env = tools.clean_env(
            self._folder,
            EXTRA_JAVA_OPTS=f"-Xms256m -Xmx1g -XX:MaxDirectMemorySize=1g"
            f" -Djava.io.tmpdir={work / 'tmp'}",
        )
        log = self._folder / "server.log"
        self._process = tools.spawn([self._home / "bin" / "nexus", "server"], log=log, env=env)
        try:
            self._wait(log)
        except BaseException:
            tools.stop(self._process)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tools.stop(self._process)

    def _unpack(self) -> None:
        done = tools.run(
            [tools.need("mvn"), "-B", "-ntp", "-q", "dependency:copy", f"-Dartifact={_ARTIFACT}",
             f"-DoutputDirectory={self._folder}"],
            check=False, timeout=900, cwd=self._folder,
        )  # fmt: skip
        if done.returncode:
            pytest.fail(
                "this test needs the Maven repository that this machine is set to:\n"
                + tools.describe(done),
                pytrace=False,
            )
        with zipfile.ZipFile(self._folder / f"nexus-base-template-{VERSION}.zip") as archive:
            archive.extractall(self._folder)
        for name in ("nexus", "setenv"):
            (self._home / "bin" / name).chmod(0o755)

    def _wait(self, log: Path) -> None:
        until = time.monotonic() + _STARTS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.ask("GET", "service/rest/v1/status/writable")
            except OSError:  # an HTTPError too, while it starts
                time.sleep(0.5)
            else:
                return
        raise AssertionError(f"Nexus did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """As the administrator; ``body`` is bytes, or sent as JSON. Raises HTTPError."""
        login = base64.b64encode(":".join(LOGIN).encode()).decode()
        headers = {"Authorization": f"Basic {login}"}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/octet-stream"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                said: bytes = answer.read()
        except HTTPError as error:
            error.add_note(error.read(2000).decode("utf-8", "replace"))
            raise
        return said

    def create(self, kind: str, name: str, **more: Any) -> None:
        """A Maven repository: ``hosted``, ``proxy`` (``remote=``) or ``group`` (``members=``)."""
        rest = {
            "name": name,
            "online": True,
            "storage": {"blobStoreName": "default", "strictContentTypeValidation": True,
                        "writePolicy": "allow"},
            "maven": {"versionPolicy": "MIXED", "layoutPolicy": "PERMISSIVE"},
        }  # fmt: skip
        if kind == "proxy":
            # As the page /setup/nexus says, but that metadata is never taken as fresh.
            rest["proxy"] = {"remoteUrl": more.pop("remote"), "contentMaxAge": -1,
                             "metadataMaxAge": 0}  # fmt: skip
            rest["negativeCache"] = {"enabled": False, "timeToLive": 0}
            rest["httpClient"] = {"blocked": False, "autoBlock": False}
        if kind == "group":
            rest["group"] = {"memberNames": more.pop("members")}
        self.ask("POST", f"service/rest/v1/repositories/maven/{kind}", rest)

    def put(self, repository: str, files: dict[str, bytes]) -> None:
        """Upload, as a build server does."""
        for path, data in files.items():
            self.ask("PUT", f"repository/{repository}/{path}", data)

    def delete(self, repository: str, path: str) -> None:
        """Remove one file."""
        token = ""
        while True:
            page = json.loads(
                self.ask("GET", f"service/rest/v1/assets?repository={repository}{token}")
            )
            for item in page["items"]:
                if item["path"].removeprefix("/") == path:
                    self.ask("DELETE", f"service/rest/v1/assets/{item['id']}")
                    return
            token = f"&continuationToken={page['continuationToken']}"
            assert page["continuationToken"], f"{path} is not there"
