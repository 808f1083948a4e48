"""What every Stream keeps, whatever it is made of: one suite, run over the embedded log and over each broker lane.

A subclass gives the fixture `stream` (open, empty as far as `topic` goes) and `reopen` (close it, open it again).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from streams.stream import MAX_ITEM, Consumer, Delivery, Item, Stream, StreamError

Reopen = Callable[[Stream], Awaitable[Stream]]
PATIENCE = 20.0
"""Seconds that a broker on a busy machine may take before a test calls it lost."""


def numbered(count: int, key: str = "k", first: int = 0) -> list[Item]:
    return [Item(key, str(number).encode()) for number in range(first, first + count)]


def values(deliveries: Sequence[Delivery]) -> list[int]:
    return [int(delivery.value) for delivery in deliveries]


async def read(consumer: Consumer, count: int, most: int = 1000) -> list[Delivery]:
    """Fetch until `count` deliveries came; fails with what it has when they do not."""
    found: list[Delivery] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        found.extend(await consumer.fetch(min(most, count - len(found)), 1.0))
    assert len(found) == count, f"{len(found)} of {count} came"
    return found


async def nothing_more(consumer: Consumer) -> bool:
    return not await consumer.fetch(10, 0.5)


class StreamContract:
    """The suite."""

    @pytest.fixture
    def topic(self) -> str:
        return f"t-{uuid4().hex[:12]}"

    @pytest.fixture
    def group(self, topic: str) -> str:
        """A group of the test's own: a broker remembers the members of others that failed."""
        return f"g-{topic}"

    async def test_what_was_appended_is_read_in_order_with_key_value_and_time(self, stream: Stream, topic: str) -> None:
        before = datetime.now(UTC) - timedelta(seconds=5)
        sent = [Item("a", b"0"), Item("a", b"\x00\xff"), Item("a", b""), Item("a", "שלום".encode())]
        await stream.append(topic, sent)
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            found = await read(consumer, 4)
        assert [(item.key, item.value) for item in found] == [(item.key, item.value) for item in sent]
        assert all(before < item.appended_at < datetime.now(UTC) + timedelta(seconds=5) for item in found)
        offsets = [item.position.offset for item in found]
        assert offsets == sorted(set(offsets))
        assert len({item.position.partition for item in found}) == 1

    async def test_keys_may_be_any_text(self, stream: Stream, topic: str) -> None:
        keys = ["", "bluesky\x1fat://did:plc:1/2", "کلید", "k" * 2000]
        await stream.append(topic, [Item(key, key.encode()) for key in keys])
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            found = await read(consumer, len(keys))
        assert sorted(item.key for item in found) == sorted(keys)
        assert all(item.key.encode() == item.value for item in found)

    async def test_a_group_goes_on_behind_its_last_commit(self, stream: Stream, topic: str, group: str) -> None:
        await stream.append(topic, numbered(10))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            found = await read(consumer, 10)
            await consumer.commit(found[:4])
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            assert values(await read(consumer, 6)) == [4, 5, 6, 7, 8, 9]

    async def test_commits_and_items_outlive_the_process(
        self, stream: Stream, reopen: Reopen, topic: str, group: str
    ) -> None:
        await stream.append(topic, numbered(6))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            await consumer.commit((await read(consumer, 6))[:3])
        stream = await reopen(stream)
        await stream.append(topic, numbered(2, first=6))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            assert values(await read(consumer, 5)) == [3, 4, 5, 6, 7]

    async def test_a_commit_never_moves_back(self, stream: Stream, topic: str, group: str) -> None:
        await stream.append(topic, numbered(8))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            found = await read(consumer, 8)
            await consumer.commit(found[:6])
            await consumer.commit(found[:2])
            await consumer.commit([])
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            assert values(await read(consumer, 2)) == [6, 7]

    async def test_groups_do_not_disturb_each_other(self, stream: Stream, topic: str, group: str) -> None:
        await stream.append(topic, numbered(5))
        async with (
            aclosing(await stream.consumer(topic, f"{group}-1")) as one,
            aclosing(await stream.consumer(topic, f"{group}-2")) as two,
        ):
            await one.commit(await read(one, 5))
            assert values(await read(two, 5)) == [0, 1, 2, 3, 4]

    async def test_everywhere_reaches_each_partition_once(self, stream: Stream, topic: str) -> None:
        await stream.append(topic, [Item("p", b"1", everywhere=True)])
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            partitions = set(await consumer.end())
            found = await read(consumer, len(partitions))
            assert {item.position.partition for item in found} == partitions
            assert await nothing_more(consumer)

    async def test_an_item_can_name_its_partition(self, stream: Stream, topic: str) -> None:
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            partitions = sorted(await consumer.end())
            await stream.append(topic, [Item("same key", str(one).encode(), partition=one) for one in partitions])
            found = await read(consumer, len(partitions))
            assert {int(item.value): item.position.partition for item in found} == {one: one for one in partitions}

    async def test_an_item_everywhere_keeps_its_place_among_the_others(self, stream: Stream, topic: str) -> None:
        await stream.append(topic, [*numbered(3), Item("p", b"99", everywhere=True), *numbered(3, first=3)])
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            found = await read(consumer, 6 + len(await consumer.end()))
        home = next(item.position.partition for item in found if item.key == "k")
        assert values([item for item in found if item.position.partition == home]) == [0, 1, 2, 99, 3, 4, 5]

    async def test_a_tail_from_latest_sees_only_what_comes_and_has_nothing_to_commit(
        self, stream: Stream, topic: str
    ) -> None:
        await stream.append(topic, numbered(3))
        async with aclosing(await stream.consumer(topic, None, "latest")) as tail:
            assert await nothing_more(tail)
            await stream.append(topic, numbered(2, first=3))
            found = await read(tail, 2)
            assert values(found) == [3, 4]
            with pytest.raises(ValueError, match="tail"):
                await tail.commit(found)

    async def test_a_group_that_began_at_latest_keeps_its_beginning(
        self, stream: Stream, topic: str, group: str
    ) -> None:
        await stream.append(topic, numbered(3))
        async with aclosing(await stream.consumer(topic, group, "latest")) as consumer:
            assert await nothing_more(consumer)
        await stream.append(topic, numbered(2, first=3))
        async with aclosing(await stream.consumer(topic, group, "latest")) as consumer:
            assert values(await read(consumer, 2)) == [3, 4]

    async def test_positions_win_over_commits_and_over_start(self, stream: Stream, topic: str, group: str) -> None:
        await stream.append(topic, numbered(8))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            found = await read(consumer, 8)
            await consumer.commit(found)
        home = found[0].position.partition

        async def third(partitions: frozenset[int]) -> Mapping[int, int]:
            return {home: found[2].position.offset} if home in partitions else {}

        for member, start in ((group, "earliest"), (None, "latest")):
            async with aclosing(await stream.consumer(topic, member, start, third)) as consumer:  # type: ignore[arg-type]
                assert values(await read(consumer, 6)) == [2, 3, 4, 5, 6, 7]

    async def test_a_partition_without_a_position_starts_at_the_commit(
        self, stream: Stream, topic: str, group: str
    ) -> None:
        await stream.append(topic, numbered(4))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            await consumer.commit((await read(consumer, 4))[:3])

        async def none(_: frozenset[int]) -> Mapping[int, int]:
            return {}

        async with aclosing(await stream.consumer(topic, group, "earliest", none)) as consumer:
            assert values(await read(consumer, 1)) == [3]

    async def test_a_position_beyond_the_end_reads_all_that_is_kept(
        self, stream: Stream, topic: str, group: str
    ) -> None:
        await stream.append(topic, numbered(3))

        async def beyond(partitions: frozenset[int]) -> Mapping[int, int]:
            return dict.fromkeys(partitions, 1_000_000)

        async with aclosing(await stream.consumer(topic, group, "latest", beyond)) as consumer:
            assert values(await read(consumer, 3)) == [0, 1, 2]

    async def test_a_log_is_the_same_one_after_it_was_opened_again(self, stream: Stream, reopen: Reopen) -> None:
        before = stream.identity
        assert before
        assert (await reopen(stream)).identity == before

    async def test_position_zero_is_the_beginning(self, stream: Stream, topic: str, group: str) -> None:
        """What a store says whose offsets are of another log: it wins over the group's own commit."""
        await stream.append(topic, numbered(3))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            await consumer.commit(await read(consumer, 3))

        async def begin(partitions: frozenset[int]) -> Mapping[int, int]:
            return dict.fromkeys(partitions, 0)

        async with aclosing(await stream.consumer(topic, group, "latest", begin)) as consumer:
            assert values(await read(consumer, 3)) == [0, 1, 2]

    async def test_a_waiting_fetch_is_woken_by_an_append(self, stream: Stream, topic: str) -> None:
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            assert await nothing_more(consumer)
            began = time.monotonic()
            waiting = asyncio.create_task(consumer.fetch(10, PATIENCE))
            await asyncio.sleep(0.05)
            await stream.append(topic, numbered(1))
            assert values(await waiting) == [0]
            assert time.monotonic() - began < PATIENCE / 2

    async def test_fetch_keeps_to_most_and_loses_nothing_between(self, stream: Stream, topic: str) -> None:
        await stream.append(topic, numbered(25))
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            found: list[Delivery] = []
            while len(found) < 25:
                part = await consumer.fetch(4, PATIENCE)
                assert 0 < len(part) <= 4
                found.extend(part)
        assert values(found) == list(range(25))

    async def test_a_cancelled_fetch_loses_nothing(self, stream: Stream, topic: str) -> None:
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            for number in range(20):
                waiting = asyncio.create_task(consumer.fetch(1, PATIENCE))
                await asyncio.sleep(0)
                await stream.append(topic, numbered(1, first=number))
                if number % 2:
                    await asyncio.sleep(0.002 * number)
                waiting.cancel()
                done = (await asyncio.gather(waiting, return_exceptions=True))[0]
                if isinstance(done, BaseException):
                    done = await read(consumer, 1)
                assert values(done) == [number]

    async def test_lag_and_end_tell_what_is_left(self, stream: Stream, topic: str, group: str) -> None:
        await stream.append(topic, numbered(10))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            found = await read(consumer, 4, most=4)
            lag = await consumer.lag()
            assert lag.items == 6
            assert 0.0 <= lag.seconds < PATIENCE
            found += await read(consumer, 6)
            assert await consumer.lag() == type(lag)(0, 0.0)
            ends = await consumer.end()
            assert ends[found[-1].position.partition] == found[-1].position.offset + 1
            assert all(end == 0 for partition, end in ends.items() if partition != found[-1].position.partition)

    async def test_many_writers_keep_the_order_of_each_key(self, stream: Stream, topic: str, group: str) -> None:
        async def write(writer: int) -> None:
            for number in range(10):
                await stream.append(topic, numbered(3, key=f"w{writer}", first=number * 3))

        await asyncio.gather(*(write(writer) for writer in range(8)))
        async with aclosing(await stream.consumer(topic, group)) as consumer:
            found = await read(consumer, 240)
        for writer in range(8):
            assert values([item for item in found if item.key == f"w{writer}"]) == list(range(30))

    async def test_a_large_item_passes_and_one_over_the_limit_is_refused(self, stream: Stream, topic: str) -> None:
        large = b"x" * (MAX_ITEM - 1)
        await stream.append(topic, [Item("k", large)])
        with pytest.raises(ValueError, match="takes"):
            await stream.append(topic, [Item("k", large + b"x")])
        async with aclosing(await stream.consumer(topic, None)) as consumer:
            assert (await read(consumer, 1))[0].value == large

    async def test_what_is_closed_says_so(self, stream: Stream, topic: str, group: str) -> None:
        consumer = await stream.consumer(topic, group)
        await consumer.aclose()
        await consumer.aclose()
        with pytest.raises(StreamError):
            await consumer.fetch(1, 0.0)
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StreamError):
            await stream.append(topic, numbered(1))
        with pytest.raises(StreamError):
            await stream.consumer(topic, None)
