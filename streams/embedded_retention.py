"""What the embedded log forgets: by age and by size, never silently from under a group that has not read it yet.

Owns the policy and its deletion in bounded steps. Does not own when it runs (`streams.embedded_writer`). A group that
was away for too long holds nothing back any more, but keeps its place, and what it loses by that is counted.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from streams import metrics
from streams.embedded_file import Topic, micros

ROW_OVERHEAD: Final = 32
"""Bytes that a row takes beside its key and value, about."""

_STEP: Final = 1000
_MICROSECOND: Final = timedelta(microseconds=1)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much a topic keeps.

    `size` (bytes per topic) is a hard limit: beyond it the oldest items go, read or not; what a group had not read is
    counted as its loss and logged as an error. `age` takes only what every known group has read, unless `keep_unread`
    is False. A group is known until it was away for `forget_groups_after`: from then on nothing waits for it, and of
    what is taken unread only that counts as its loss which was appended while it was known.
    """

    age: timedelta = timedelta(days=7)
    size: int = 2 * 2**30
    keep_unread: bool = True
    forget_groups_after: timedelta = timedelta(days=30)


def retain(
    connection: sqlite3.Connection,
    name: str,
    topic: Topic,
    policy: Retention,
    members: Collection[str],
    now: datetime,
    *,
    settled: bool = True,
) -> bool:
    """Take one step inside the caller's transaction, updating `topic`; True if there is more to take at once.

    `members` are the groups of the topic that are open now: they are never forgotten, however silent the topic is.
    While not `settled`, just after the start, who is away can't be told from who has not joined yet: age waits for all.
    """
    for group in members:
        connection.execute("UPDATE groups SET seen_at = ? WHERE topic = ? AND name = ?", (micros(now), topic.id, group))
    known_since = micros(now - policy.forget_groups_after)
    sql = "SELECT min(next) FROM groups WHERE topic = ? AND seen_at >= ?"
    floor = connection.execute(sql, (topic.id, known_since if settled else 0)).fetchone()[0]
    floor = topic.next if floor is None else floor
    oldest = micros(now - policy.age)
    size = "length(CAST(key AS BLOB)) + length(value)"  # bytes: length(key) alone would count characters
    sql = f"SELECT offset, at, {size} FROM {topic.table} ORDER BY offset LIMIT {_STEP}"  # noqa: S608  our own words
    end, left, taken = -1, topic.bytes, 0
    for offset, at, weight in connection.execute(sql):
        expired = at < oldest and (offset < floor or (settled and not policy.keep_unread))
        if not expired and left <= policy.size:
            break
        end, left, taken = offset + 1, left - weight - ROW_OVERHEAD, taken + 1
    if taken == 0:
        return False
    _count_losses(connection, name, topic, end, policy.forget_groups_after, known_since)
    connection.execute(f"DELETE FROM {topic.table} WHERE offset < ?", (end,))  # noqa: S608  a number
    topic.bytes = max(left, 0)
    connection.execute("UPDATE topics SET bytes = ? WHERE id = ?", (topic.bytes, topic.id))
    return taken == _STEP


def _count_losses(
    connection: sqlite3.Connection, name: str, topic: Topic, end: int, patience: timedelta, known_since: int
) -> None:
    """Count, before they are deleted, the items below `end` that each group was owed and had not read."""
    groups = "SELECT name, next, seen_at FROM groups WHERE topic = ? AND next < ?"
    for group, following, seen_at in connection.execute(groups, (topic.id, end)).fetchall():
        unread = end - following
        if seen_at < known_since:
            owed = f"SELECT count(*) FROM {topic.table} WHERE offset >= ? AND offset < ? AND at <= ?"  # noqa: S608  a number
            until = seen_at + patience // _MICROSECOND
            unread = connection.execute(owed, (following, end, until)).fetchone()[0]
        connection.execute(
            "UPDATE groups SET next = ?, lost = lost + ? WHERE topic = ? AND name = ?", (end, unread, topic.id, group)
        )
        if unread:
            metrics.LOST.labels(name, group).inc(unread)
            why = "the group is too slow or away, or the limits are too small"
            _log.error("retention took unread items: topic=%s group=%s items=%d; %s", name, group, unread, why)
