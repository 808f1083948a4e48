"""Stream on Apache Kafka, or what speaks its protocol: the durable log of the distributed setting.

Owns the port's promises: `append` returns after all in-sync replicas have the items. Topics and groups get the prefix.
Does not own the producer's life (`streams.kafka_producer`), positions (`streams.kafka_consumer`) or the consume loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streams.kafka_cluster import KafkaSettings, make_topics
from streams.kafka_consumer import KafkaConsumer
from streams.kafka_identity import log_identity
from streams.kafka_producer import Producer
from streams.stream import Item, Positions, Start, StreamError, check_size


class KafkaStream:
    """See `streams.stream.Stream`. Made by `open`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer = Producer(settings)
        self._known: set[str] = set()
        self._making = asyncio.Lock()
        self._closed = False
        self._identity = ""

    @classmethod
    async def open(cls, settings: KafkaSettings) -> KafkaStream:
        """Connect and make the topics that are missing; StreamError if the cluster can't be reached now."""
        stream = cls(settings)
        await make_topics(settings, settings.topics)
        stream._known.update(settings.topics)
        stream._identity = await log_identity(settings)
        return stream

    @property
    def identity(self) -> str:
        """Return the cluster's id with a digest of the topics' ids."""
        return self._identity

    async def append(self, topic: str, items: Sequence[Item]) -> None:
        """Append with acks from all in-sync replicas; waits out a lost broker, up to half a minute."""
        check_size(items)
        await self._ensure(topic)
        await self._producer.append(self._settings.prefix + topic, items)

    async def consumer(
        self, topic: str, group: str | None, start: Start = "earliest", positions: Positions | None = None
    ) -> KafkaConsumer:
        """Return a reader that has joined its group and knows where it begins."""
        await self._ensure(topic)
        partitions = await self._producer.partitions(self._settings.prefix + topic)
        reader = KafkaConsumer(self._settings, topic, group, start, positions)
        await reader.open(partitions)
        return reader

    async def aclose(self) -> None:
        """Send what was taken, then close. Consumers are closed by who opened them."""
        self._closed = True
        await self._producer.aclose()

    async def _ensure(self, *topics: str) -> None:
        if self._closed:
            raise StreamError("the Kafka stream is closed")
        if not self._known.issuperset(topics):
            async with self._making:
                await make_topics(self._settings, topics)
                self._known.update(topics)
