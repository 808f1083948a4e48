"""Consumer on Kafka: a member of a group, or a tail over all partitions, that knows where it stands by itself.

Owns positions across rebalances. After each assignment every partition is *placed* before anything of it is handed out:
at the position that the effect's store names, else at the group's commit, else at `start` (which a group then commits,
so that one killed before its first commit misses nothing). What was fetched before a rebalance and not committed is
forgotten; its new owner fetches it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from streams import metrics
from streams.kafka_cluster import PATIENCE, KafkaSettings, translated
from streams.stream import Delivery, Lag, Position, Positions, Start, StreamError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_370_764_800_000
"""The year 9999 in milliseconds since 1970: what a stranger wrote into our topic may claim any time."""

_LAG_PATIENCE: Final = 1.0
_TAKEN_AWAY: Final = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
_log = logging.getLogger(__name__)


def _appended_at(milliseconds: int) -> datetime:
    """Return a record's time; -1 (none given) and what no calendar has become the nearest that one has."""
    return _EPOCH + timedelta(milliseconds=min(max(milliseconds, 0), _LAST_MS))


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """What the group gave us last. `generation` rises with each rebalance."""

    def __init__(self) -> None:
        self.generation = 0
        self.arrived = asyncio.Event()
        self.partitions: frozenset[TopicPartition] = frozenset()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  aiokafka's signature
        self.renew(())

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.renew(assigned)
        self.arrived.set()

    def renew(self, partitions: Iterable[TopicPartition]) -> None:
        self.generation += 1
        self.partitions = frozenset(partitions)


