"""Quotes: the excerpts of mentions that alert events carry, in `alert_events` and in the outbox.

Owns `cited` and redaction. Does not own which mentions are erased (`app.store.withdrawals`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Table, bindparam, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.batches import slices
from app.store.database import Flavour
from app.store.rows import digest
from app.tables import alert_events, cited, outbox
from streams.records import AlertEvent, Evidence, Identity, decode

Place = tuple[str, bytes]
"""A realm, and the digest of a post."""


def place_of(event: AlertEvent, evidence: Evidence) -> Place:
    """Return the post that is quoted."""
    identity = Identity.model_construct(source_kind=evidence.source_kind, native_id=evidence.native_id)
    return event.realm, digest(identity.key)


def places_of(events: Iterable[AlertEvent]) -> set[Place]:
    """Return all posts that the events quote."""
    return {place_of(event, evidence) for event in events for evidence in event.evidence}


def redacted(event: AlertEvent, gone: Collection[Place]) -> AlertEvent:
    """Return the event without the words, the author and the address of the posts in `gone`."""
    if not any(place_of(event, evidence) in gone for evidence in event.evidence):
        return event
    kept = tuple(
        evidence.model_copy(update={"excerpt": "", "author": "", "url": None, "lang": None})
        if place_of(event, evidence) in gone
        else evidence
        for evidence in event.evidence
    )
    return event.model_copy(update={"evidence": kept})


async def cite(connection: AsyncConnection, flavour: Flavour, events: Sequence[AlertEvent]) -> None:
    """Remember which events quote which posts."""
    rows = {
        (key, event.alert_id, event.seq): {"key": key, "alert_id": event.alert_id, "seq": event.seq, "realm": realm}
        for event in events
        for realm, key in places_of([event])
    }
    if rows:
        statement = flavour.insert(cited).on_conflict_do_nothing()
        await connection.execute(statement, [rows[key] for key in sorted(rows)])


async def quoted(connection: AsyncConnection, keys: Iterable[bytes]) -> set[Place]:
    """Return where posts of these digests are quoted."""
    found: set[Place] = set()
    for part in slices(list(keys)):
        query = select(cited.c.realm, cited.c.key).where(cited.c.key.in_(part)).distinct()
        found |= {(row.realm, row.key) for row in await connection.execute(query)}
    return found


async def redact(connection: AsyncConnection, gone: Collection[Place]) -> None:
    """Take the quotes of these posts out of everything that is stored."""
    found: dict[tuple[str, int], set[Place]] = {}
    for part in slices([key for _, key in gone]):
        for row in await connection.execute(select(cited).where(cited.c.key.in_(part))):
            if (row.realm, row.key) in gone:
                found.setdefault((row.alert_id, row.seq), set()).add((row.realm, row.key))
    for part_of_events in slices(sorted(found)):
        for table in (alert_events, outbox):
            await _rewrite(connection, table, part_of_events, found)


async def _rewrite(
    connection: AsyncConnection, table: Table, part: Sequence[tuple[str, int]], found: dict[tuple[str, int], set[Place]]
) -> None:
    named = tuple_(table.c.alert_id, table.c.seq)
    key: list[Any] = list(table.primary_key.columns)
    query = select(table).where(named.in_(part)).order_by(*key).with_for_update()
    rows = []
    for row in await connection.execute(query):
        event = decode(row.event.encode())
        if isinstance(event, AlertEvent):
            after = redacted(event, found[row.alert_id, row.seq])
            values = row._mapping  # noqa: SLF001  public; the underscore keeps it apart from column names
            rows.append({"new": after.model_dump_json(), **{f"at_{c.name}": values[c.name] for c in key}})
    if rows:
        statement = update(table).where(*(c == bindparam(f"at_{c.name}") for c in key)).values(event=bindparam("new"))
        await connection.execute(statement, rows)
