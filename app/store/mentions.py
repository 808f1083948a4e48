"""Published mentions into rows: the higher revision wins, in whatever order and however often they come.

Owns `mentions` and `mention_queries`. Does not own tombstones (`app.store.withdrawals`), what an edit does to people's
labels (`app.store.verdicts`), nor counting, which it reports to `rollups.Changes`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import verdicts
from app.store.batches import slices
from app.store.database import Flavour, StoreUnavailable
from app.store.rollups import Changes
from app.store.rows import ERASED, Values
from app.store.withdrawals import Place, Withdrawn
from app.tables import mention_queries, mentions

_COUNTED = (
    *("id", "realm", "key", "revision", "source_id", "published_at", "received_at", "sentiment", "urgency", "queries"),
)


@dataclass(slots=True)
class Published:
    """What came of the published mentions of a batch: rows that are new, rows that an edit changed."""

    inserted: list[Values] = field(default_factory=list)
    revised: list[Values] = field(default_factory=list)

    @property
    def erased(self) -> list[bytes]:
        """Digests of rows that a tombstone had forbidden before they came."""
        return [row["key"] for row in (*self.inserted, *self.revised) if row["deleted_at"] is not None]


def winners(rows: Iterable[Values]) -> dict[Place, Values]:
    """Return the row of the highest revision of each identity; the first of equal ones."""
    best: dict[Place, Values] = {}
    for row in rows:
        before = best.get((row["realm"], row["key"]))
        if before is None or row["revision"] > before["revision"]:
            best[row["realm"], row["key"]] = row
    return best


async def publish(
    connection: AsyncConnection, flavour: Flavour, best: Mapping[Place, Values], changes: Changes
) -> Published:
    """Insert and revise; tell `changes` what that does to the counts."""
    stored = await _stored(connection, [key for _, key in best])
    fresh = {place: row for place, row in best.items() if _newer(row, stored.get(place))}
    withdrawn = await Withdrawn.load(
        connection, [row[name] for row in fresh.values() for name in ("key", "author_key")]
    )
    done = Published()
    for place, row in sorted(fresh.items()):
        stone = withdrawn.over(row)
        row_now = row if stone is None else {**row, **ERASED, "deleted_at": stone.at}
        before = stored.get(place)
        changes.count(row, 1)
        if before is None:
            changes.hear(row)
            done.inserted.append(row_now)
        else:
            changes.count(before, -1)
            done.revised.append({**row_now, "id": before["id"]})
    await _insert(connection, flavour, done.inserted)
    await _revise(connection, flavour, done.revised)
    return done


def _newer(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    return before is None or row["revision"] > before["revision"]


async def _stored(connection: AsyncConnection, keys: Collection[bytes]) -> dict[Place, Values]:
    found: dict[Place, Values] = {}
    for part in slices(keys):
        query = select(*(mentions.c[name] for name in _COUNTED)).where(mentions.c.key.in_(part)).order_by(mentions.c.id)
        for row in await connection.execute(query.with_for_update()):
            found[row.realm, row.key] = row._asdict()
    return found


async def _insert(connection: AsyncConnection, flavour: Flavour, rows: Sequence[Values]) -> None:
    if not rows:
        return
    try:
        await connection.execute(insert(mentions), rows)
    except IntegrityError as error:
        raise StoreUnavailable("another process stored the same mention just now; again") from error
    ids: dict[Place, int] = {}
    for part in slices([row["key"] for row in rows]):
        query = select(mentions.c.id, mentions.c.realm, mentions.c.key, mentions.c.revision)
        for row in await connection.execute(query.where(mentions.c.key.in_(part))):
            ids[row.realm, row.key] = row.id
    await _link(connection, flavour, [(ids[row["realm"], row["key"]], row) for row in rows])


async def _revise(connection: AsyncConnection, flavour: Flavour, rows: Sequence[Values]) -> None:
    if not rows:
        return
    carried = await verdicts.carry(connection, rows)
    names = [name for name in rows[0] if name not in {"id", "realm", "key"}]
    statement = (
        update(mentions)
        .where(mentions.c.id == bindparam("row"), mentions.c.revision < bindparam("new_revision"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
    await connection.execute(
        statement, [{"row": row["id"], **{f"new_{name}": row[name] for name in names}} for row in rows]
    )
    await verdicts.settle(connection, carried)
    for part in slices([row["id"] for row in rows]):
        await connection.execute(delete(mention_queries).where(mention_queries.c.mention_id.in_(part)))
    await _link(connection, flavour, [(row["id"], row) for row in rows])


async def _link(connection: AsyncConnection, flavour: Flavour, rows: Sequence[tuple[int, Values]]) -> None:
    links = [
        {"mention_id": number, "query_id": query, "published_at": row["published_at"]}
        for number, row in rows
        for query in json.loads(row["queries"])
    ]
    if links:
        await connection.execute(flavour.insert(mention_queries).on_conflict_do_nothing(), links)
