"""nginx on a free loopback port: a real static server with Range and conditional requests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import tools
from tests.support.certs import Pair


class Nginx:
    """Serves ``folder`` while the context is open; over TLS if there is a ``tls`` pair.

    ``client_ca`` then refuses (400) whoever shows no certificate that it signed.
    """

    def __init__(
        self, folder: Path, *, tls: Pair | None = None, client_ca: Path | None = None
    ) -> None:
        self.folder = folder
        self.tls = tls
        self.client_ca = client_ca
        self.port = 0
        self.pid = 0

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT/``"""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"

    def access(self) -> list[str]:
        """``METHOD URI STATUS BYTES`` of each answered request, in order."""
        return (self._home / "access.log").read_text("utf-8", "replace").splitlines()

    def start(self) -> None:
        """Start, also again after ``stop`` (then on the same port)."""
        self._home = Path(tempfile.mkdtemp(prefix="sluice-nginx-"))
        self.port = self.port or tools.free_port()
        config = self._home / "nginx.conf"
        config.write_text(self._config(), "utf-8")
        log = self._home / "error.log"
        command: list[str | Path] = [tools.need("nginx"), "-p", self._home, "-c", config, "-e", log]
        self._process = tools.spawn(command, log=log)
        self.pid = self._process.pid
        try:
            tools.wait_for_port(self.port, self._process, log=log)
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        tools.stop(self._process)
        shutil.rmtree(self._home, ignore_errors=True)

    def _config(self) -> str:
        home = self._home
        temporary = "".join(
            f"  {kind}_temp_path {home}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # As root the workers would become nobody, who cannot enter the test's folders.
        user = "user root;\n" if Path("/proc/self").stat().st_uid == 0 else ""
        return f"""daemon off;
{user}pid {home}/pid;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
  default_type application/octet-stream;
  sendfile on;
  log_format short '$request_method $request_uri $status $body_bytes_sent';
  access_log {home}/access.log short;
{temporary}  server {{
    listen 127.0.0.1:{self.port}{" ssl" if self.tls else ""};
{self._tls_lines()}    root "{self.folder}";
    autoindex on;
  }}
}}
"""

    def _tls_lines(self) -> str:
        if self.tls is None:
            return ""
        lines = [f"ssl_certificate {self.tls.cert};", f"ssl_certificate_key {self.tls.key};"]
        if self.client_ca is not None:
            lines += [f"ssl_client_certificate {self.client_ca};", "ssl_verify_client on;"]
        return "".join(f"    {line}\n" for line in lines)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
