"""Counts by minute: what a transaction adds and takes away, and reading them.

Owns `rollups` and `days`. They are derived from rows that were really inserted or changed, in the same transaction:
an identity counts once, with the labels of its highest published revision. An edit takes the old away and adds the new;
a deletion changes nothing here, because heard is heard (counts hold no text). A mention counts at `event_time`; former
versions counted those that were stamped ahead of their receipt at their own stamp, so an edit of one may leave a minute
under zero, which is read as zero.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Flavour
from app.store.rows import SENTIMENTS, URGENCIES, event_time, minute_of, moment_of
from app.tables import days, rollups

COUNTS: Final = ("total", *SENTIMENTS, *URGENCIES)
ALL: Final = ""
"""The `query_id` under which every mention counts once."""
_DAY: Final = 1440


@dataclass(frozen=True, slots=True)
class Rollup:
    """The counts of one step of time: keys of `counts` are COUNTS."""

    at: datetime
    counts: Mapping[str, int]


@dataclass(slots=True)
class Changes:
    """What one transaction does to the counts: (realm, query, minute, source) -> one number for each of COUNTS."""

    minutes: dict[tuple[str, str, int, str], list[int]] = field(default_factory=dict)
    heard: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def count(self, row: Mapping[str, Any], sign: int) -> None:
        """Add (1) or take away (-1) a mention's row."""
        marks = (1, *(row["sentiment"] == name for name in SENTIMENTS), *(row["urgency"] == name for name in URGENCIES))
        minute = minute_of(event_time(row["published_at"], row["received_at"]))
        for query in (ALL, *json.loads(row["queries"])):
            key = (row["realm"], query, minute, row["source_id"])
            cell = self.minutes.setdefault(key, [0] * len(COUNTS))
            for place, mark in enumerate(marks):
                cell[place] += sign * mark

    def hear(self, row: Mapping[str, Any]) -> None:
        """Count an identity that was not there before."""
        self.heard[row["realm"], minute_of(row["received_at"]) // _DAY] += 1


async def apply(connection: AsyncConnection, flavour: Flavour, changes: Changes) -> None:
    """Write the changes; rows go in key order, so that two processes never wait for each other in a ring."""
    names = ("realm", "query_id", "minute", "source_id")
    cells = [
        {**dict(zip(names, key, strict=True)), **dict(zip(COUNTS, cell, strict=True))}
        for key, cell in sorted(changes.minutes.items())
        if any(cell)
    ]
    if cells:
        statement = flavour.insert(rollups)
        added = {name: rollups.c[name] + statement.excluded[name] for name in COUNTS}
        await connection.execute(statement.on_conflict_do_update(index_elements=names, set_=added), cells)
    heard = [{"realm": realm, "day": day, "heard": count} for (realm, day), count in sorted(changes.heard.items())]
    if heard:
        statement = flavour.insert(days)
        added = {"heard": days.c.heard + statement.excluded.heard}
        await connection.execute(statement.on_conflict_do_update(index_elements=("realm", "day"), set_=added), heard)


@dataclass(frozen=True, slots=True)
class Span:
    """Which counts: one realm's from `start` up to, not with, `end`; `step` is minutes."""

    realm: str
    start: datetime
    end: datetime
    query: str = ALL
    source: str | None = None
    step: int = 1


async def read(connection: AsyncConnection, span: Span) -> Sequence[Rollup]:
    """Return the steps that have counts, oldest first; steps begin at multiples of `step` since 1970 UTC."""
    if span.step < 1:
        raise ValueError("step: at least one minute")
    step: BindParameter[int] = bindparam("step", span.step, literal_execute=True)
    begin = rollups.c.minute - ((rollups.c.minute % step) + step) % step
    query = (
        select(begin.label("begin"), *(func.sum(rollups.c[name]).label(name) for name in COUNTS))
        .where(rollups.c.realm == span.realm, rollups.c.query_id == span.query)
        .where(rollups.c.minute >= minute_of(span.start), rollups.c.minute < minute_of(span.end))
        .group_by(begin)
        .order_by(begin)
    )
    if span.source is not None:
        query = query.where(rollups.c.source_id == span.source)
    return [
        Rollup(moment_of(int(row.begin)), {name: max(0, int(row._mapping[name])) for name in COUNTS})  # noqa: SLF001  public, named so to not clash with columns
        for row in await connection.execute(query)
        if row.total > 0
    ]


async def heard(connection: AsyncConnection, realm: str, now: datetime) -> tuple[int, int]:
    """Return how many identities were first stored on this UTC day, and ever."""
    today = minute_of(now) // _DAY
    query = select(days.c.day, days.c.heard).where(days.c.realm == realm)
    counts = {row.day: row.heard for row in await connection.execute(query)}
    return counts.get(today, 0), sum(counts.values())
