"""The tables: one SQLAlchemy metadata for SQLite and PostgreSQL.

Owns names, column types and indexes. Does not own how rows are written (`app.store`) nor how a database gets there
(`app.migrations`; tests/app/test_migrations.py holds the two equal on both databases).

Identities are indexed by a 16-byte digest (`app.store.rows.digest`): a native id may be longer than PostgreSQL's index
rows. Text columns take what the world sends: NUL, which PostgreSQL can't hold, becomes U+FFFD. JSON is kept as text,
because it is only ever read whole.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    text,
)


def in_utc(value: datetime) -> datetime:
    """Return the moment in UTC; ValueError for one without a zone, or that has no place in our calendar then."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"a moment without a time zone: {value.isoformat()}")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"a moment out of range: {value.isoformat()}") from error


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC, in and out. A naive datetime raises ValueError: it would be a guess."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        del dialect
        return None if value is None else in_utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC; SQLite keeps no zone, and what we wrote was UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SafeText(TypeDecorator[str]):
    """Untrusted text of any length; NUL becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text as both databases can hold it."""
        del dialect
        return value.replace("\x00", "�") if value else value


NAMING: Final = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
}
metadata = MetaData(naming_convention=NAMING)

_Serial: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite gives rising numbers only to INTEGER PRIMARY KEY, which is 64 bits wide there."""


def _waiting(name: str, *columns: str) -> Index:
    """Return an index over the mentions in the review queue alone."""
    where = text("waiting > 0")
    return Index(f"ix_mentions_waiting_{name}", *columns, sqlite_where=where, postgresql_where=where)


mentions = Table(
    "mentions",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("realm", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("source_kind", SafeText, nullable=False),
    Column("native_id", SafeText, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("source_id", SafeText, nullable=False),
    Column("published_at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("scored_at", UtcDateTime, nullable=False),
    Column("deleted_at", UtcDateTime),
    Column("author_key", LargeBinary),
    Column("author_id", SafeText),
    Column("author_name", SafeText),
    Column("author_handle", SafeText),
    Column("text", SafeText),
    Column("text_normal", SafeText),
    Column("lang", SafeText),
    Column("url", SafeText),
    Column("thread_id", SafeText),
    Column("reply_to", SafeText),
    Column("followers", BigInteger),
    Column("likes", BigInteger),
    Column("shares", BigInteger),
    Column("replies", BigInteger),
    Column("place", SafeText),
    Column("queries", SafeText, nullable=False),
    Column("sentiment", SafeText, nullable=False),
    Column("urgency", SafeText, nullable=False),
    Column("urgency_rank", SmallInteger, nullable=False),
    Column("intent", SafeText),
    Column("probabilities", SafeText),
    Column("model_id", SafeText, nullable=False),
    Column("model_revision", SafeText, nullable=False),
    Column("embedding", LargeBinary),
    Column("uncertain", SmallInteger, nullable=False, server_default=text("0")),
    Column("waiting", SmallInteger, nullable=False, server_default=text("0")),
    Index("uq_mentions_identity", "realm", "key", unique=True),
    Index("ix_mentions_key", "key"),
    Index("ix_mentions_author_key", "author_key"),
    Index("ix_mentions_published", "realm", "published_at", "id"),
    Index("ix_mentions_received", "realm", "received_at"),
    Index("ix_mentions_urgency", "realm", "urgency_rank", "published_at"),
    Index(
        "ix_mentions_deleted",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    _waiting("urgent", "realm", "urgency_rank", "published_at", "id"),
    _waiting("newest", "realm", "published_at", "id"),
    _waiting("lang", "realm", "lang", "urgency_rank", "published_at", "id", "waiting"),
)
"""One row an identity and realm: the highest revision that was published. `deleted_at` set: the content is erased, the
row stays so that a late edit corrects the rollups and a replayed create changes nothing.

`uncertain` has a bit for each task that the model doubts (`app.store.rows.DOUBTS`), `waiting` for those of them that no
person has settled: the review queue, and the only rows that its indexes hold."""

mention_queries = Table(
    "mention_queries",
    metadata,
    Column("mention_id", BigInteger, ForeignKey("mentions.id", ondelete="CASCADE"), primary_key=True),
    Column("query_id", SafeText, primary_key=True),
    Column("published_at", UtcDateTime, nullable=False),
    Index("ix_mention_queries_published", "query_id", "published_at", "mention_id"),
)

labels = Table(
    "labels",
    metadata,
    Column("mention_id", BigInteger, ForeignKey("mentions.id", ondelete="CASCADE"), primary_key=True),
    Column("task", Text, primary_key=True),
    Column("person", SafeText, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("label", Text),
    Column("note", SafeText),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("answer", SafeText, nullable=False),
    Column("probability", Double, nullable=False),
    Column("model_id", SafeText, nullable=False),
    Column("model_revision", SafeText, nullable=False),
)
"""What people said of mentions: the last word of each person a task; `label` NULL: the person can't tell.

