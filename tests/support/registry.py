"""Debian's docker-registry (Distribution 2.8) on a free loopback port.

It speaks the distribution API without referrers, so that clients fall back to
the tag scheme (distribution-spec 1.1, "Referrers Tag Schema").
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import tools
from tests.support.certs import Pair
from tests.support.daemon import Daemon
from tests.support.images import OCI_INDEX, Descriptor, Layout, is_manifest


class Registry(Daemon):
    """A registry while the context is open; what it holds stays from ``stop`` to ``start``.

    ``users`` (name -> password) makes it ask for basic authentication, ``token``
    (options of its ``auth: token:``) for Bearer tokens, ``tls`` serves HTTPS.
    ``schema1`` lets it take and hand out the old manifests. ``fast`` sets it up as Debian
    installs it, with a cache and without a log of requests: for measurements.
    """

    NAME = "registry-run"

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        token: Mapping[str, str] | None = None,
        tls: Pair | None = None,
        schema1: bool = False,
        fast: bool = False,
    ) -> None:
        super().__init__()
        self.users = dict(users or {})
        self.token = dict(token or {})
        self.tls = tls
        self.schema1 = schema1
        self.fast = fast
        self._storage = Path(tempfile.mkdtemp(prefix="sluice-registry-"))

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, the first part of a reference."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``"""
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def requests(self) -> list[str]:
        """``METHOD PATH STATUS`` of each answered request, in order; pushes are among them."""
        found = []
        for line in self._log().splitlines():
            if '"' in line and line.partition(" ")[0] in ("127.0.0.1", "::1"):
                request, status = line.split('"')[1], line.split('"')[2].split()[0]
                method, path, _ = request.split(" ", 2)
                found.append(f"{method} {path} {status}")
        return found

    def _command(self) -> list[str | Path]:
        config = self._home / "config.yml"
        # The registry's YAML parser reads JSON, since YAML contains it.
        config.write_text(json.dumps(self._config(), indent=1), "utf-8")
        return [tools.need("docker-registry"), "serve", config]

    def _environment(self) -> Mapping[str, str]:
        return tools.clean_env(self._home)

    def push(self, layout: Layout, image: str, what: Descriptor, *tags: str) -> Descriptor:
        """Bring ``what`` and all that it needs, byte for byte, by digest and as each tag."""
        for one in layout.within(what):
            if is_manifest(one):
                self.put_manifest(image, one.digest, layout.read(one), one.media_type)
            else:
                self.put_blob(image, layout, one)
        for tag in tags:
            self.put_manifest(image, tag, layout.read(what), what.media_type)
        return what

    def attach(self, layout: Layout, image: str, *referrers: Descriptor) -> None:
        """Push ``referrers`` of one subject and list them by the tag scheme."""
        listed = []
        for one in referrers:
            self.push(layout, image, one)
            value = json.loads(layout.read(one))
            kind = value.get("artifactType") or value["config"]["mediaType"]
            listed.append(one.having(artifactType=kind))
            subject = value["subject"]["digest"]
        index = layout.index(listed)
        self.put_manifest(image, subject.replace(":", "-"), layout.read(index), OCI_INDEX)

    def put_blob(self, image: str, layout: Layout, what: Descriptor) -> None:
        """Upload one blob unless it is there."""
        if self.call("HEAD", f"/v2/{image}/blobs/{what.digest}")[0] == 200:
            return
        _, headers, _ = self._expect(202, "POST", f"/v2/{image}/blobs/uploads/")
        place = headers["location"]
        glue = "&" if "?" in place else "?"
        with (layout.blobs / what.hex).open("rb") as body:
            self._expect(
                201, "PUT", f"{place}{glue}digest={what.digest}", body, "application/octet-stream",
                size=what.size,
            )  # fmt: skip

    def put_manifest(self, image: str, reference: str, data: bytes, media_type: str) -> None:
        """Upload a manifest as a tag or by its digest."""
        self._expect(201, "PUT", f"/v2/{image}/manifests/{reference}", data, media_type)

    def delete(self, image: str, what: Descriptor | str) -> None:
        """Delete a manifest by digest, and with it every tag that names it."""
        digest = what.digest if isinstance(what, Descriptor) else what
        self._expect(202, "DELETE", f"/v2/{image}/manifests/{digest}")

    def untag(self, image: str, tag: str) -> None:
        """Remove only a tag, which this registry's API cannot: in its storage."""
        place = self._storage / f"docker/registry/v2/repositories/{image}/_manifests/tags/{tag}"
        shutil.rmtree(place)

    def damage(self, what: Descriptor | str, data: bytes) -> None:
        """Put other bytes in the place of a blob or manifest, behind the registry's back."""
        digest = what.digest if isinstance(what, Descriptor) else what
        name = digest.partition(":")[2]
        place = self._storage / f"docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data"
        place.write_bytes(data)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        media_type: str = "",
        *,
        size: int | None = None,
        accept: str = "",
    ) -> tuple[int, dict[str, str], bytes]:
        """One request as the first of ``users``: status, headers in lower case, body."""
        headers = {"Content-Type": media_type} if media_type else {}
        if accept:
            headers["Accept"] = accept
        if size is not None:
            headers["Content-Length"] = str(size)
        if self.users:
            pair = ":".join(next(iter(self.users.items())))
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        path = path.removeprefix(self.url)
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, context=_trusting(), timeout=60)
            if self.tls
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        )
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, data

    def _expect(
        self, status: int, method: str, path: str, body: Any = None, media_type: str = "",
        *, size: int | None = None,
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        answer = self.call(method, path, body, media_type, size=size)
        if answer[0] != status:
            raise AssertionError(f"{method} {path}: {answer[0]} {answer[2][:2000]!r}")
        return answer

    def _config(self) -> dict[str, Any]:
        listen: dict[str, Any] = {
            "addr": self.host,
            "secret": hashlib.sha256(b"for tests").hexdigest(),
            "relativeurls": True,
        }
        if self.tls:
            listen["tls"] = {"certificate": str(self.tls.cert), "key": str(self.tls.key)}
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(self._storage)},
                "delete": {"enabled": True},
            },
            "http": listen,
            "validation": {"manifests": {"urls": {"allow": ["^https?://"]}}},
        }
        if self.fast:
            config["log"]["accesslog"] = {"disabled": True}
            config["storage"]["cache"] = {"blobdescriptor": "inmemory"}
        if self.schema1:
            config["compatibility"] = {"schema1": {"enabled": True}}
        if self.users:
            passwords = self._home / "htpasswd"
            passwords.write_text("".join(_htpasswd(*pair) for pair in self.users.items()), "utf-8")
            config["auth"] = {"htpasswd": {"realm": "registry", "path": str(passwords)}}
        elif self.token:
            config["auth"] = {"token": self.token}
        return config

    def _log(self) -> str:
        return (self._home / "log").read_text("utf-8", "replace")

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        super().__exit__(kind, exc, tb)
        shutil.rmtree(self._storage, ignore_errors=True)


def _htpasswd(user: str, password: str) -> str:
    # The registry takes bcrypt only; the lowest cost keeps tests fast.
    made = tools.run([tools.need("htpasswd"), "-nbB", "-C", "4", user, password])
    return made.stdout.strip() + "\n"


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
