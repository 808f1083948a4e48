"""A consumer group's offsets, kept beside the effects so that both commit or neither does.

Owns the rows of `offsets`. A row is good for the log whose identity it names; under another one everything begins at 0
again, and the effects tell what they have seen. Does not own the log's own committed offsets (`streams.stream`), which
follow later and may be lost without harm.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Flavour
from app.tables import offsets
from streams.stream import Position

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose offsets: a topic and a consumer group, and which log (`streams.stream.Stream.identity`) holds the topic."""

    topic: str
    group: str
    log: str = ""

    def where(self) -> Any:
        """Return the condition of its rows."""
        return and_(offsets.c.topic == self.topic, offsets.c.consumer == self.group)


async def positions(connection: AsyncConnection, reader: Reader) -> dict[int, int]:
    """Return the next offset of every partition that was ever handled; 0 where that was in another log."""
    query = select(offsets).where(reader.where(), offsets.c.next_offset > 0)
    rows = (await connection.execute(query)).all()
    for row in rows:
        if row.log != reader.log:
            _warn(reader, row)
    return {row.partition: row.next_offset if row.log == reader.log else 0 for row in rows}


def _warn(reader: Reader, row: Any) -> None:
    _log.warning(
        "the log was replaced: offset %d of %s/%d for %s was stored under %r, this one is %r; reading it all",
        *(row.next_offset, reader.topic, row.partition, reader.group, row.log, reader.log),
    )


async def hold(
    connection: AsyncConnection, flavour: Flavour, reader: Reader, partitions: Collection[int]
) -> Mapping[int, int]:
    """Lock the partitions until the end of the transaction; return their next offsets (0 when new).

    A second process that was given the same partition too early waits here, and then sees what the first one did.
    """
    found = await _locked(connection, reader, partitions)
    missing = sorted(set(partitions) - found.keys())
    if missing:
        names = {"topic": reader.topic, "consumer": reader.group, "next_offset": 0, "log": reader.log}
        rows = [{**names, "partition": partition} for partition in missing]
        await connection.execute(flavour.insert(offsets).on_conflict_do_nothing(), rows)
        found = await _locked(connection, reader, partitions)
    return found


async def _locked(connection: AsyncConnection, reader: Reader, partitions: Collection[int]) -> dict[int, int]:
    query = (
        select(offsets)
        .where(reader.where(), offsets.c.partition.in_(sorted(partitions)))
        .order_by(offsets.c.partition)
        .with_for_update()
    )
    rows = (await connection.execute(query)).all()
    foreign = [row for row in rows if row.log != reader.log]
    for row in foreign:
        _warn(reader, row)
    if foreign:
        again = offsets.c.partition.in_([row.partition for row in foreign])
        await connection.execute(update(offsets).where(reader.where(), again).values(next_offset=0, log=reader.log))
    return {row.partition: row.next_offset if row.log == reader.log else 0 for row in rows}


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
