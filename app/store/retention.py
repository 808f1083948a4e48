"""Forgetting by age, in slices: no statement holds the database for long, and a stop half-way is harmless.

Owns what may be forgotten. A mention goes with its words in alerts: once it is away, no deletion by its author finds
them. Rollups, days and the ledger stay. Tombstones, and the rows that they erased, stay at least
30 days, so that a replayed create finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, delete, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import quotes
from app.store.batches import slices
from app.tables import accepted, alert_events, alerts, cited, mentions, notifications, outbox, withdrawals
from streams.records import LIVE, REHEARSAL, REPLAY, AlertState

TOMBSTONES: Final = timedelta(days=30)
SLICE: Final = 2000


@dataclass(frozen=True, slots=True)
class Horizons:
    """Before which moment what is forgotten; None keeps all of it.

    `mentions` by time of receipt, in `realm` or in all, with what people said and alerts quote of them; `alerts`
    resolved ones by their last change, with their events and attempts; `accepted` what ingest remembers of identities;
    `tombstones` never less than 30 days old.
    """

    mentions: datetime | None = None
    realm: str | None = None
    alerts: datetime | None = None
    accepted: datetime | None = None
    tombstones: datetime | None = None


@dataclass(frozen=True, slots=True)
class Forgettable:
    """Rows of one table that may go."""

    table: Table
    where: ColumnElement[bool]


def forgettable(horizons: Horizons, now: datetime) -> Iterator[Forgettable]:
    """Yield what may go, in the order in which it must."""
    floor = now - TOMBSTONES
    if horizons.mentions is not None:
        settled = or_(mentions.c.deleted_at.is_(None), mentions.c.deleted_at < floor)
        for realm in [horizons.realm] if horizons.realm else [LIVE, REHEARSAL, REPLAY]:
            where = (mentions.c.realm == realm) & (mentions.c.received_at < horizons.mentions) & settled
            yield Forgettable(mentions, where)
    if horizons.accepted is not None:
        yield Forgettable(accepted, accepted.c.at < horizons.accepted)
    if horizons.tombstones is not None:
        yield Forgettable(withdrawals, withdrawals.c.at < min(horizons.tombstones, floor))
    if horizons.alerts is not None:
        old = (alerts.c.state == AlertState.RESOLVED.value) & (alerts.c.changed_at < horizons.alerts)
        of_old = select(alerts.c.alert_id).where(old)
        yield Forgettable(outbox, outbox.c.alert_id.in_(of_old) & (outbox.c.state != "pending"))
        for table in (notifications, cited, alert_events):
            yield Forgettable(table, table.c.alert_id.in_(of_old) & table.c.alert_id.not_in(select(outbox.c.alert_id)))
        yield Forgettable(alerts, old & alerts.c.alert_id.not_in(select(alert_events.c.alert_id)))


async def forget_slice(connection: AsyncConnection, part: Forgettable) -> int:
    """Delete at most SLICE rows; return how many went."""
    if part.table is mentions:
        return await _forget_mentions(connection, part.where)
    key: list[Any] = list(part.table.primary_key.columns)
    named = tuple_(*key) if len(key) > 1 else key[0]
    chosen = select(*key).where(part.where).limit(SLICE)
    return (await connection.execute(delete(part.table).where(named.in_(chosen)))).rowcount


async def _forget_mentions(connection: AsyncConnection, where: ColumnElement[bool]) -> int:
    query = select(mentions.c.id, mentions.c.realm, mentions.c.key).where(where).limit(SLICE).with_for_update()
    rows = (await connection.execute(query)).all()
    quoted = await quotes.quoted(connection, [row.key for row in rows])
    await quotes.redact(connection, quoted & {(row.realm, row.key) for row in rows})
    for ids in slices([row.id for row in rows]):
        await connection.execute(delete(mentions).where(mentions.c.id.in_(ids)))
    return len(rows)
