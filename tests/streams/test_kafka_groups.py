"""Groups on Kafka: members share the partitions, take over from each other, and never move a commit back."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import GroupAuthorizationFailedError

from streams import metrics
from streams.kafka import KafkaStream
from streams.kafka_cluster import make_topics
from streams.kafka_consumer import KafkaConsumer, _appended_at
from streams.stream import Delivery, Item, StreamError
from tests.brokers import Broker, Brokers
from tests.contracts.stream_contract import nothing_more, numbered, read, values

pytestmark = pytest.mark.kafka
PARTITIONS = 4


@pytest.fixture
async def stream(broker: Broker) -> AsyncIterator[KafkaStream]:
    stream = await KafkaStream.open(broker.settings(partitions=PARTITIONS))
    yield stream
    await stream.aclose()


@pytest.fixture
def topic() -> str:
    return f"t-{uuid4().hex[:12]}"


def spread(count: int, first: int = 0) -> list[Item]:
    return [Item(f"key{number}", str(number).encode()) for number in range(first, first + count)]


async def drain(consumers: list[KafkaConsumer], count: int, *, commit: bool = True) -> list[list[Delivery]]:
    """Let all fetch side by side until together they have `count`."""
    found: list[list[Delivery]] = [[] for _ in consumers]

    async def one(index: int) -> None:
        while sum(map(len, found)) < count:
            part = await consumers[index].fetch(100, 0.3)
            found[index].extend(part)
            if commit:
                await consumers[index].commit(part)

    async with asyncio.timeout(60):
        await asyncio.gather(*(one(index) for index in range(len(consumers))))
    return found


async def test_members_share_the_partitions_and_take_over_without_loss(stream: KafkaStream, topic: str) -> None:
    first = await stream.consumer(topic, f"g-{topic}")
    assert len(await first.end()) == PARTITIONS
    joining = asyncio.create_task(stream.consumer(topic, f"g-{topic}"))
    while not joining.done():
        await first.fetch(1, 0.2)
    second = await joining
    async with asyncio.timeout(60):
        while not len(await first.end()) == len(await second.end()) == PARTITIONS // 2:
            await asyncio.gather(first.fetch(1, 0.2), second.fetch(1, 0.2))
    assert not (await first.end()).keys() & (await second.end()).keys()
    await stream.append(topic, spread(200))
    mine, theirs = await drain([first, second], 200)
    assert mine
    assert theirs
    assert sorted(values(mine + theirs)) == list(range(200))
    await second.aclose()
    await stream.append(topic, spread(100, first=200))
    (rest,) = await drain([first], 100)
    assert sorted(values(rest)) == list(range(200, 300))
    await first.aclose()


async def test_what_a_leaving_member_did_not_commit_is_read_again(stream: KafkaStream, topic: str) -> None:
    await stream.append(topic, numbered(10))
    first = await stream.consumer(topic, f"g-{topic}")
    found = await read(first, 10)
    await first.commit(found[:3])
    second_joins = asyncio.create_task(stream.consumer(topic, f"g-{topic}"))
    await first.aclose()
    second = await second_joins
    assert values(await read(second, 7)) == [3, 4, 5, 6, 7, 8, 9]
    await second.aclose()


async def test_a_late_commit_of_a_former_owner_is_forgotten(stream: KafkaStream, topic: str) -> None:
    await stream.append(topic, numbered(10))
    slow = await stream.consumer(topic, f"g-{topic}")
    held = await read(slow, 10)
    joining = asyncio.create_task(stream.consumer(topic, f"g-{topic}"))
    fast = await joining
    while len(await fast.end()) != PARTITIONS // 2:
        await fast.fetch(1, 0.2)
    home = held[0].position.partition
    if home in await fast.end():
        await fast.commit(await read(fast, 10))
        await slow.commit(held[:4])
        await fast.aclose()
        assert await nothing_more(slow)
    else:
        await slow.commit(held[:4])
        assert values(await read(slow, 10))[-1] == 9
        await fast.aclose()
    await slow.aclose()


async def test_positions_are_asked_for_at_each_rebalance_and_their_errors_are_raised(
    stream: KafkaStream, topic: str
) -> None:
    await stream.append(topic, spread(40))
    asked: list[frozenset[int]] = []
    faults: list[Exception] = []

    async def positions(partitions: frozenset[int]) -> Mapping[int, int]:
        asked.append(partitions)
        if faults:
            raise faults.pop()
        return dict.fromkeys(partitions, 1)

    first = await stream.consumer(topic, f"g-{topic}", "earliest", positions)
    before = await drain([first], 40 - PARTITIONS, commit=False)
    assert min(one.position.offset for one in before[0]) == 1
    faults.append(OSError("the database is away"))
    second = await stream.consumer(topic, f"g-{topic}")
    failed = False
    async with asyncio.timeout(60):
        while len(asked) < 3:
            try:
                await first.fetch(1, 0.2)
            except OSError:
                failed = True
    assert failed
    assert asked[0] == frozenset(range(PARTITIONS))
    assert len(asked[-1]) == PARTITIONS // 2
    await first.aclose()
    await second.aclose()


async def test_topics_are_made_once_with_the_wanted_partitions(broker: Broker, topic: str) -> None:
    settings = broker.settings(partitions=5, prefix=f"{topic}.")
    await asyncio.gather(*(make_topics(settings, ("a", "b")) for _ in range(2)))
    await make_topics(settings, ("a", "c"))
    stream = await KafkaStream.open(settings)
    tail = await stream.consumer("a", None)
    assert set(await tail.end()) == {0, 1, 2, 3, 4}
    await tail.aclose()
    await stream.aclose()


async def test_a_cluster_that_is_not_there_is_a_stream_error(broker: Broker) -> None:
    with pytest.raises(StreamError, match=r"127\.0\.0\.1:1"):
        await KafkaStream.open(broker.settings(bootstrap="127.0.0.1:1"))


async def test_a_producer_that_failed_is_replaced(stream: KafkaStream, topic: str) -> None:
    await stream.append(topic, numbered(2))
    broken = stream._producer._running
    assert broken is not None
    await broken.stop()
    with suppress(StreamError):
        await stream.append(topic, numbered(1, first=2))
    await stream.append(topic, numbered(1, first=3))
    assert stream._producer._running is not broken
    tail = await stream.consumer(topic, None)
    assert values(await read(tail, 3)) == [0, 1, 3]
    await tail.aclose()


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_reader_whose_client_failed_for_good_goes_on_with_a_new_one(
    stream: KafkaStream, topic: str, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):  # one at a time: Tansu's latest offset lies inside a longer batch
        await stream.append(topic, numbered(1, first=number))
    group = f"g-{topic}" if grouped else None
    reader = await stream.consumer(topic, group, "latest" if group is None else "earliest")
    if group is not None:
        await reader.commit(await read(reader, 2))
    broken = reader._client
    assert broken is not None

    async def refused(**_: object) -> None:
        raise GroupAuthorizationFailedError("not now")

    monkeypatch.setattr(broken, "getmany", refused)
    with pytest.raises(StreamError, match="not now"):
        await reader.fetch(1, 0.1)
    await stream.append(topic, numbered(3, first=2))
    assert values(await read(reader, 3)) == [2, 3, 4]
    assert reader._client is not broken
    await reader.aclose()


async def test_a_strangers_record_is_handed_out_whatever_its_key_and_its_time(
    stream: KafkaStream, broker: Broker, topic: str
) -> None:
    consumer = await stream.consumer(topic, f"g-{topic}")
    full = broker.settings().prefix + topic
    foreign = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, enable_idempotence=False)
    await foreign.start()
    try:
        for key in (b"\xff\xfe", b"", None, b"fine"):
            await foreign.send_and_wait(full, b"0", key=key, partition=0, timestamp_ms=2**62)
    finally:
        await foreign.stop()
    found = await read(consumer, 4)
    assert [one.key for one in found] == ["\ufffd\ufffd", "", "", "fine"]
    await consumer.aclose()


@pytest.mark.parametrize(
    ("stamp", "year"), [(-1, 1970), (-(2**63), 1970), (0, 1970), (1_795_000_000_000, 2026), (2**63 - 1, 9999)]
)
def test_a_record_time_that_no_calendar_has_is_the_nearest_one(stamp: int, year: int) -> None:
    assert _appended_at(stamp).year == year


async def _gone(admin: AIOKafkaAdminClient, topic: str) -> None:
    """Return once the cluster no longer lists the topic; that there is nothing to wait on is the client's lack."""
    async with asyncio.timeout(30):
        for pause in itertools.count(1):
            if topic not in await admin.list_topics():
                return
            await asyncio.sleep(0.1 * min(pause, 5))


