"""Which log a Kafka cluster holds for us: the cluster's id and the ids of our topics.

Owns one request that the client library has not got: Metadata version 12 (KIP-516), the first by name that tells topic
ids. A topic that was deleted and made again has another id, though its name is the same and its offsets begin at 0.
Brokers before Kafka 3.1 tell the cluster's id alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from streams.kafka_cluster import PATIENCE, KafkaSettings, translated

_AGAIN: Final = 0.2
_NO_ID: Final = bytes(16)


class _Id(AbstractType):  # type: ignore[misc]  # aiokafka is untyped
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_NUMBERS: Final = CompactArray(Int32)
_PARTITION: Final = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", _NUMBERS),
    ("isr", _NUMBERS),
    ("offline_replicas", _NUMBERS),
    ("tags", TaggedFields),
)
_TOPIC: Final = (
    ("error_code", Int16),
    ("topic", CompactString()),
    ("id", _Id),
    ("is_internal", Boolean),
    ("partitions", CompactArray(*_PARTITION)),
    ("authorized_operations", Int32),
    ("tags", TaggedFields),
)
_BROKER: Final = (
    ("node_id", Int32),
    ("host", CompactString()),
    ("port", Int32),
    ("rack", CompactString()),
    ("tags", TaggedFields),
)


class _Answer(Response):  # type: ignore[misc]  # as above
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        ("topics", CompactArray(*_TOPIC)),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]  # as above
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Id), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Ask(Request[_Question]):  # type: ignore[misc]  # as above
    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([(_NO_ID, name, {}) for name in self._names], False, False, {})


async def log_identity(settings: KafkaSettings) -> str:
    """Return the identity of the log that is made of `settings.topics`; StreamError if the cluster can't say now."""
    client = AIOKafkaClient(**settings.connection())
    names = [settings.prefix + name for name in sorted(settings.topics)]
    async with translated(f"asking {settings.bootstrap} which log it has"), asyncio.timeout(PATIENCE):
        try:
            await client.bootstrap()
            return await _told(client, names)
        finally:
            await client.close()


async def _told(client: AIOKafkaClient, names: Sequence[str]) -> str:
    """Ask until the broker knows all topics: one that was just made is not known everywhere at once."""
    while True:
        try:
            answer: Any = await client.send(client.get_random_node(), _Ask(names))
        except NotImplementedError:  # the broker is older than topic ids
            answer = await client.send(client.get_random_node(), MetadataRequest([]))
            return f"kafka:{answer.cluster_id}"
        topics = answer.to_object()["topics"]
        faults = [for_code(topic["error_code"]) for topic in topics if topic["error_code"]]
        if not faults:
            return _name(answer.cluster_id, {topic["topic"]: topic["id"] for topic in topics})
        if not all(getattr(fault, "retriable", False) for fault in faults):
            raise faults[0]("asking for topic ids")
        await asyncio.sleep(_AGAIN)


def _name(cluster: str | None, ids: Mapping[str, bytes]) -> str:
    told = " ".join(f"{name}={UUID(bytes=ids[name])}" for name in sorted(ids))
    return f"kafka:{cluster}:{hashlib.sha256(told.encode()).hexdigest()[:32]}"
