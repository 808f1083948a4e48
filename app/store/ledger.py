"""The ledger's counts by source and stage, and the latest pulse of each source.

Owns `stage_counts` and `source_states`. Ingest's own counters come with the pulses (they are totals); the store's come
from what its transactions did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Flavour
from app.tables import source_states, stage_counts
from streams.records import Pulse, decode

SCORED = "scored"
STORED = "stored"
REVISED = "revised"
REPEATED = "repeated"
DELETED = "deleted"

Counts = Counter[tuple[str, str, str]]
"""(realm, source_id, stage) -> how many more."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source as it was last heard of, and the ledger's line of it: stage -> count since the source first started.

    Stages: ingest's received, matched, duplicated, dead, late, gaps, reconnects; the store's scored, stored, revised,
    repeated, deleted; and dead_score, dead_store, dead_alert, dead_notify.
    """

    pulse: Pulse
    counters: Mapping[str, int]


async def count(connection: AsyncConnection, flavour: Flavour, counts: Counts) -> None:
    """Add to the counts, in key order (two processes never wait for each other in a ring)."""
    rows = [
        {"realm": realm, "source_id": source, "stage": stage, "number": number}
        for (realm, source, stage), number in sorted(counts.items())
        if number
    ]
    if rows:
        statement = flavour.insert(stage_counts)
        added = statement.on_conflict_do_update(
            index_elements=("realm", "source_id", "stage"),
            set_={"number": stage_counts.c.number + statement.excluded.number},
        )
        await connection.execute(added, rows)


async def note(connection: AsyncConnection, flavour: Flavour, pulses: Iterable[Pulse], now: datetime) -> None:
    """Keep the latest pulse of each source, by the sender's clock; one that lies ahead of `now` gives way to any."""
    latest: dict[tuple[str, str], Pulse] = {}
    for pulse in pulses:
        before = latest.get((pulse.realm, pulse.source_id))
        if before is None or pulse.sent_at >= before.sent_at or before.sent_at > now:
            latest[pulse.realm, pulse.source_id] = pulse
    if not latest:
        return
    statement = flavour.insert(source_states)
    names = ("sent_at", "status", "last_mention_at", "pulse")
    newer = statement.on_conflict_do_update(
        index_elements=("realm", "source_id"),
        set_={name: statement.excluded[name] for name in names},
        where=(statement.excluded.sent_at >= source_states.c.sent_at) | (source_states.c.sent_at > now),
    )
    await connection.execute(newer, [_row(latest[key]) for key in sorted(latest)])


def _row(pulse: Pulse) -> dict[str, object]:
    return {
        "realm": pulse.realm,
        "source_id": pulse.source_id,
        "sent_at": pulse.sent_at,
        "status": pulse.status.value,
        "last_mention_at": pulse.last_mention_at,
        "pulse": pulse.model_dump_json(),
    }


async def sources(connection: AsyncConnection, realm: str | None = None) -> Sequence[SourceState]:
    """Return every source that sent a pulse and was not retired, by id; `realm` None: of all realms."""
    states, counted = select(source_states), select(stage_counts)
    if realm is not None:
        states, counted = states.where(source_states.c.realm == realm), counted.where(stage_counts.c.realm == realm)
    stages: dict[tuple[str, str], dict[str, int]] = {}
    for row in await connection.execute(counted):
        stages.setdefault((row.realm, row.source_id), {})[row.stage] = row.number
    found = []
    for row in await connection.execute(states.order_by(source_states.c.source_id, source_states.c.realm)):
        pulse = decode(row.pulse.encode())
        if isinstance(pulse, Pulse):
            own = stages.get((row.realm, row.source_id), {})
            found.append(SourceState(pulse, {**pulse.tally.model_dump(), **own}))
    return found


async def retire(connection: AsyncConnection, in_force: Collection[tuple[str, str]], realms: Collection[str]) -> int:
    """Forget the last pulses of the sources of `realms` whose (realm, id) is not `in_force`; return how many.

    Counts stay.
    """
    column = source_states.c
    stale = delete(source_states).where(
        column.realm.in_(sorted(realms)), tuple_(column.realm, column.source_id).not_in(sorted(in_force))
    )
    return (await connection.execute(stale)).rowcount


async def read(connection: AsyncConnection) -> dict[tuple[str, str], dict[str, int]]:
    """Return (realm, source_id) -> stage -> count, of sources that sent no pulse yet too."""
    book: dict[tuple[str, str], dict[str, int]] = {}
    for state in await sources(connection):
        book[state.pulse.realm, state.pulse.source_id] = dict(state.counters)
    for row in await connection.execute(select(stage_counts)):
        book.setdefault((row.realm, row.source_id), {})[row.stage] = row.number
    return book