async def test_a_topic_made_again_is_another_log(broker: Broker, topic: str) -> None:
    settings = broker.settings(topics=(topic, f"{topic}-b"), partitions=1)
    seen = set()
    for _ in range(2):
        stream = await KafkaStream.open(settings)
        seen.add(stream.identity)
        await stream.aclose()
        admin = AIOKafkaAdminClient(**settings.connection())
        await admin.start()
        await admin.delete_topics([settings.prefix + topic])
        await _gone(admin, settings.prefix + topic)
        await admin.close()
    assert len(seen) == 2


async def test_a_tail_that_is_connected_again_goes_on_where_it_was(stream: KafkaStream, topic: str) -> None:
    """Its positions are those at which the process began: going back to them would show everything once more."""

    async def positions(partitions: frozenset[int]) -> Mapping[int, int]:
        return dict.fromkeys(partitions, 1)

    await stream.append(topic, numbered(3))
    tail = await stream.consumer(topic, None, positions=positions)
    assert values(await read(tail, 2)) == [1, 2]
    await tail._drop()
    await stream.append(topic, numbered(1, first=3))
    assert values(await read(tail, 1)) == [3]
    await tail.aclose()


@pytest.mark.parametrize("group", ["g", None])
async def test_what_retention_took_unread_is_counted(
    brokers: Brokers, topic: str, group: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    broker = brokers.lane("kafka")
    stream = await KafkaStream.open(broker.settings(partitions=1))
    await stream.append(topic, numbered(10))

    async def positions(_: frozenset[int]) -> Mapping[int, int]:
        return {0: 2}

    def counted() -> float:
        return float(metrics.LOST.labels(topic, f"g-{topic}" if group else "tail")._value.get())

    full = broker.settings().prefix + topic
    admin = AIOKafkaAdminClient(**broker.settings().connection())
    await admin.start()
    await admin.delete_records({TopicPartition(full, 0): RecordsToDelete(before_offset=6)})
    await admin.close()
    reader = await stream.consumer(topic, f"g-{topic}" if group else None, positions=positions)
    assert values(await read(reader, 4)) == [6, 7, 8, 9]
    assert counted() == 4
    assert "4 items were gone unread" in caplog.text
    await reader.aclose()
    fresh = await stream.consumer(topic, f"other-{topic}")
    assert values(await read(fresh, 4)) == [6, 7, 8, 9]
    assert counted() == 4
    assert metrics.LOST.labels(topic, f"other-{topic}")._value.get() == 0
    await fresh.aclose()
    await stream.aclose()
