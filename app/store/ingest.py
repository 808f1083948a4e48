"""What ingest must not forget: cursors, tallies, and which identities it appended (streams.source.IngestLog).

Owns `cursors` and `accepted`. Keys are kept as digests: nothing of a person stays when a text is erased.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.batches import slices
from app.store.database import Flavour
from app.store.rows import digest
from app.tables import accepted, cursors
from streams.records import Tally
from streams.source import Accepted


async def load_cursor(connection: AsyncConnection, source_id: str) -> tuple[str | None, Tally]:
    """Return what was saved last; (None, zeros) for a new source."""
    row = (await connection.execute(select(cursors).where(cursors.c.source_id == source_id))).one_or_none()
    return (None, Tally()) if row is None else (row.cursor, Tally.model_validate_json(row.tally))


async def known(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, int]:
    """Return the highest accepted revision of each identity key or author key that is known."""
    names = {digest(key): key for key in keys}
    found: dict[str, int] = {}
    for column in (accepted.c.key, accepted.c.author_key):
        for part in slices(names):
            query = select(column, func.max(accepted.c.revision)).where(column.in_(part)).group_by(column)
            for key, revision in await connection.execute(query):
                found[names[key]] = max(revision, found.get(names[key], -1))
    return found


async def save(
    connection: AsyncConnection,
    flavour: Flavour,
    source: tuple[str, str | None, Tally],
    identities: Sequence[Accepted],
    now: datetime,
) -> None:
    """Remember cursor, tally and identities; a cursor of None leaves the saved one, a lower revision the higher."""
    source_id, cursor, tally = source
    statement = flavour.insert(cursors)
    values = {"source_id": source_id, "cursor": cursor, "tally": tally.model_dump_json()}
    kept = {
        "cursor": func.coalesce(statement.excluded.cursor, cursors.c.cursor),
        "tally": statement.excluded.tally,
    }
    await connection.execute(statement.on_conflict_do_update(index_elements=("source_id",), set_=kept), values)
    best: dict[bytes, Accepted] = {}
    for identity in identities:
        key = digest(identity.key)
        if key not in best or identity.revision > best[key].revision:
            best[key] = identity
    if best:
        await _accept(connection, flavour, best, now)


async def _accept(connection: AsyncConnection, flavour: Flavour, best: dict[bytes, Accepted], now: datetime) -> None:
    statement = flavour.insert(accepted)
    higher = statement.on_conflict_do_update(
        index_elements=("key",),
        set_={
            "revision": statement.excluded.revision,
            "author_key": func.coalesce(statement.excluded.author_key, accepted.c.author_key),
            "at": statement.excluded.at,
        },
        where=statement.excluded.revision > accepted.c.revision,
    )
    rows = [
        {
            "key": key,
            "author_key": digest(one.author_key) if one.author_key else None,
            "revision": one.revision,
            "at": now,
        }
        for key, one in sorted(best.items())
    ]
    await connection.execute(higher, rows)
