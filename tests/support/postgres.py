"""A private PostgreSQL cluster, and a fresh database in it for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql

from tests.support import tools
from tests.support.daemon import Started

SETTINGS = {
    # Nothing here has to survive a power cut.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
    "autovacuum": "off",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


class Postgres(Started):
    """A cluster of its own on a free loopback port while the context is open.

    The server refuses to run as root; then it runs as the system's ``postgres``.
    """

    def __init__(self) -> None:
        self.port = 0
        self.pid = 0
        self._numbers = itertools.count(1)

    def url(self, database: str = "postgres") -> str:
        """For SQLAlchemy: ``postgresql+psycopg://sluice@127.0.0.1:PORT/DATABASE``."""
        return f"postgresql+psycopg://sluice@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """Make an empty database and return its URL (about 50 milliseconds)."""
        name = f"test{next(self._numbers)}"
        self._admin(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database that ``create`` made, with whoever is still connected."""
        name = sql.Identifier(url.rpartition("/")[2])
        self._admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def start(self) -> None:
        # Not below pytest's folders: the server's user may not enter those, and the
        # path of its socket must stay under 108 bytes.
        self._home = Path(tempfile.mkdtemp(prefix="sluice-pg-"))
        user = "postgres" if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(self._home, user, user)
        data, log = self._home / "data", self._home / "log"
        env = tools.clean_env(self._home)
        words: list[str | Path] = [
            tools.need("initdb"), "--no-sync", "--auth=trust", "--username=sluice",
            "--encoding=UTF8", "--locale=C.UTF-8", "-D", data,
        ]  # fmt: skip
        self._run_as(words, user, env)
        self.port = tools.free_port()
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self._home)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        # INT is the fast shutdown: it ends open sessions instead of waiting for them.
        self._process = tools.spawn(
            [tools.need("postgres"), "-D", data, *options],
            log=log, env=env, as_user=user, death_signal="INT",
        )  # fmt: skip
        self.pid = self._process.pid
        try:
            tools.wait_for_port(self.port, self._process, log=log)
            self._wait_until_ready()
        except (AssertionError, psycopg.Error):
            self.stop()
            raise

    def stop(self) -> None:
        tools.stop(self._process, by=signal.SIGINT)
        shutil.rmtree(self._home, ignore_errors=True)

    def _run_as(self, words: list[str | Path], user: str | None, env: dict[str, str]) -> None:
        switch: list[str | Path] = []
        if user is not None:
            switch = [tools.need("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups"]
        tools.run([*switch, *words], env=env, cwd=self._home)

    def _wait_until_ready(self) -> None:
        # The port opens a moment before the server lets anybody in.
        until = time.monotonic() + 60
        while True:
            try:
                self._admin(sql.SQL("SELECT 1").format())
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def _admin(self, statement: sql.Composed) -> None:
        words = f"host=127.0.0.1 port={self.port} user=sluice dbname=postgres"
        with psycopg.connect(words, autocommit=True) as connection:
            connection.execute(statement)
