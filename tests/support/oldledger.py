"""A ledger of version 1, as the first release made it, with what a present one remembers."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, inspect, text

# ! stands for NOT NULL.
VERSION_1 = """
CREATE TABLE meta ("key" VARCHAR(64) !, value TEXT !, PRIMARY KEY ("key"));
CREATE TABLE snapshots (stream TEXT !, repository TEXT !, serial BIGINT !, format TEXT !, tree
    VARCHAR(64) !, tree_size BIGINT !, files BIGINT !, bytes BIGINT !, created VARCHAR(20) !,
    source TEXT !, PRIMARY KEY (stream, repository, serial));
CREATE TABLE publications (repository TEXT !, stream TEXT !, format TEXT !, source_repository
    TEXT !, serial BIGINT !, tree VARCHAR(64) !, overlay VARCHAR(64), published VARCHAR(20) !,
    rolled_back BOOLEAN !, PRIMARY KEY (repository));
CREATE TABLE past_publications (id {counter}, repository TEXT !, stream TEXT !, format TEXT !,
    source_repository TEXT !, serial BIGINT !, tree VARCHAR(64) !, overlay VARCHAR(64),
    published VARCHAR(20) !, rolled_back BOOLEAN !, replaced VARCHAR(20) !, PRIMARY KEY (id));
CREATE INDEX ix_past_publications_repository ON past_publications (repository);
CREATE TABLE holds ("key" TEXT !, stream TEXT !, repository TEXT !, kind TEXT !, reason TEXT !,
    remedy TEXT !, since VARCHAR(20) !, detail TEXT !, PRIMARY KEY ("key"));
CREATE TABLE validators (repository TEXT !, url_digest VARCHAR(64) !, url TEXT !, etag TEXT !,
    last_modified TEXT !, digest VARCHAR(64) !, size BIGINT !, PRIMARY KEY (repository,
    url_digest));
CREATE TABLE exceptions (repository TEXT !, path TEXT !, reason TEXT !, accepted_by TEXT !, at
    VARCHAR(20) !, PRIMARY KEY (repository, path));
CREATE TABLE work (repository TEXT !, token TEXT !, since VARCHAR(20) !, PRIMARY KEY
    (repository));
CREATE TABLE bundles (stream TEXT !, epoch BIGINT !, sequence BIGINT !, kind TEXT !, manifest
    VARCHAR(64) !, previous TEXT !, state VARCHAR(64) !, "index" VARCHAR(64), created
    VARCHAR(20) !, size BIGINT !, parts BIGINT !, base TEXT !, retain TEXT !, packed
    VARCHAR(20), released VARCHAR(20), sent VARCHAR(20), received VARCHAR(20), imported
    VARCHAR(20), PRIMARY KEY (stream, epoch, sequence));
CREATE TABLE parts (stream TEXT !, epoch BIGINT !, sequence BIGINT !, "index" BIGINT !, name
    TEXT !, size BIGINT !, digest VARCHAR(64) !, state TEXT !, PRIMARY KEY (stream, epoch,
    sequence, "index"));
CREATE TABLE drafts (stream TEXT !, id TEXT !, created VARCHAR(20) !, data TEXT !, PRIMARY KEY
    (stream, id));
CREATE TABLE trust (stream TEXT !, state {bytes} !, PRIMARY KEY (stream));
CREATE TABLE seen (stream TEXT !, identity_digest VARCHAR(64) !, identity TEXT !, name TEXT !,
    verdict TEXT !, at VARCHAR(20) !, PRIMARY KEY (stream, identity_digest));
CREATE TABLE denied (digest VARCHAR(64) !, reason TEXT !, denied_by TEXT !, at VARCHAR(20) !,
    PRIMARY KEY (digest));
CREATE TABLE offered_keys (fingerprint TEXT !, stream TEXT !, repository TEXT !, armored {bytes}
    !, offered VARCHAR(20) !, PRIMARY KEY (fingerprint, stream, repository));
CREATE TABLE approved_keys (fingerprint TEXT !, approved_by TEXT !, at VARCHAR(20) !, PRIMARY
    KEY (fingerprint));
CREATE TABLE pins ("key" TEXT !, kind TEXT !, digests TEXT !, note TEXT !, at VARCHAR(20) !,
    PRIMARY KEY ("key"));
CREATE TABLE checksums (digest VARCHAR(64) !, algorithm VARCHAR(16) !, value TEXT !, PRIMARY KEY
    (digest, algorithm));
CREATE TABLE events (seq BIGINT !, time VARCHAR(20) !, kind TEXT !, actor TEXT !, stream TEXT !,
    repository TEXT !, detail TEXT !, previous VARCHAR(64) !, digest VARCHAR(64) !, PRIMARY KEY
    (seq));
"""


def make_old(url: str | Path) -> None:
    """Turn a ledger of the present version into one of version 1, rows kept."""
    where = f"sqlite:///{url}" if isinstance(url, Path) else url
    engine = create_engine(where.replace("postgresql://", "postgresql+psycopg://"))
    here = engine.dialect.name == "sqlite"
    words = {"bytes": "BLOB" if here else "BYTEA", "counter": "INTEGER !" if here else "SERIAL"}
    statements = VERSION_1.format(**words).replace("!", "NOT NULL").split(";")[:-1]
    with engine.begin() as connection:
        quote = engine.dialect.identifier_preparer.quote
        present = inspect(connection)
        kept = {}
        for name in present.get_table_names():
            rows = connection.execute(text(f"SELECT * FROM {name}")).mappings().all()
            kept[name] = [dict(row) for row in rows]
            connection.execute(text(f"DROP TABLE {name}"))
        for statement in statements:
            connection.execute(text(statement))
        old = inspect(connection)
        for name in old.get_table_names():
            columns = [str(column["name"]) for column in old.get_columns(name)]
            if kept[name]:
                places = ", ".join(f":{column}" for column in columns)
                into = f"{name} ({', '.join(map(quote, columns))})"
                connection.execute(text(f"INSERT INTO {into} VALUES ({places})"), kept[name])
        connection.execute(text("UPDATE meta SET value = '1' WHERE \"key\" = 'schema_version'"))
    engine.dispose()
