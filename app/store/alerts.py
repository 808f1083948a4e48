"""Alert events into rows, and reading them.

Owns `alerts` and `alert_events`: every transition once, and of each alert where it stands (the highest `seq`). Quotes
of posts that were withdrawn are taken out before they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import offsets
from app.store.database import Flavour
from app.store.keeping import unseen
from app.store.offsets import Reader
from app.store.quotes import cite, places_of, redacted
from app.store.withdrawals import unreadable
from app.tables import alert_events, alerts
from streams.records import AlertEvent, AlertState, decode
from streams.stream import Position

_COLUMNS = ("seq", "rule_id", "team", "realm", "severity", "state", "started_at", "changed_at")


async def keep_alerts(
    connection: AsyncConnection, flavour: Flavour, reader: Reader, received: Sequence[tuple[Position, AlertEvent]]
) -> list[AlertEvent]:
    """Store the batch and its offsets; return the events that were not there before, in order."""
    news = await unseen(connection, flavour, reader, received)
    distinct = {(event.alert_id, event.seq): event for _, event in reversed(news)}
    there = await _there(connection, list(distinct))
    fresh = [distinct[key] for key in sorted(distinct) if key not in there]
    gone = await unreadable(connection, places_of(fresh))
    fresh = [redacted(event, gone) for event in fresh]
    if fresh:
        await cite(connection, flavour, fresh)
        rows = [
            {"alert_id": event.alert_id, "seq": event.seq, "at": event.at, "event": event.model_dump_json()}
            for event in fresh
        ]
        await connection.execute(flavour.insert(alert_events).on_conflict_do_nothing(), rows)
        await _stand(connection, flavour, fresh)
    await offsets.advance(connection, reader, [position for position, _ in news])
    return fresh


async def _there(connection: AsyncConnection, keys: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
    if not keys:
        return set()
    named = tuple_(alert_events.c.alert_id, alert_events.c.seq)
    query = select(alert_events.c.alert_id, alert_events.c.seq).where(named.in_(keys))
    return {(row.alert_id, row.seq) for row in await connection.execute(query)}


async def _stand(connection: AsyncConnection, flavour: Flavour, events: Sequence[AlertEvent]) -> None:
    latest = {event.alert_id: event for event in events}  # sorted by seq: the last one stays
    statement = flavour.insert(alerts)
    higher = statement.on_conflict_do_update(
        index_elements=("alert_id",),
        set_={name: statement.excluded[name] for name in _COLUMNS},
        where=statement.excluded.seq > alerts.c.seq,
    )
    rows = [
        {
            **event.model_dump(include={"alert_id", "seq", "rule_id", "team", "realm", "severity", "started_at"}),
            "state": event.state.value,
            "changed_at": event.at,
        }
        for event in latest.values()
    ]
    await connection.execute(higher, rows)


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts; None means all. `states` and `rule` narrow, `since` is about the last change."""

    realm: str | None = None
    team: str | None = None
    rule: str | None = None
    states: Sequence[AlertState] = ()
    since: datetime | None = None


def _latest() -> Select[Any]:
    """Return the query of where alerts stand: the whole event of each."""
    joined = and_(alert_events.c.alert_id == alerts.c.alert_id, alert_events.c.seq == alerts.c.seq)
    return select(alert_events.c.event).join(alerts, joined)


async def _events(connection: AsyncConnection, query: Select[Any]) -> list[AlertEvent]:
    records = [decode(row.event.encode()) for row in await connection.execute(query)]
    return [record for record in records if isinstance(record, AlertEvent)]


async def find(connection: AsyncConnection, wanted: AlertFilter, limit: int) -> list[AlertEvent]:
    """Return where the alerts stand, the latest started first."""
    query = _latest().order_by(alerts.c.started_at.desc(), alerts.c.alert_id.desc()).limit(limit)
    for column, value in (
        (alerts.c.realm, wanted.realm),
        (alerts.c.team, wanted.team),
        (alerts.c.rule_id, wanted.rule),
    ):
        query = query if value is None else query.where(column == value)
    if wanted.states:
        query = query.where(alerts.c.state.in_([state.value for state in wanted.states]))
    if wanted.since is not None:
        query = query.where(alerts.c.changed_at >= wanted.since)
    return await _events(connection, query)


async def shown(connection: AsyncConnection, realm: str, resolved_since: datetime) -> list[AlertEvent]:
    """Return what a wall shows: firing, acknowledged and no-data alerts, and those resolved since; worst first."""
    resolved = and_(alerts.c.state == AlertState.RESOLVED.value, alerts.c.changed_at >= resolved_since)
    open_states = [state.value for state in (AlertState.FIRING, AlertState.ACKNOWLEDGED, AlertState.NO_DATA)]
    query = _latest().where(alerts.c.realm == realm, or_(alerts.c.state.in_(open_states), resolved))
    return await _events(connection, query.order_by(alerts.c.severity, alerts.c.started_at.desc()).limit(500))


async def history(connection: AsyncConnection, alert_id: str) -> list[AlertEvent]:
    """Return all transitions of an alert, first to last; empty when there is no such alert."""
    query = select(alert_events.c.event).where(alert_events.c.alert_id == alert_id).order_by(alert_events.c.seq)
    return await _events(connection, query)
