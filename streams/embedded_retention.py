"""What the embedded log forgets: by age and by size, never silently from under a group that has not read it yet.

Owns the policy and its deletion in bounded steps. Does not own when it runs (`streams.embedded_writer`).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from streams import metrics
from streams.embedded_file import Topic, micros, read_groups

ROW_OVERHEAD: Final = 32
"""Bytes that a row takes beside its key and value, about."""

_STEP: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much a topic keeps.

    `size` (bytes per topic) is a hard limit: beyond it the oldest items go, read or not; what a group had not read is
    counted as its loss and logged as an error. `age` takes only what every known group has read, unless `keep_unread`
    is False. A group is known until it was away for `forget_groups_after`.
    """

    age: timedelta = timedelta(days=7)
    size: int = 2 * 2**30
    keep_unread: bool = True
    forget_groups_after: timedelta = timedelta(days=30)


def retain(
    connection: sqlite3.Connection, name: str, topic: Topic, policy: Retention, members: Collection[str], now: datetime
) -> bool:
    """Take one step inside the caller's transaction, updating `topic`; True if there is more to take at once.

    `members` are the groups of the topic that are open now: they are never forgotten, however silent the topic is.
    """
    for group in members:
        connection.execute("UPDATE groups SET seen_at = ? WHERE topic = ? AND name = ?", (micros(now), topic.id, group))
    _forget_groups(connection, topic, micros(now - policy.forget_groups_after))
    groups = read_groups(connection, topic)
    floor = min((following for following, _ in groups.values()), default=topic.next)
    oldest = micros(now - policy.age)
    size = "length(CAST(key AS BLOB)) + length(value)"  # bytes: length(key) alone would count characters
    sql = f"SELECT offset, at, {size} FROM {topic.table} ORDER BY offset LIMIT {_STEP}"  # noqa: S608  our own words
    end, left, taken = -1, topic.bytes, 0
    for offset, at, weight in connection.execute(sql):
        expired = at < oldest and (offset < floor or not policy.keep_unread)
        if not expired and left <= policy.size:
            break
        end, left, taken = offset + 1, left - weight - ROW_OVERHEAD, taken + 1
    if taken == 0:
        return False
    connection.execute(f"DELETE FROM {topic.table} WHERE offset < ?", (end,))  # noqa: S608  a number
    topic.bytes = max(left, 0)
    connection.execute("UPDATE topics SET bytes = ? WHERE id = ?", (topic.bytes, topic.id))
    _count_losses(connection, name, topic, groups, end)
    return taken == _STEP


def _forget_groups(connection: sqlite3.Connection, topic: Topic, seen_before: int) -> None:
    connection.execute("DELETE FROM groups WHERE topic = ? AND seen_at < ?", (topic.id, seen_before))


def _count_losses(
    connection: sqlite3.Connection, name: str, topic: Topic, groups: dict[str, tuple[int, int]], end: int
) -> None:
    for group, (following, _) in groups.items():
        if following >= end:
            continue
        _log.error(
            "retention took unread items: topic=%s group=%s items=%d; the group is too slow or the limits too small",
            name,
            group,
            end - following,
        )
        connection.execute(
            "UPDATE groups SET next = ?, lost = lost + ? WHERE topic = ? AND name = ?",
            (end, end - following, topic.id, group),
        )
        metrics.LOST.labels(name, group).inc(end - following)
