"""nginx on a free loopback port: a real static server with Range and conditional requests."""

from __future__ import annotations

from pathlib import Path

from tests.support import tools
from tests.support.certs import Pair
from tests.support.daemon import Daemon


class Nginx(Daemon):
    """Serves ``folder`` while the context is open; over TLS if there is a ``tls`` pair.

    ``client_ca`` then refuses (400) whoever shows no certificate that it signed.
    """

    NAME = "nginx"
    LOG = "error.log"

    def __init__(
        self, folder: Path, *, tls: Pair | None = None, client_ca: Path | None = None
    ) -> None:
        super().__init__()
        self.folder = folder
        self.tls = tls
        self.client_ca = client_ca

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT/``"""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"

    def access(self) -> list[str]:
        """``METHOD URI STATUS BYTES`` of each answered request, in order."""
        return (self._home / "access.log").read_text("utf-8", "replace").splitlines()

    def _command(self) -> list[str | Path]:
        config = self._home / "nginx.conf"
        config.write_text(self._config(), "utf-8")
        return [tools.need("nginx"), "-p", self._home, "-c", config, "-e", self._home / self.LOG]

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