It is good for `revision` alone. `answer` and `probability` are what the model had said. Holds no text of the mention,
goes with it, and its notes go with the words that they were about (`app.store.verdicts`)."""

withdrawals = Table(
    "withdrawals",
    metadata,
    Column("realm", Text, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)
"""Tombstones: up to which revision a post (digest of its key), or all posts of an author, are erased."""

rollups = Table(
    "rollups",
    metadata,
    Column("realm", Text, primary_key=True),
    Column("query_id", SafeText, primary_key=True),
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    Column("source_id", SafeText, primary_key=True),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("total", "negative", "neutral", "positive", "low", "normal", "high", "critical")
    ),
)
"""Counts by minute of publication (minutes since 1970 UTC); `query_id` '' counts every mention once."""

days = Table(
    "days",
    metadata,
    Column("realm", Text, primary_key=True),
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("heard", BigInteger, nullable=False),
)
"""Identities first stored, by UTC day of receipt (days since 1970)."""

stage_counts = Table(
    "stage_counts",
    metadata,
    Column("realm", Text, primary_key=True),
    Column("source_id", SafeText, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

source_states = Table(
    "source_states",
    metadata,
    Column("realm", Text, primary_key=True),
    Column("source_id", SafeText, primary_key=True),
    Column("sent_at", UtcDateTime, nullable=False),
    Column("status", Text, nullable=False),
    Column("last_mention_at", UtcDateTime),
    Column("pulse", SafeText, nullable=False),
)
"""The latest pulse of each source: `pulse` is the whole record as JSON."""

offsets = Table(
    "offsets",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("consumer", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("log", Text, nullable=False, server_default=text("''")),
)
"""The next offset of each partition for a consumer group, written with the effects; good for the log it names alone."""

cursors = Table(
    "cursors",
    metadata,
    Column("source_id", SafeText, primary_key=True),
    Column("cursor", SafeText),
    Column("tally", Text, nullable=False),
)

accepted = Table(
    "accepted",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("author_key", LargeBinary),
    Column("revision", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    Index("ix_accepted_author_key", "author_key", "revision"),
)
"""Identities that ingest appended to the log, digests only."""

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", SafeText, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("rule_id", SafeText, nullable=False),
    Column("team", SafeText, nullable=False),
    Column("realm", SafeText, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_alerts_state", "realm", "state", "changed_at"),
    Index("ix_alerts_started", "started_at", "alert_id"),
)
"""Where each alert stands: its event of the highest `seq`, whose whole record is in `alert_events`."""

alert_events = Table(
    "alert_events",
    metadata,
    Column("alert_id", SafeText, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("event", SafeText, nullable=False),
)

cited = Table(
    "cited",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("alert_id", SafeText, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("realm", SafeText, nullable=False),
    Index("ix_cited_alert_id", "alert_id"),
)
"""Which alert events, stored or waiting to be sent, quote which post: so that an erasure finds the quotes."""

outbox = Table(
    "outbox",
    metadata,
    Column("key", SafeText, primary_key=True),
    Column("receiver", SafeText, nullable=False),
    Column("alert_id", SafeText, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("event", SafeText, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("leased_until", UtcDateTime),
    Column("settled_at", UtcDateTime),
    Index("ix_outbox_due", "state", "due_at"),
    Index("ix_outbox_event", "alert_id", "seq"),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("key", SafeText, nullable=False, index=True),
    Column("alert_id", SafeText, nullable=False, index=True),
    Column("seq", BigInteger, nullable=False),
    Column("receiver", SafeText, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("result", SafeText, nullable=False),
    Column("reason", SafeText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)
"""Every delivery attempt that came to an end."""

engines = Table(
    "engines",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state", SafeText, nullable=False),
    Column("positions", Text, nullable=False),
    Column("log", Text, nullable=False, server_default=text("''")),
)

configurations = Table(
    "configurations",
    metadata,
    Column("revision", _Serial, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("text", SafeText, nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
)
