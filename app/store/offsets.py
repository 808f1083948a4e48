"""A consumer group's offsets, kept beside the effects so that both commit or neither does.

Owns the rows of `offsets`. Does not own the log's own committed offsets (`streams.stream`), which follow later and may
be lost without harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Flavour
from app.tables import offsets
from streams.stream import Position


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose offsets: a topic and a consumer group."""

    topic: str
    group: str

    def where(self) -> Any:
        """Return the condition of its rows."""
        return and_(offsets.c.topic == self.topic, offsets.c.consumer == self.group)


async def positions(connection: AsyncConnection, reader: Reader) -> dict[int, int]:
    """Return the next offset of every partition that was ever handled."""
    query = select(offsets.c.partition, offsets.c.next_offset).where(reader.where(), offsets.c.next_offset > 0)
    return {row.partition: row.next_offset for row in await connection.execute(query)}


async def hold(
    connection: AsyncConnection, flavour: Flavour, reader: Reader, partitions: Collection[int]
) -> Mapping[int, int]:
    """Lock the partitions until the end of the transaction; return their next offsets (0 when new).

    A second process that was given the same partition too early waits here, and then sees what the first one did.
    """
    found = await _locked(connection, reader, partitions)
    missing = sorted(set(partitions) - found.keys())
    if missing:
        names = {"topic": reader.topic, "consumer": reader.group, "next_offset": 0}
        rows = [{**names, "partition": partition} for partition in missing]
        await connection.execute(flavour.insert(offsets).on_conflict_do_nothing(), rows)
        found = await _locked(connection, reader, partitions)
    return found


async def _locked(connection: AsyncConnection, reader: Reader, partitions: Collection[int]) -> dict[int, int]:
    query = (
        select(offsets.c.partition, offsets.c.next_offset)
        .where(reader.where(), offsets.c.partition.in_(sorted(partitions)))
        .order_by(offsets.c.partition)
        .with_for_update()
    )
    return {row.partition: row.next_offset for row in await connection.execute(query)}


async def advance(connection: AsyncConnection, reader: Reader, handled: Iterable[Position]) -> None:
    """Set the next offset of each partition (held before) behind the last that was handled."""
    ends: dict[int, int] = {}
    for position in handled:
        ends[position.partition] = max(ends.get(position.partition, 0), position.offset + 1)
    if ends:
        statement = (
            update(offsets)
            .where(reader.where(), offsets.c.partition == bindparam("at_partition"))
            .values(next_offset=bindparam("end"))
        )
        rows = [{"at_partition": partition, "end": end} for partition, end in sorted(ends.items())]
        await connection.execute(statement, rows)
