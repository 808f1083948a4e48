"""What a wall starts from: everything one realm's board shows, read in one transaction at one stored offset.

Owns the reading. Does not own boards or frames (`app.live`): they go on from `positions` by tailing [scored].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import alerts, ledger, offsets, rollups
from app.store.batches import slices
from app.store.ledger import SourceState
from app.store.offsets import Reader
from app.store.rows import URGENCIES, URGENT, author_key, event_time, minute_of, moment_of, scored_of
from app.tables import mentions, withdrawals
from app.tables import rollups as rollup_table
from streams.records import LIVE, AlertEvent, Identity, ScoredMention

DAY_MINUTES: Final = 1440
HOUR_MINUTES: Final = 60
URGENT_SPAN: Final = timedelta(minutes=15)
CHOSEN_SPAN: Final = timedelta(minutes=30)
RECENT_SPAN: Final = timedelta(minutes=10)
LIVE_SPAN: Final = timedelta(hours=1)
CHOSEN: Final = 50
MOST_KNOWN: Final = 50_000
MOST_URGENT: Final = 20_000
_PART: Final = 1000
_KNOWN: Final = (
    *("source_kind", "native_id", "revision", "published_at", "received_at", "sentiment", "author_id", "deleted_at"),
    "key",
)


@dataclass(frozen=True, slots=True)
class Known:
    """An identity of the last minutes, so that a repeat is not counted twice.

    `revision` is the highest that is known, a deletion's too; `at` when it counts; `author` the author's key, '' when
    erased or unknown.
    """

    key: str
    revision: int
    at: datetime
    negative: bool
    author: str
    deleted: bool


class Urgent(NamedTuple):
    """When an urgent mention counts, and its author's key ('' for nobody's)."""

    at: datetime
    author: str


@dataclass(frozen=True, slots=True)
class WallState:
    """One moment of one realm.

    `minutes_from` is the first of the 1,440 minutes of `totals` and `negatives` (by `event_time`); the last one
    is the running minute. `urgent` has the high and critical mentions published in the last 15 minutes that may be
    read, by identity key (the 20,000 newest of each). `heard_today` counts identities first stored on this UTC
    day by time of receipt; `stored_total` those ever stored. `chosen` are the most urgent, then the newest, of the last
    30 minutes.
    """

    realm: str
    at: datetime
    positions: Mapping[int, int]
    minutes_from: datetime
    totals: Sequence[int]
    negatives: Sequence[int]
    urgent: Mapping[str, Urgent]
    heard_today: int
    stored_total: int
    known: Sequence[Known]
    chosen: Sequence[ScoredMention]
    alerts: Sequence[AlertEvent]
    sources: Sequence[SourceState]
    live_seen: bool

    @property
    def hour(self) -> Sequence[tuple[datetime, int, int]]:
        """Minute, total and negative of the last hour, oldest first."""
        first = DAY_MINUTES - HOUR_MINUTES
        return [
            (self.minutes_from + timedelta(minutes=at), self.totals[at], self.negatives[at])
            for at in range(first, DAY_MINUTES)
        ]


async def wall(connection: AsyncConnection, realm: str, now: datetime, reader: Reader) -> WallState:
    """Read it all; the connection's transaction must be a snapshot."""
    first = minute_of(now) - DAY_MINUTES + 1
    totals, negatives = await _minutes(connection, realm, first)
    heard, ever = await rollups.heard(connection, realm, now)
    return WallState(
        realm=realm,
        at=now,
        positions=await offsets.positions(connection, reader),
        minutes_from=moment_of(first),
        totals=totals,
        negatives=negatives,
        urgent=await _urgent(connection, realm, now),
        heard_today=heard,
        stored_total=ever,
        known=await _known(connection, realm, now - RECENT_SPAN),
        chosen=await _chosen(connection, realm, now - CHOSEN_SPAN),
        alerts=await alerts.shown(connection, realm, now - RECENT_SPAN),
        sources=await ledger.sources(connection, realm),
        live_seen=await _live_seen(connection, now - LIVE_SPAN),
    )