class KafkaConsumer:
    """See `streams.stream.Consumer`. Made by `KafkaStream.consumer`, which calls `open`."""

    def __init__(
        self, settings: KafkaSettings, topic: str, group: str | None, start: Start, positions: Positions | None
    ) -> None:
        self._settings = settings
        self._topic = settings.prefix + topic
        self._group = group
        self._start = start
        self._positions = positions
        self._client: AIOKafkaConsumer | None = None
        self._assigned = _Assignment()
        self._placed = -1
        self._next: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._partitions: frozenset[int] = frozenset()
        self._closed = False

    async def open(self, partitions: frozenset[int]) -> None:
        """Connect, join the group (or take all of `partitions`), and place what was assigned."""
        self._partitions = partitions
        try:
            await self._running()
        except BaseException:
            await self.aclose()
            raise

    async def _running(self) -> AIOKafkaConsumer:
        """Return the client, connected again after an error that it does not recover from."""
        if self._closed:
            raise StreamError(f"this reader of {self._topic} is closed")
        if self._client is None:
            try:
                self._client = client = self._new_client()
                async with translated(f"opening {self._topic}"), asyncio.timeout(PATIENCE):
                    await self._start_client(client)
                await self._place(client)
            except BaseException:
                await self._drop()
                raise
        return self._client

    def _new_client(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._settings.connection(),
            group_id=None if self._group is None else self._settings.prefix + self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=500,
        )

    async def _start_client(self, client: AIOKafkaConsumer) -> None:
        if self._group is not None:
            self._assigned.arrived.clear()
            client.subscribe([self._topic], listener=self._assigned)
            await client.start()
            await self._assigned.arrived.wait()
        else:
            await client.start()
            mine = [TopicPartition(self._topic, partition) for partition in self._partitions]
            client.assign(mine)
            self._assigned.renew(mine)

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(PATIENCE):
                    await client.stop()

    async def fetch(self, most: int, wait: float) -> Sequence[Delivery]:
        """Return what is there; while a broker is lost, what the others have."""
        deadline = time.monotonic() + wait
        while True:
            client = await self._running()
            await self._place(client)
            generation = self._assigned.generation
            left = max(0, int((deadline - time.monotonic()) * 1000))
            try:
                async with translated(f"fetching from {self._topic}"):
                    found = await client.getmany(timeout_ms=left, max_records=most)
            except ConsumerStoppedError as error:
                raise StreamError(f"this reader of {self._topic} is closed") from error
            except StreamError as error:
                if not getattr(error.__cause__, "retriable", False):
                    await self._drop()
                raise
            if generation == self._assigned.generation:
                jumps = self._jumps(found)
                taken = self._taken(found)
                await self._count_lost(client, jumps)
                return taken
            if time.monotonic() >= deadline:
                return ()

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        """Commit, per partition still held, the offset after the last delivery."""
        if self._group is None:
            raise ValueError("a tail has nothing to commit")
        client = await self._running()
        if self._placed != self._assigned.generation:
            return
        wanted: dict[int, int] = {}
        for delivery in deliveries:
            place = delivery.position
            if place.offset >= self._committed.get(place.partition, place.offset + 1):
                wanted[place.partition] = max(place.offset + 1, wanted.get(place.partition, 0))
        if wanted:
            await self._commit(client, wanted)

    async def lag(self) -> Lag:
        """Return exact items. The age is exact to about the time between two calls, and never too small by more."""
        ends = await self.end()
        behind = {p: end - self._next[p] for p, end in ends.items() if p in self._next and end > self._next[p]}
        now = time.monotonic()
        for partition in ends:
            if partition not in behind:
                self._since[partition] = now
        oldest = min((self._since.setdefault(partition, now) for partition in behind), default=now)
        return Lag(sum(behind.values()), now - oldest)

    async def end(self) -> Mapping[int, int]:
        """Return the ends of the partitions held now."""
        client = await self._running()
        async with translated(f"asking for the end of {self._topic}"), asyncio.timeout(_LAG_PATIENCE):
            ends = await client.end_offsets(list(self._assigned.partitions))
        return {tp.partition: max(end, self._seen_end(client, tp)) for tp, end in ends.items()}

    async def aclose(self) -> None:
        """Leave the group at once, so that others take over without waiting for a time-out."""
        self._closed = True
        await self._drop()

    def _seen_end(self, client: AIOKafkaConsumer, tp: TopicPartition) -> int:
        """Return the end that the last fetch told: it can't be less (Tansu counts its last batch as one item)."""
        return int(client.highwater(tp) or 0) if tp in client.assignment() else 0

    def _taken(self, found: Mapping[TopicPartition, Sequence[Any]]) -> Sequence[Delivery]:
        deliveries: list[Delivery] = []
        now = time.monotonic()
        for tp, records in found.items():
            for record in records:
                place = Position(tp.partition, record.offset)
                key = (record.key or b"").decode("utf-8", "replace")
                deliveries.append(Delivery(place, key, record.value or b"", _appended_at(record.timestamp)))
            if records:
                self._check_reset(tp, records[0].offset)
                self._next[tp.partition] = records[-1].offset + 1
                age = (datetime.now(UTC) - deliveries[-1].appended_at).total_seconds()
                self._since[tp.partition] = now - max(0.0, age)
        return deliveries

    def _jumps(self, found: Mapping[TopicPartition, Sequence[Any]]) -> Mapping[TopicPartition, tuple[int, int]]:
        """Return where a partition goes on beyond the offset that was next: (that one, the one that came)."""
        places = {tp: (self._next[tp.partition], records[0].offset) for tp, records in found.items() if records}
        return {tp: (following, first) for tp, (following, first) in places.items() if first > following}

    async def _count_lost(self, client: AIOKafkaConsumer, jumps: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Count what retention took unread. Holes that something else made (an aborted transaction) are none."""
        if not jumps:
            return
        begins: Mapping[TopicPartition, int] = {}
        try:
            async with translated(f"asking for the beginning of {self._topic}"), asyncio.timeout(_LAG_PATIENCE):
                begins = await client.beginning_offsets(list(jumps))
        except StreamError as error:  # what was fetched must reach the caller all the same
            _log.warning("whether items of %s are lost is not known, so they count: %s", self._topic, error)
        for tp, (following, first) in jumps.items():
            lost = min(first, begins.get(tp, first)) - following
            if lost > 0:
                _log.error("gap in %s for %s: %d items were gone unread", tp, self._group or "a tail", lost)
                topic = self._topic.removeprefix(self._settings.prefix)
                metrics.LOST.labels(topic, self._group or "tail").inc(lost)

    def _check_reset(self, tp: TopicPartition, first: int) -> None:
        """Say when the broker no longer had our position, and began again at the oldest that it keeps."""
        if first < self._next[tp.partition]:
            _log.error("%s was cut or replaced before %d; reading all that is kept", tp, self._next[tp.partition])
            self._committed[tp.partition] = first

    async def _commit(self, client: AIOKafkaConsumer, wanted: Mapping[int, int]) -> None:
        offsets = {TopicPartition(self._topic, partition): offset for partition, offset in wanted.items()}
        async with translated(f"committing {self._topic}"):
            try:
                await client.commit(offsets)
            except _TAKEN_AWAY as error:
                _log.info("commit of %s came after a rebalance; the new owner does it again: %s", self._topic, error)
                return
        self._committed.update(wanted)

    async def _place(self, client: AIOKafkaConsumer) -> None:
        """Seek every newly assigned partition; again, if another rebalance comes between."""
        while self._placed != self._assigned.generation:
            generation, partitions = self._assigned.generation, self._assigned.partitions
            numbers = frozenset(tp.partition for tp in partitions)
            wanted = {} if self._positions is None or not numbers else await self._positions(numbers)
            async with translated(f"placing {self._topic}"):
                try:
                    places, fresh = await self._places(client, partitions, wanted)
                    for tp, offset in places.items():
                        client.seek(tp, offset)
                except IllegalStateError:  # a rebalance took it away meanwhile
                    if generation == self._assigned.generation:
                        raise
                    continue
            if generation != self._assigned.generation:
                continue
            self._next = {tp.partition: offset for tp, offset in places.items()}
            self._committed = dict(self._next)
            self._since = {}
            self._placed = generation
            if fresh and self._group is not None:
                await self._commit(client, fresh)

    async def _places(
        self, client: AIOKafkaConsumer, partitions: frozenset[TopicPartition], wanted: Mapping[int, int]
    ) -> tuple[Mapping[TopicPartition, int], Mapping[int, int]]:
        """Return where each partition begins, and those of them that the group has no commit for.

        A tail that was connected again goes on where it was: `positions` tells where its effect began, once.
        """
        beginning: Mapping[TopicPartition, int] = {}
        places: dict[TopicPartition, int] = {}
        fresh: dict[int, int] = {}
        for tp in sorted(partitions):
            offset = self._next.get(tp.partition) if self._group is None else None
            if offset is None:
                offset = wanted.get(tp.partition)
            if offset == 0:  # all that is kept: what went before was never waited for
                offset = (await client.beginning_offsets([tp]))[tp]
            if offset is None and self._group is not None:
                offset = await client.committed(tp)
            if offset is None:
                beginning = beginning or await self._beginning(client, partitions)
                offset = fresh[tp.partition] = beginning[tp]
            places[tp] = offset
        return places, fresh

    async def _beginning(
        self, client: AIOKafkaConsumer, partitions: frozenset[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        asked = client.beginning_offsets if self._start == "earliest" else client.end_offsets
        found: Mapping[TopicPartition, int] = await asked(list(partitions))
        return found
