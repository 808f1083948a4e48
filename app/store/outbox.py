"""The durable outbox (alerts.ports.SendLog) and the history of delivery attempts.

Owns `outbox` and `notifications`. Does not own when a send is due, tried again or given up: the notifier does. A send
is pending until it is delivered or failed; a delivered one never goes back, whatever a late second attempt says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, case, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.ports import Outcome, Send
from app.store.batches import slices
from app.store.database import Flavour
from app.store.quotes import cite, places_of, redacted
from app.store.withdrawals import unreadable
from app.tables import notifications, outbox
from streams.records import AlertEvent, decode

PENDING: Final = "pending"


@dataclass(frozen=True, slots=True)
class Notification:
    """One delivery attempt that came to an end; `attempt` counts from 1."""

    key: str
    alert_id: str
    seq: int
    receiver: str
    attempt: int
    result: str
    reason: str
    at: datetime


async def enqueue(connection: AsyncConnection, flavour: Flavour, sends: Sequence[Send]) -> None:
    """Add what is not there yet by key."""
    if not sends:
        return
    gone = await unreadable(connection, places_of(send.event for send in sends))
    await cite(connection, flavour, [send.event for send in sends])
    rows = {
        send.key: {
            "key": send.key,
            "receiver": send.receiver,
            "alert_id": send.event.alert_id,
            "seq": send.event.seq,
            "event": redacted(send.event, gone).model_dump_json(),
            "attempts": send.attempts,
            "state": PENDING,
            "due_at": send.due_at,
            "expires_at": send.expires_at,
        }
        for send in reversed(sends)
    }
    await connection.execute(flavour.insert(outbox).on_conflict_do_nothing(), [rows[key] for key in sorted(rows)])


async def claim(
    connection: AsyncConnection, now: datetime, most: int, lease: float, busy: frozenset[str] = frozenset()
) -> list[Send]:
    """Return due sends, the longest due first, and hold them for `lease` seconds. Expired ones come too.

    Those to `busy` receivers are left alone. A send waits while an earlier one of the same alert and receiver is not
    settled: no resolved overtakes its firing.
    """
    free = or_(outbox.c.leased_until.is_(None), outbox.c.leased_until <= now)
    earlier = outbox.alias("earlier")
    first = ~exists().where(
        earlier.c.alert_id == outbox.c.alert_id,
        earlier.c.receiver == outbox.c.receiver,
        earlier.c.seq < outbox.c.seq,
        earlier.c.state == PENDING,
    )
    query = (
        select(outbox)
        .where(outbox.c.state == PENDING, outbox.c.due_at <= now, free, first, outbox.c.receiver.not_in(busy))
        .order_by(outbox.c.due_at, outbox.c.key)
        .limit(most)
        .with_for_update(of=outbox, skip_locked=True)
    )
    rows = (await connection.execute(query)).all()
    until = now + timedelta(seconds=lease)
    for part in slices([row.key for row in rows]):
        await connection.execute(update(outbox).where(outbox.c.key.in_(part)).values(leased_until=until))
    sends = []
    for row in rows:
        event = decode(row.event.encode())
        if isinstance(event, AlertEvent):
            sends.append(Send(row.key, row.receiver, event, row.attempts, row.due_at, row.expires_at))
    return sends


async def set_back(connection: AsyncConnection, now: datetime, longest: float) -> None:
    """Make due and free what waits for a time more than `longest` seconds ahead: a wrong clock wrote it."""
    wrong = now + timedelta(seconds=longest)
    waits = or_(outbox.c.due_at > wrong, outbox.c.leased_until > wrong)
    due = case((outbox.c.due_at > wrong, now), else_=outbox.c.due_at)
    mended = update(outbox).where(outbox.c.state == PENDING, waits)
    await connection.execute(mended.values(due_at=due, leased_until=None))


async def settle(connection: AsyncConnection, outcomes: Sequence[Outcome]) -> None:
    """Record each outcome and keep the attempt; an outcome of a send that is not in the outbox raises KeyError."""
    found: dict[str, dict[str, Any]] = {}
    for part in slices(sorted(outcome.key for outcome in outcomes)):
        query = select(outbox).where(outbox.c.key.in_(part)).order_by(outbox.c.key).with_for_update()
        found |= {row.key: row._asdict() for row in await connection.execute(query)}
    history = []
    for outcome in outcomes:
        row = found[outcome.key]
        row["attempts"] += 1
        if row["state"] == PENDING or outcome.result == "delivered":
            again = outcome.retry_at is not None
            row["state"] = PENDING if again else outcome.result
            row["due_at"] = outcome.retry_at if again else row["due_at"]
            row["settled_at"] = None if again else outcome.at
        taken = {"attempt": row["attempts"], "result": outcome.result, "reason": outcome.reason, "at": outcome.at}
        history.append({**{name: row[name] for name in ("key", "alert_id", "seq", "receiver")}, **taken})
    if history:
        names = ("attempts", "state", "due_at", "settled_at")
        changed = (
            update(outbox).where(outbox.c.key == bindparam("of")).values({n: bindparam(f"new_{n}") for n in names})
        )
        rows = [{"of": key, **{f"new_{n}": row[n] for n in names}} for key, row in found.items()]
        await connection.execute(changed.values(leased_until=None), rows)
        await connection.execute(insert(notifications), history)


async def attempts(connection: AsyncConnection, alert_id: str) -> list[Notification]:
    """Return all attempts for an alert, first to last."""
    query = select(notifications).where(notifications.c.alert_id == alert_id).order_by(notifications.c.id)
    return [
        Notification(r.key, r.alert_id, r.seq, r.receiver, r.attempt, r.result, r.reason, r.at)
        for r in await connection.execute(query)
    ]