async def _minutes(connection: AsyncConnection, realm: str, first: int) -> tuple[list[int], list[int]]:
    totals, negatives = [0] * DAY_MINUTES, [0] * DAY_MINUTES
    table = rollup_table.c
    query = select(
        table.minute, func.sum(table.total).label("total"), func.sum(table.negative).label("negative")
    ).where(
        table.realm == realm, table.query_id == rollups.ALL, table.minute >= first, table.minute < first + DAY_MINUTES
    )
    for row in await connection.execute(query.group_by(table.minute)):
        totals[row.minute - first], negatives[row.minute - first] = int(row.total), int(row.negative)
    return totals, negatives


async def _urgent(connection: AsyncConnection, realm: str, now: datetime) -> dict[str, Urgent]:
    found: dict[str, Urgent] = {}
    for rank in range(URGENT, len(URGENCIES)):
        query = (
            select(
                *(mentions.c[name] for name in ("source_kind", "native_id", "published_at", "received_at", "author_id"))
            )
            .where(
                mentions.c.realm == realm,
                mentions.c.urgency_rank == rank,
                mentions.c.published_at > now - URGENT_SPAN,
                mentions.c.deleted_at.is_(None),
            )
            .order_by(mentions.c.published_at.desc())
            .limit(MOST_URGENT)
        )
        for row in await connection.execute(query):
            identity = Identity.model_construct(source_kind=row.source_kind, native_id=row.native_id)
            author = author_key(row.source_kind, row.author_id) if row.author_id else ""
            found[identity.key] = Urgent(event_time(row.published_at, row.received_at), author)
    return found


async def _chosen(connection: AsyncConnection, realm: str, since: datetime) -> list[ScoredMention]:
    """One query a rank: each reads its index backwards and stops."""
    found: list[ScoredMention] = []
    for rank in reversed(range(len(URGENCIES))):
        query = (
            select(mentions)
            .where(mentions.c.realm == realm, mentions.c.urgency_rank == rank, mentions.c.published_at > since)
            .where(mentions.c.deleted_at.is_(None))
            .order_by(mentions.c.published_at.desc(), mentions.c.id.desc())
            .limit(CHOSEN - len(found))
        )
        found += [scored_of(row) for row in await connection.execute(query)]
        if len(found) >= CHOSEN:
            break
    return found


async def _known(connection: AsyncConnection, realm: str, since: datetime) -> list[Known]:
    """Read in parts: the loop of a serving process goes on in between."""
    column = mentions.c
    base = select(*(column[name] for name in _KNOWN)).where(column.realm == realm).limit(MOST_KNOWN)
    deleted = base.where(column.deleted_at > since)
    received = base.where(column.received_at > since).order_by(column.received_at.desc())
    found: dict[str, Known] = {}
    erased: dict[bytes, str] = {}
    for query in (deleted, received):
        async for part in (await connection.stream(query)).partitions(_PART):
            for row in part:
                one = _known_of(row)
                found[one.key] = one
                if one.deleted:
                    erased[row.key] = one.key
    for raised in await _raised(connection, realm, erased):
        found[raised[0]] = replace(found[raised[0]], revision=max(raised[1], found[raised[0]].revision))
    return list(found.values())[:MOST_KNOWN]


def _known_of(row: Row[Any]) -> Known:
    return Known(
        key=f"{row.source_kind}\x1f{row.native_id}",
        revision=row.revision,
        at=event_time(row.published_at, row.received_at),
        negative=row.sentiment == "negative",
        author=author_key(row.source_kind, row.author_id) if row.author_id else "",
        deleted=row.deleted_at is not None,
    )


async def _raised(connection: AsyncConnection, realm: str, erased: Mapping[bytes, str]) -> list[tuple[str, int]]:
    """Return key and revision of the tombstones of erased posts."""
    found: list[tuple[str, int]] = []
    stone = withdrawals.c
    for part in slices(erased):
        query = select(stone.key, stone.revision).where(stone.key.in_(part), stone.realm.in_({realm, LIVE}))
        found += [(erased[row.key], row.revision) for row in await connection.execute(query)]
    return found


async def _live_seen(connection: AsyncConnection, since: datetime) -> bool:
    query = select(mentions.c.id).where(mentions.c.realm == LIVE, mentions.c.received_at > since).limit(1)
    return (await connection.execute(query)).first() is not None
