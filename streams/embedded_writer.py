"""The embedded log's one writer: a thread with a queue, where all that waits shares one transaction and one fsync.

Owns the writing connection and retention's timing. Does not own reads, waiting readers or the port
(`streams.embedded`): it tells them through `publish`, always on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from streams.embedded_file import Topic, add_topic, checksum, connect, lost, micros, read_topics, translated
from streams.embedded_retention import ROW_OVERHEAD, Retention, retain
from streams.stream import Item, StreamCorrupted

T = TypeVar("T")

MOST_JOBS: Final = 256
"""Jobs that share a transaction at most: bounds how long the first of them waits."""

RETAIN_EVERY: Final = 30.0
"""Seconds between two looks at age; a topic over its size is looked at sooner."""

SETTLED_AFTER: Final = 300.0
"""Seconds after the opening in which groups may still be about to join: until then each group ever seen is known."""

_SLEW: Final = 60_000_000
"""Microseconds by which a wall clock may go back and the append time does not."""

_HARMLESS: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""Errors after which the connection is as good as before."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tables:
    """What a job may touch, on the writer's thread, inside the shared transaction."""

    connection: sqlite3.Connection
    topics: dict[str, Topic]
    clock: Callable[[], datetime]

    def topic(self, name: str) -> Topic:
        """Return the topic's counters, made if it is new."""
        found = self.topics.get(name)
        if found is None:
            found = self.topics[name] = add_topic(self.connection, name)
        return found

    def append(self, name: str, items: Sequence[Item]) -> None:
        """Add `items` at the end of the topic.

        The append time does not go back where the wall clock is put right by a little. After more it does: else one
        append by a clock that was a day ahead would stamp all others for a day, and no reader would seem behind.
        """
        topic = self.topic(name)
        now = micros(self.clock())
        topic.last_at = max(topic.last_at, now) if topic.last_at - now <= _SLEW else now
        rows = [
            (topic.next + index, topic.last_at, checksum(item.key, item.value), item.key, item.value)
            for index, item in enumerate(items)
        ]
        self.connection.executemany(f"INSERT INTO {topic.table} VALUES (?, ?, ?, ?, ?)", rows)  # noqa: S608  a number
        topic.next += len(rows)
        topic.bytes += sum(len(item.key.encode()) + len(item.value) + ROW_OVERHEAD for item in items)
        self.connection.execute(
            "UPDATE topics SET next = ?, bytes = ?, last_at = ? WHERE id = ?",
            (topic.next, topic.bytes, topic.last_at, topic.id),
        )

    def commit(self, name: str, group: str, following: int) -> None:
        """Move the group's position to `following`, never back."""
        self.connection.execute(
            "INSERT INTO groups (topic, name, next, seen_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET next = max(next, excluded.next), seen_at = excluded.seen_at",
            (self.topic(name).id, group, following, micros(self.clock())),
        )


Work = Callable[[Tables], object]
_Job = tuple[Work, "asyncio.Future[Any]"]


