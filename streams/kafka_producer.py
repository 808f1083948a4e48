"""The appending side of Kafka: one producer for the process, replaced whenever an append fails.

Owns the producer's life. An append that failed leaves the producer's sequence numbers in doubt, so the next append gets
a new one; what was in flight may be in the log, and the caller appends it again (readers deduplicate).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerClosed

from streams.kafka_cluster import PATIENCE, KafkaSettings, translated
from streams.stream import MAX_ITEM, Item, StreamError


class Producer:
    """Appends to Kafka; safe for many tasks at once."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._running: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    async def append(self, topic: str, items: Sequence[Item]) -> None:
        """Send `items` to the full name `topic`; returns once all in-sync replicas have them."""
        producer = await self._started()
        futures: list[asyncio.Future[Any]] = []
        try:
            async with translated(f"appending to {topic}"), asyncio.timeout(PATIENCE):
                for item in items:
                    for partition in await self._targets(producer, topic, item):
                        sent = await producer.send(topic, item.value, key=item.key.encode(), partition=partition)
                        sent.add_done_callback(_seen)
                        futures.append(sent)
                await _all(futures)
        except StreamError as error:
            await self._retire(producer)
            if isinstance(error.__cause__, MessageSizeTooLargeError):
                remedy = f"set max.message.bytes of {topic} to at least {MAX_ITEM + 4096}"
                raise ValueError(f"the broker refuses the item's size: {remedy}") from error  # noqa: TRY004  no type's fault
            raise

    async def partitions(self, topic: str) -> frozenset[int]:
        """Return the partitions of the full name `topic`."""
        producer = await self._started()
        async with translated(f"looking for {topic}"), asyncio.timeout(PATIENCE):
            return frozenset(await producer.partitions_for(topic))

    async def aclose(self) -> None:
        """Send what was taken, then close."""
        self._closed = True
        if self._running is not None:
            await self._retire(self._running)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._closed:
                raise StreamError("the Kafka stream is closed")
            if self._running is None:
                self._running = await self._start()
            return self._running

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._settings.connection(),
            acks="all",
            enable_idempotence=self._settings.idempotence,
            max_request_size=MAX_ITEM + 4096,
            max_batch_size=256 * 1024,
        )
        try:
            async with translated(f"connecting to {self._settings.bootstrap}"), asyncio.timeout(PATIENCE):
                await producer.start()
        except BaseException:
            await _stop(producer, within=1.0)
            raise
        return producer

    async def _targets(self, producer: AIOKafkaProducer, topic: str, item: Item) -> Sequence[int | None]:
        """Return the partitions to send to; None leaves the choice to the hash of the key."""
        if item.everywhere:
            return sorted(await producer.partitions_for(topic))
        return (item.partition,)

    async def _retire(self, producer: AIOKafkaProducer) -> None:
        async with self._starting:
            if self._running is producer:
                self._running = None
                await _stop(producer, within=PATIENCE if self._closed else 1.0)


async def _all(futures: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for every future, then raise the first failure. A cancelled caller does not cancel what is on its way."""
    if futures:
        await asyncio.wait(futures)
    for future in futures:
        future.result()


def _seen(future: asyncio.Future[Any]) -> None:
    """Take the exception, so that one whose caller has gone is not reported as forgotten."""
    if not future.cancelled():
        future.exception()


async def _stop(producer: AIOKafkaProducer, within: float) -> None:
    """Stop, giving what is buffered `within` seconds: an idempotent producer would try for ever."""
    try:
        async with asyncio.timeout(within):
            await producer.stop()
            return
    except (KafkaError, TimeoutError, OSError):
        pass
    producer._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001  aiokafka has no public way to give up
    if producer._sender is not None:  # noqa: SLF001  as above
        await producer._sender.close()  # noqa: SLF001  as above
    await producer.client.close()
