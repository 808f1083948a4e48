"""Consumer on the embedded log: one reader of one topic's one partition.

Owns its position. Does not own the file, nor waiting (`streams.embedded_log`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from streams import metrics
from streams.embedded_file import Topic, first_item, micros, read_items
from streams.embedded_log import Log
from streams.stream import Delivery, Lag, StreamError

_logger = logging.getLogger(__name__)


class EmbeddedConsumer:
    """See `streams.stream.Consumer`."""

    def __init__(self, log: Log, topic: str, group: str | None, place: int) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._next = place
        self._table: Topic | None = None
        self._closed = False

    async def fetch(self, most: int, wait: float) -> Sequence[Delivery]:
        """Return what is there, or wait for the next append."""
        self._check_open()
        if not await self._log.wait_beyond(self._topic, self._next, wait):
            return ()
        place, path, end = self._next, self._log.path, self._log.ends[self._topic]
        table = await self._topic_table()
        found = await self._log.readers.run(lambda link: read_items(link, path, table, place, most))
        following = found[-1].position.offset + 1 if found else end
        reached = found[0].position.offset if found else following
        if reached > place:
            _logger.error(
                "gap in %s for %s: %d items were gone unread", self._topic, self._group or "a tail", reached - place
            )
            if self._group is None:  # a group's losses are counted where they are made: it may be away then
                metrics.LOST.labels(self._topic, "tail").inc(reached - place)
        self._next = following
        return found

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        """Move the group behind the last of `deliveries`; durable when it returns."""
        if self._group is None:
            raise ValueError("a tail has nothing to commit")
        self._check_open()
        if not deliveries:
            return
        topic, group = self._topic, self._group
        following = max(delivery.position.offset for delivery in deliveries) + 1
        await self._log.writer.submit(lambda tables: tables.commit(topic, group, following))

    async def lag(self) -> Lag:
        """Return exact figures; the age is that of the oldest item not fetched."""
        self._check_open()
        items = self._log.ends.get(self._topic, 0) - self._next
        if items <= 0:
            return Lag(0, 0.0)
        place, table = self._next, await self._topic_table()
        oldest = await self._log.readers.run(lambda link: first_item(link, table, place))
        if oldest is None:
            return Lag(0, 0.0)
        return Lag(items, max(0.0, (micros(self._log.clock()) - oldest[1]) / 1e6))

    async def end(self) -> Mapping[int, int]:
        """Return the end of the one partition, 0."""
        self._check_open()
        return {0: self._log.ends.get(self._topic, 0)}

    async def aclose(self) -> None:
        """Leave the group: another reader may take its place."""
        if not self._closed:
            self._closed = True
            if self._group is not None:
                self._log.leave(self._topic, self._group)

    async def _topic_table(self) -> Topic:
        if self._table is None:
            name = self._topic
            self._table = await self._log.writer.submit(lambda tables: tables.topic(name))
        return self._table

    def _check_open(self) -> None:
        if self._closed:
            raise StreamError(f"this reader of {self._topic} is closed")
        self._log.check_open()
