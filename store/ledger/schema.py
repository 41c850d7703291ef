"""The tables of the ledger, version 2.

A change of them is a new ``SCHEMA_VERSION`` and a step in ``store.ledger.steps``.

Times are RFC 3339 text in UTC, so that they read and sort alike in every database.
Structured values are canonical JSON text. What may be long and comes from outside
(a URL) is keyed by its digest, since PostgreSQL limits the length of an index entry.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = 2

metadata = MetaData()


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _time(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, String(20), nullable=null)


def _digest(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, String(64), nullable=null)


def _big(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


meta = Table("meta", metadata, Column("key", String(64), primary_key=True), _text("value"))

snapshots = Table(
    "snapshots",
    metadata,
    _text("stream"),
    _text("repository"),
    _big("serial"),
    _text("format"),
    _digest("tree"),
    _big("tree_size"),
    _big("files"),
    _big("bytes"),
    _time("created"),
    _text("source"),
    PrimaryKeyConstraint("stream", "repository", "serial"),
)

publications = Table(
    "publications",
    metadata,
    Column("repository", Text, primary_key=True),
    _text("stream"),
    _text("format"),
    _text("source_repository"),
    _big("serial"),
    _digest("tree"),
    _digest("overlay", null=True),
    _time("published"),
    Column("rolled_back", Boolean, nullable=False),
)

past_publications = Table(
    "past_publications",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("repository", Text, nullable=False, index=True),
    _text("stream"),
    _text("format"),
    _text("source_repository"),
    _big("serial"),
    _digest("tree"),
    _digest("overlay", null=True),
    _time("published"),
    Column("rolled_back", Boolean, nullable=False),
    _time("replaced"),
)

holds = Table(
    "holds",
    metadata,
    Column("key", Text, primary_key=True),
    _text("stream"),
    _text("repository"),
    _text("kind"),
    _text("reason"),
    _text("remedy"),
    _time("since"),
    _text("detail"),
)

validators = Table(
    "validators",
    metadata,
    _text("repository"),
    _digest("url_digest"),
    _text("url"),
    _text("etag"),
    _text("last_modified"),
    _digest("digest"),
    _big("size"),
    PrimaryKeyConstraint("repository", "url_digest"),
)

exceptions = Table(
    "exceptions",
    metadata,
    _text("repository"),
    _text("path"),
    _text("reason"),
    _text("accepted_by"),
    _time("at"),
    PrimaryKeyConstraint("repository", "path"),
)

roots = Table(
    "roots",
    metadata,
    _text("repository"),
    _digest("root_digest"),
    _text("root"),
    Column("kind", String(16), nullable=False),
    _text("added_by"),
    _time("at"),
    PrimaryKeyConstraint("repository", "root_digest"),
)

fetched = Table(
    "fetched",
    metadata,
    _text("repository"),
    _digest("path_digest"),
    _text("path"),
    _digest("digest"),
    _big("size"),
    _text("stated"),
    PrimaryKeyConstraint("repository", "path_digest"),
)

closures = Table(
    "closures",
    metadata,
    _text("repository"),
    _digest("name_digest"),
    _text("name"),
    _digest("fingerprint"),
    _text("paths"),
    _text("unresolved"),
    _text("indexes"),
    _time("at"),
    PrimaryKeyConstraint("repository", "name_digest"),
)

work = Table(
    "work",
    metadata,
    Column("repository", Text, primary_key=True),
    _text("token"),
    _time("since"),
)

bundles = Table(
    "bundles",
    metadata,
    _text("stream"),
    _big("epoch"),
    _big("sequence"),
    _text("kind"),
    _digest("manifest"),
    _text("previous"),
    _digest("state"),
    _digest("index", null=True),
    _time("created"),
    _big("size"),
    _big("parts"),
    _text("base"),
    _text("retain"),
    _time("packed", null=True),
    _time("released", null=True),
    _time("sent", null=True),
    _time("received", null=True),
    _time("imported", null=True),
    PrimaryKeyConstraint("stream", "epoch", "sequence"),
)

parts = Table(
    "parts",
    metadata,
    _text("stream"),
    _big("epoch"),
    _big("sequence"),
    _big("index"),
    _text("name"),
    _big("size"),
    _digest("digest"),
    _text("state"),
    PrimaryKeyConstraint("stream", "epoch", "sequence", "index"),
)

drafts = Table(
    "drafts",
    metadata,
    _text("stream"),
    _text("id"),
    _time("created"),
    _text("data"),
    PrimaryKeyConstraint("stream", "id"),
)

trust = Table(
    "trust",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("state", LargeBinary, nullable=False),
)

seen = Table(
    "seen",
    metadata,
    _text("stream"),
    _digest("identity_digest"),
    _text("identity"),
    _text("name"),
    _text("verdict"),
    _time("at"),
    PrimaryKeyConstraint("stream", "identity_digest"),
)

denied = Table(
    "denied",
    metadata,
    Column("digest", String(64), primary_key=True),
    _text("reason"),
    _text("denied_by"),
    _time("at"),
)

offered_keys = Table(
    "offered_keys",
    metadata,
    _text("fingerprint"),
    _text("stream"),
    _text("repository"),
    Column("armored", LargeBinary, nullable=False),
    _time("offered"),
    PrimaryKeyConstraint("fingerprint", "stream", "repository"),
)

approved_keys = Table(
    "approved_keys",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    _text("approved_by"),
    _time("at"),
)

pins = Table(
    "pins",
    metadata,
    Column("key", Text, primary_key=True),
    _text("kind"),
    _text("digests"),
    _text("note"),
    _time("at"),
)

checksums = Table(
    "checksums",
    metadata,
    _digest("digest"),
    Column("algorithm", String(16), nullable=False),
    _text("value"),
    PrimaryKeyConstraint("digest", "algorithm"),
)

wants = Table(
    "wants",
    metadata,
    _text("repository"),
    _digest("what_digest"),
    _text("what"),
    _big("count"),
    _time("last"),
    PrimaryKeyConstraint("repository", "what_digest"),
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _time("time"),
    _text("kind"),
    _text("actor"),
    _text("stream"),
    _text("repository"),
    _text("detail"),
    _digest("previous"),
    _digest("digest"),
)