class Writer:
    """The thread. `publish` gets, on the event loop, the next offset of every topic after each transaction.

    `members` returns the (topic, group) pairs that are open; it is called on the thread.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        retention: Retention,
        clock: Callable[[], datetime],
        publish: Callable[[Mapping[str, int]], None],
        members: Callable[[], frozenset[tuple[str, str]]],
    ) -> None:
        self._path = path
        self._retention = retention
        self._publish = publish
        self._members = members
        self._loop = asyncio.get_running_loop()
        self._tables = Tables(connection, read_topics(connection), clock)
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._opened = time.monotonic()
        self._retained = 0.0
        self._damage: StreamCorrupted | None = None
        self._durable = {name: topic.next for name, topic in self._tables.topics.items()}
        self._sick = False
        self._thread = threading.Thread(target=self._run, name="warroom-log-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Callable[[Tables], T]) -> T:
        """Run `work` in the next transaction; returns its result after that is durable."""
        if self._damage is not None:
            raise self._damage
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((work, future))
        return await future

    async def aclose(self) -> None:
        """Finish what was submitted, then close the connection."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        jobs: list[_Job] = []
        open_ = True
        try:
            while open_:
                jobs, open_ = self._gather()
                if jobs:
                    self._answer_soon(jobs, self._transact([work for work, _ in jobs]))
                self._retain_if_due()
        finally:
            if open_:  # a fault of ours ended the thread: nobody may wait for it
                self._damage = StreamCorrupted(f"the writer of {self._path} has failed; see the log")
                self._answer_soon(jobs, self._damage)
            with suppress(sqlite3.Error):
                self._tables.connection.close()

    def _answer_soon(self, jobs: Sequence[_Job], outcome: Sequence[object] | Exception) -> None:
        ends = {name: topic.next for name, topic in self._tables.topics.items()}
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._answer, jobs, outcome, ends)

    def _gather(self) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        try:
            job = self._queue.get(timeout=RETAIN_EVERY)
            while job is not None:
                jobs.append(job)
                if len(jobs) == MOST_JOBS:
                    return jobs, True
                job = self._queue.get_nowait()
        except queue.Empty:
            return jobs, True
        return jobs, False

    def _transact(self, works: Sequence[Work]) -> Sequence[object] | Exception:
        """Do all of `works` in one transaction; return their results, or why none of them was done."""
        if self._damage is not None:
            return self._damage
        tables = self._tables
        try:
            if self._sick:
                self._open_again()
            tables.connection.execute("BEGIN IMMEDIATE")
            results = [work(tables) for work in works]
            tables.connection.execute("COMMIT")
        except (sqlite3.Error, StreamCorrupted) as error:
            return self._rolled_back(error)
        self._durable = {name: topic.next for name, topic in tables.topics.items()}
        return results

    def _open_again(self) -> None:
        """Leave a connection that met an I/O error: its cache is not to be trusted. Tried until the disk is well."""
        tables = self._tables
        with suppress(sqlite3.Error):
            tables.connection.close()
        tables.connection = connect(self._path, readonly=False)
        tables.topics = read_topics(tables.connection)
        for name, following in self._durable.items():
            if name not in tables.topics or tables.topics[name].next < following:
                raise lost(self._path, name)
        self._sick = False

    def _rolled_back(self, error: sqlite3.Error | StreamCorrupted) -> Exception:
        """Take the counters back to what is durable, now or before the next transaction."""
        meaning = translated(error, self._path) if isinstance(error, sqlite3.Error) else error
        if isinstance(meaning, StreamCorrupted):
            self._damage = meaning
            return meaning
        tables = self._tables
        self._sick = getattr(error, "sqlite_errorcode", 0) & 0xFF not in _HARMLESS
        try:
            if not self._sick and tables.connection.in_transaction:
                tables.connection.execute("ROLLBACK")
            if not self._sick:
                tables.topics = read_topics(tables.connection)
        except sqlite3.Error as second:
            self._sick = True
            _log.warning("the log %s could not roll back: %s", self._path, second)
        return meaning

    def _answer(self, jobs: Sequence[_Job], outcome: Sequence[object] | Exception, ends: Mapping[str, int]) -> None:
        failed = isinstance(outcome, Exception)
        for index, (_, future) in enumerate(jobs):
            if future.done():  # its caller was cancelled
                continue
            if isinstance(outcome, Exception):
                future.set_exception(type(outcome)(str(outcome)))  # one each: tracebacks grow on the object
            else:
                future.set_result(outcome[index])
        if not failed:
            self._publish(ends)

    def _retain_if_due(self) -> None:
        policy, topics = self._retention, self._tables.topics
        oversize = any(topic.bytes > policy.size + policy.size // 16 for topic in topics.values())
        if self._damage or not (oversize or time.monotonic() - self._retained >= RETAIN_EVERY):
            return
        self._retained = time.monotonic()
        for name in list(topics):
            while self._retain_step(name):
                pass

    def _retain_step(self, name: str) -> bool:
        """Take one step of retention; True if another one should follow."""
        members = [group for topic, group in self._members() if topic == name]
        settled = time.monotonic() - self._opened >= SETTLED_AFTER

        def step(tables: Tables) -> bool:
            topic, now = tables.topic(name), tables.clock()
            return retain(tables.connection, name, topic, self._retention, members, now, settled=settled)

        outcome = self._transact([step])
        if isinstance(outcome, Exception):
            _log.warning("retention of %s failed: %s", name, outcome)
            return False
        return bool(outcome[0])
