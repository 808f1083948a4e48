"""Erasure: tombstones, and taking away what they forbid from mentions, labels, alert events and the outbox.

Owns invariant 8 (deleted upstream means unreadable here, and a replayed create never brings it back). A deletion in the
live realm holds in every realm; one in a rehearsal or a replay holds there alone. What is published later, with a
higher revision than the tombstone's, lives. Does not own counts: heard is heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import quotes, verdicts
from app.store.batches import slices
from app.store.database import Flavour
from app.store.rows import ERASED, Values, author_digest, digest
from app.tables import mentions, withdrawals
from streams.records import LIVE, Action, Mention

Place = tuple[str, bytes]
"""A realm, and the digest of a post or of an author."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Erased up to and with `revision`; `at` is when we were told."""

    revision: int
    at: datetime


def tombstones_of(records: Iterable[Mention]) -> dict[Place, Tombstone]:
    """Return the highest tombstone of each place in the batch."""
    found: dict[Place, Tombstone] = {}
    for mention in records:
        if mention.action is Action.PUBLISH:
            continue
        whole = mention.action is Action.DELETE_AUTHOR
        key = author_digest(mention.source_kind, mention.native_id) if whole else digest(mention.key)
        before = found.get((mention.realm, key))
        if before is None or mention.revision > before.revision:
            found[mention.realm, key] = Tombstone(mention.revision, mention.received_at)
    return found


async def bury(connection: AsyncConnection, flavour: Flavour, stones: Mapping[Place, Tombstone]) -> None:
    """Keep the tombstones; a higher one that is there stays."""
    rows = [
        {"realm": realm, "key": key, "revision": stone.revision, "at": stone.at}
        for (realm, key), stone in sorted(stones.items())
    ]
    if not rows:
        return
    statement = flavour.insert(withdrawals)
    higher = statement.on_conflict_do_update(
        index_elements=("realm", "key"),
        set_={"revision": statement.excluded.revision, "at": statement.excluded.at},
        where=statement.excluded.revision > withdrawals.c.revision,
    )
    await connection.execute(higher, rows)


class Withdrawn:
    """The tombstones that may concern some rows."""

    def __init__(self, stones: Mapping[Place, Tombstone]) -> None:
        self._stones = stones

    @classmethod
    async def load(cls, connection: AsyncConnection, keys: Iterable[bytes | None]) -> Withdrawn:
        """Read the tombstones of these digests in all realms."""
        stones = {}
        for part in slices([key for key in keys if key is not None]):
            for row in await connection.execute(select(withdrawals).where(withdrawals.c.key.in_(part))):
                stones[row.realm, row.key] = Tombstone(row.revision, row.at)
        return cls(stones)

    def over(self, row: Mapping[str, Any]) -> Tombstone | None:
        """Return the tombstone that forbids the row's content; None when it may be read."""
        return self.at(row["realm"], row["revision"], (row["key"], row["author_key"]))

    def at(self, realm: str, revision: int, keys: Iterable[bytes | None]) -> Tombstone | None:
        """Return the highest tombstone at or above `revision` of any of `keys`, in the realm or in the live one."""
        places = [(name, key) for key in keys if key is not None for name in {realm, LIVE}]
        found = [self._stones[place] for place in places if place in self._stones]
        best = max(found, key=lambda stone: stone.revision, default=None)
        return best if best is not None and best.revision >= revision else None


async def erase(connection: AsyncConnection, stones: Mapping[Place, Tombstone]) -> list[Values]:
    """Erase the stored mentions that the new tombstones forbid; return realm, key and source_id of each."""
    withdrawn = Withdrawn(stones)
    columns = [mentions.c[name] for name in ("id", "realm", "key", "author_key", "revision", "source_id")]
    hit: dict[int, Values] = {}
    for part in slices([key for _, key in stones]):
        named = or_(mentions.c.key.in_(part), mentions.c.author_key.in_(part))
        for row in await connection.execute(select(*columns).where(mentions.c.deleted_at.is_(None), named)):
            values = row._asdict()
            stone = withdrawn.over(values)
            if stone is not None:
                hit[row.id] = {**values, "stone": stone}
    await _blank(connection, list(hit.values()))
    await verdicts.forget(connection, list(hit))
    return list(hit.values())


async def _blank(connection: AsyncConnection, hit: Sequence[Values]) -> None:
    statement = update(mentions).where(mentions.c.id == bindparam("row")).values(**ERASED, deleted_at=bindparam("at"))
    rows = [{"row": row["id"], "at": row["stone"].at} for row in sorted(hit, key=lambda row: int(row["id"]))]
    if rows:
        await connection.execute(statement, rows)


async def unreadable(connection: AsyncConnection, places: Iterable[Place]) -> set[Place]:
    """Return which of these posts may not be quoted: their row is erased, or there is a tombstone and no row."""
    wanted = set(places)
    stored: dict[Place, bool] = {}
    for part in slices([key for _, key in wanted]):
        query = select(mentions.c.realm, mentions.c.key, mentions.c.deleted_at).where(mentions.c.key.in_(part))
        for row in await connection.execute(query):
            stored[row.realm, row.key] = row.deleted_at is not None
    withdrawn = await Withdrawn.load(connection, [key for _, key in wanted])
    return {place for place in wanted if stored.get(place, withdrawn.at(place[0], 0, (place[1],)) is not None)}


async def redact_quotes(connection: AsyncConnection, keys: Iterable[bytes]) -> None:
    """Take the words of these posts out of alert events and the outbox, where they may not be read any more."""
    quoted = await quotes.quoted(connection, keys)
    if quoted:
        await quotes.redact(connection, await unreadable(connection, quoted))
