"""What a Kafka cluster is to us: its address and security, its topics, and what its errors mean.

Owns settings, topic creation and the translation of errors. Does not own producing or consuming.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streams.records import TOPICS
from streams.stream import StreamError

PATIENCE: Final = 30.0
"""Seconds that the client's own retries get (three broker sessions) before the caller hears StreamError."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the cluster is and how topics are made there.

    `replication` None means three, or as many as there are brokers. `idempotence` is off only for brokers without an
    idempotent producer. `request_timeout` (seconds) is longer for brokers that take longer to let a member join (Tansu:
    five). Existing topics are left as they are. `ssl_cafile` turns TLS on with that authority; the
    security words are Kafka's own.
    """

    bootstrap: str
    prefix: str = "warroom."
    partitions: int = 6
    replication: int | None = None
    idempotence: bool = True
    request_timeout: float = 5.0
    topics: tuple[str, ...] = TOPICS
    retention: timedelta = timedelta(days=7)
    client_id: str = "warroom"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None

    def connection(self) -> dict[str, Any]:
        """Return what every aiokafka client gets.

        Metadata age and request time-out are far under aiokafka's defaults, with which a reader stays stuck for
        minutes on the partitions of a lost broker (test_kafka_faults).
        """
        secure = "SSL" in self.security_protocol
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "metadata_max_age_ms": 5000,
            "request_timeout_ms": int(self.request_timeout * 1000),
            "security_protocol": self.security_protocol,
            "ssl_context": ssl.create_default_context(cafile=self.ssl_cafile) if secure else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
        }


@asynccontextmanager
async def translated(doing: str) -> AsyncIterator[None]:
    """Turn the client's errors and time-outs into StreamError: all of them may pass, none is damage of ours."""
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise StreamError(f"Kafka: {doing}: {type(error).__name__} {error}".rstrip()) from error


async def make_topics(settings: KafkaSettings, names: Sequence[str]) -> None:
    """Create those of `names` (without prefix) that the cluster lacks."""
    admin = AIOKafkaAdminClient(**settings.connection())
    async with translated(f"making topics at {settings.bootstrap}"):
        try:
            await admin.start()
            there = set(await admin.list_topics())
            wanted = [name for name in (settings.prefix + name for name in names) if name not in there]
            if wanted:
                brokers = len((await admin.describe_cluster())["brokers"])
                await _create(admin, settings, wanted, brokers)
        finally:
            await admin.close()


async def _create(admin: AIOKafkaAdminClient, settings: KafkaSettings, names: Sequence[str], brokers: int) -> None:
    copies = settings.replication or min(3, brokers)
    config = {
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(int(settings.retention.total_seconds() * 1000)),
        "min.insync.replicas": str(max(1, copies - 1)),
    }
    topics = [NewTopic(name, settings.partitions, copies, topic_configs=config) for name in names]
    response = await admin.create_topics(topics)
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if code != 0 and error is not TopicAlreadyExistsError:
            raise error(f"creating {name}")
