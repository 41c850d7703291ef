"""A copy of a ledger in PostgreSQL, by PostgreSQL's own programs."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL

from manifests.durable import Durable
from manifests.errors import ConfigError, StoreError
from store.ledger.connect import address_of
from store.programs import private_home, run

_SECONDS = 6 * 3600.0
"""The longest that a dump may take."""


def dump(url: str, password: str, target: Path, files: Durable) -> None:
    """Write the whole database to the new file ``target``, in pg_dump's own format.

    Raises ConfigError (pg_dump is not installed), StoreError.
    """
    files.unlink(target)
    _call("pg_dump", url, password, ["--format=custom", "--no-owner", f"--file={target}"])
    files.sync_file(target)
    files.sync_dir(target.parent)


def load(url: str, password: str, source: Path) -> None:
    """Replace the tables of the database by those of a dump, in one transaction.

    Raises ConfigError (pg_restore is not installed), StoreError.
    """
    words = ["--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error"]
    _call("pg_restore", url, password, [*words, str(source)])


def _call(program: str, url: str, password: str, words: list[str]) -> None:
    address = address_of(url, password)
    with private_home() as home:
        # By a file: others see the arguments and the environment of a process.
        place = home / "pgpass"
        place.touch(mode=0o600)
        place.write_text(f"*:*:*:*:{_escaped(str(address.password or ''))}\n", "utf-8")
        plain = URL.create(
            "postgresql",
            username=address.username,
            host=address.host,
            port=address.port,
            database=address.database,
            query={**address.query, "passfile": str(place)},
        )
        try:
            outcome = run(
                program,
                [
                    "--no-password",
                    f"--dbname={plain.render_as_string(hide_password=False)}",
                    *words,
                ],
                home=home,
                seconds=_SECONDS,
            )
        except ConfigError as error:
            error.remedy += ", as new as the server's"
            raise
    if outcome.status != 0:
        raise StoreError(
            f"{program} failed: {outcome.complaint()}",
            where=address.render_as_string(),
            remedy="its version must not be older than the server's; the account must own the"
            " database",
        )


def _escaped(password: str) -> str:
    return password.replace("\\", "\\\\").replace(":", "\\:")
