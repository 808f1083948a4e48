"""One broker of three is crashed under load: who appends and who reads goes on by itself, and nothing is lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import pairwise

import pytest

from streams.kafka import KafkaStream
from streams.stream import Consumer, Item, StreamError
from tests.brokers import Broker, Brokers

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

WITHIN = 20.0
TOPIC = "load"


@pytest.fixture(scope="module")
def cluster(brokers: Brokers) -> Broker:
    return brokers.cluster()


@pytest.fixture
async def stream(cluster: Broker) -> AsyncIterator[KafkaStream]:
    stream = await KafkaStream.open(cluster.settings(partitions=6, topics=(TOPIC,)))
    yield stream
    await stream.aclose()


class Load:
    """Appends numbered items without end, again after each StreamError, and notes what is durable and when."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.read: dict[int, list[int]] = {}
        self.read_at: dict[int, float] = {}
        self.stop = asyncio.Event()

    async def write(self, stream: KafkaStream) -> None:
        first = 0
        while not self.stop.is_set():
            batch = [Item(f"k{number % 50}", str(number).encode()) for number in range(first, first + 50)]
            try:
                await stream.append(TOPIC, batch)
            except StreamError:
                await asyncio.sleep(0.1)
                continue
            self.sent |= dict.fromkeys(range(first, first + 50), time.monotonic())
            first += 50
            await asyncio.sleep(0.02)

    async def consume(self, consumer: Consumer, *, commits: bool) -> None:
        while True:
            with suppress(StreamError):
                found = await consumer.fetch(500, 0.5)
                for one in found:
                    self.read_at[one.position.partition] = time.monotonic()
                    self.read.setdefault(int(one.value), []).append(one.position.partition)
                if commits:
                    await consumer.commit(found)


async def until(what: str, true: Callable[[], bool], within: float) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within, f"{what}: not within {within:g} s"
        await asyncio.sleep(0.05)


async def test_the_crash_of_one_broker_of_three_is_survived(cluster: Broker, stream: KafkaStream) -> None:
    load = Load()
    members = [await stream.consumer(TOPIC, "readers") for _ in range(2)]
    tail = await stream.consumer(TOPIC, None)
    tailed = Load()
    tasks = [asyncio.create_task(load.consume(member, commits=True)) for member in members]
    tasks.append(asyncio.create_task(tailed.consume(tail, commits=False)))
    writer = asyncio.create_task(load.write(stream))
    try:
        await until("load on every partition", lambda: len(load.read_at) == 6 and len(load.sent) > 500, 30)
        await asyncio.to_thread(cluster.crash, 1)
        crashed = time.monotonic()
        await until("appends after the crash", lambda: max(load.sent.values()) > crashed + 10, WITHIN + 10)
        silences = sorted(load.sent.values())
        longest = max(after - before for before, after in pairwise(silences))
        assert longest < WITHIN, f"appends stood still for {longest:.1f} s"
        await until("reads of all partitions", lambda: min(load.read_at.values()) > crashed + 10, WITHIN)
        load.stop.set()
        await asyncio.wait_for(writer, WITHIN + 30)
        await until("the group has read all", lambda: load.read.keys() >= load.sent.keys(), WITHIN)
        await until("the tail has read all", lambda: tailed.read.keys() >= load.sent.keys(), WITHIN)
    finally:
        for task in [*tasks, writer]:
            task.cancel()
        await asyncio.gather(*tasks, writer, return_exceptions=True)
        for consumer in [*members, tail]:
            await consumer.aclose()
    assert all(len(set(partitions)) == 1 for partitions in load.read.values())
