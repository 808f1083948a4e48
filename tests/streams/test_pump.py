import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams import metrics
from streams.backoff import Backoff
from streams.dead_letters import UNKNOWN_SOURCE, DeadCount, DeadLetterLimit, DeadLimit
from streams.embedded import EmbeddedStream
from streams.pump import Handler, Progress, Received, Rejected, pump
from streams.records import DEAD, MENTIONS, DeadLetter, Mention, decode, encode
from streams.stream import Item, StreamCorrupted, StreamError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class DatabaseAway(Exception):
    pass


def mention(number: int) -> Mention:
    return Mention(
        source_kind="file",
        native_id=str(number),
        source_id="f",
        revision=1,
        received_at=NOW,
        published_at=NOW,
        text=f"text {number}",
    )


def items(numbers: Sequence[int]) -> list[Item]:
    return [Item(mention(number).key, encode(mention(number))) for number in numbers]


def ids(batch: Sequence[Received]) -> list[int]:
    return [int(one.record.native_id) for one in batch if isinstance(one.record, Mention)]


class Sink:
    """A handler that keeps what it was given; `fault` may raise or reject."""

    def __init__(self, fault: Callable[[list[int]], None] | None = None) -> None:
        self.batches: list[list[int]] = []
        self.kept: list[int] = []
        self._fault = fault

    async def __call__(self, batch: Sequence[Received]) -> Sequence[Rejected]:
        self.batches.append(ids(batch))
        if self._fault is not None:
            self._fault(ids(batch))
        self.kept.extend(ids(batch))
        return ()


@pytest.fixture
async def stream(tmp_path: Path) -> AsyncIterator[EmbeddedStream]:
    stream = await EmbeddedStream.open(tmp_path / "log.db")
    yield stream
    await stream.aclose()


class Pumping:
    """Runs the pump until the group (or a count of handled records) has come to the end."""

    def __init__(self, stream: EmbeddedStream) -> None:
        self.stream = stream
        self.progress = Progress()

    async def __call__(
        self,
        handler: Handler,
        until: Callable[[], bool] | None = None,
        group: str | None = "g",
        limit: DeadLimit | None = None,
        most: int = 500,
    ) -> None:
        consumer = await self.stream.consumer(MENTIONS, group)
        task = asyncio.create_task(
            pump(
                self.stream,
                consumer,
                handler,
                topic=MENTIONS,
                group=group,
                stage="score",
                most=most,
                wait=0.01,
                dead_limit=limit,
                transient=(DatabaseAway,),
                clock=lambda: NOW,
                progress=self.progress,
                backoff=Backoff(0.001, 0.002),
            )
        )
        try:
            async with asyncio.timeout(20):
                while not task.done():
                    lag = await consumer.lag()
                    if until() if until is not None else lag.items == 0 and self.progress.last_commit_at:
                        break
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            try:
                with suppress(asyncio.CancelledError):
                    await task
            finally:
                await consumer.aclose()

    async def dead(self) -> list[DeadLetter]:
        tail = await self.stream.consumer(DEAD, None)
        found = [decode(one.value) for one in await tail.fetch(1000, 0)]
        await tail.aclose()
        return [letter for letter in found if isinstance(letter, DeadLetter)]

    async def left(self) -> list[int]:
        """The ids that the group would get now."""
        consumer = await self.stream.consumer(MENTIONS, "g")
        found = [decode(one.value) for one in await consumer.fetch(1000, 0)]
        await consumer.aclose()
        return [int(record.native_id) for record in found if isinstance(record, Mention)]


@pytest.fixture
def pumping(stream: EmbeddedStream) -> Pumping:
    return Pumping(stream)


async def test_batches_are_handled_in_order_then_committed(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, items(range(25)))
    sink = Sink()
    await pumping(sink, most=10)
    assert [len(batch) for batch in sink.batches] == [10, 10, 5]
    assert sink.kept == list(range(25))
    assert await pumping.left() == []
    assert pumping.progress.last_commit_at == pumping.progress.last_loop_at == NOW


async def test_undecodable_bytes_go_dead_with_reason_and_origin_and_the_rest_goes_on(
    stream: EmbeddedStream, pumping: Pumping
) -> None:
    garbage = [b"{", b"\xff\xfe", b"", b'{"type":"mention","v":9}', b'{"type":"what"}', b"[1]"]
    await stream.append(MENTIONS, [*items([0]), *(Item("x", junk) for junk in garbage), *items([1])])
    before = metrics.DEAD.labels("unknown")._value.get()
    sink = Sink()
    await pumping(sink)
    assert sink.kept == [0, 1]
    dead = await pumping.dead()
    assert [letter.origin for letter in dead] == [f"mentions/0/{offset}" for offset in range(1, 7)]
    assert all(letter.reason and letter.stage == "score" and letter.at == NOW for letter in dead)
    assert [letter.payload_bytes for letter in dead] == [len(junk) for junk in garbage]
    assert metrics.DEAD.labels("unknown")._value.get() - before == len(garbage)


async def test_what_the_handler_rejects_goes_dead_with_its_source(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, items(range(3)))

    async def reject_one(batch: Sequence[Received]) -> Sequence[Rejected]:
        return [Rejected(one, "no\x00 \ud800 model") for one in batch if ids([one]) == [1]]

    await pumping(reject_one)
    (letter,) = await pumping.dead()
    assert (letter.source_id, letter.origin, letter.realm) == ("f", "mentions/0/1", "live")
    assert letter.reason.startswith("no")
    assert '"native_id":"1"' in letter.payload


async def test_what_nobody_could_read_is_dead_but_does_not_stop_the_process(
    stream: EmbeddedStream, pumping: Pumping
) -> None:
    await stream.append(MENTIONS, items(range(120)))

    async def reject_all(batch: Sequence[Received]) -> Sequence[Rejected]:
        return [Rejected(one, "in a script that the model does not know", unreadable=True) for one in batch]

    await pumping(reject_all)
    assert len(await pumping.dead()) == 120


@pytest.mark.parametrize("error", [StreamError("away"), OSError("reset"), TimeoutError(), DatabaseAway("gone")])
async def test_a_passing_error_retries_the_same_batch_until_it_is_over(
    stream: EmbeddedStream, pumping: Pumping, error: Exception
) -> None:
    await stream.append(MENTIONS, items(range(4)))
    before = metrics.RETRIES.labels(MENTIONS, "g")._value.get()
    troubles: list[str] = []

    def away(_: list[int]) -> None:
        if len(sink.batches) <= 7:
            troubles.append(pumping.progress.trouble)
            raise error

    sink = Sink(away)
    await pumping(sink)
    assert sink.batches == [[0, 1, 2, 3]] * 8
    assert sink.kept == [0, 1, 2, 3]
    assert await pumping.dead() == []
    assert metrics.RETRIES.labels(MENTIONS, "g")._value.get() - before == 7
    assert type(error).__name__ in troubles[-1]
    assert pumping.progress.trouble == ""


async def test_one_poisonous_record_is_found_and_only_it_goes_dead(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, items(range(5)))

    def poison(batch: list[int]) -> None:
        if 3 in batch:
            raise KeyError("three")

    sink = Sink(poison)
    await pumping(sink)
    whole = [0, 1, 2, 3, 4]
    assert sink.batches == [whole, whole, whole, [0], [1], [2], [3], [3], [3], [4]]
    assert sink.kept == [0, 1, 2, 4]
    (letter,) = await pumping.dead()
    assert letter.reason == "KeyError: 'three'"
    assert letter.origin == "mentions/0/3"
    assert await pumping.left() == []


async def test_a_bad_deploy_stops_instead_of_emptying_the_topic(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, items(range(200)))

    def broken(_: list[int]) -> None:
        raise AttributeError("deployed on a Friday")

    with pytest.raises(DeadLetterLimit, match="Friday"):
        await pumping(Sink(broken), limit=DeadLimit(ratio=0.1, over=1000, at_least=50))
    assert await pumping.dead() == []
    assert await pumping.left() == list(range(200))


async def test_the_limit_counts_undecodable_bytes_too(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, [*items(range(40)), *[Item("x", b"junk")] * 10])
    with pytest.raises(DeadLetterLimit):
        await pumping(Sink(), limit=DeadLimit(ratio=0.1, over=1000, at_least=10))


def test_the_limit_forgets_what_is_behind_its_window() -> None:
    count = DeadCount(DeadLimit(ratio=0.5, over=100, at_least=10))
    count.add(20, 10)
    with pytest.raises(DeadLetterLimit):
        count.check(0, 1, "x")
    count.add(100, 0)
    count.check(10, 9, "x")
    count.check(10, 10, "x")
    count.add(10, 9)
    with pytest.raises(DeadLetterLimit):
        count.check(100, 100, "x")


async def test_corruption_stops_the_pump_at_once(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, items(range(2)))

    def corrupted(_: list[int]) -> None:
        raise StreamCorrupted("the state is damaged")

    sink = Sink(corrupted)
    with pytest.raises(StreamCorrupted, match="damaged"):
        await pumping(sink)
    assert len(sink.batches) == 1
    assert await pumping.left() == [0, 1]


async def test_a_cancelled_pump_leaves_its_batch_uncommitted(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, items(range(3)))
    begun = asyncio.Event()

    async def slow(_: Sequence[Received]) -> Sequence[Rejected]:
        begun.set()
        await asyncio.sleep(60)
        return ()

    await pumping(slow, until=begun.is_set)
    assert await pumping.left() == [0, 1, 2]


async def test_a_tail_sees_all_commits_nothing_and_buries_nothing(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, [*items(range(2)), Item("x", b"junk")])
    sink = Sink()
    await pumping(sink, group=None, until=lambda: len(sink.kept) == 2)
    assert sink.kept == [0, 1]
    assert await pumping.dead() == []
    assert pumping.progress.last_commit_at is None


async def test_a_log_that_fails_is_waited_for_at_each_step(
    stream: EmbeddedStream, pumping: Pumping, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.append(MENTIONS, [*items(range(2)), Item("x", b"junk")])
    faults = {"append": 2, "submit": 0}
    real = stream.append

    async def failing(topic: str, batch: Sequence[Item]) -> None:
        if faults["append"]:
            faults["append"] -= 1
            raise StreamError("the disk is full")
        await real(topic, batch)

    monkeypatch.setattr(stream, "append", failing)
    sink = Sink()
    await pumping(sink)
    assert sink.batches == [[0, 1]]
    assert len(await pumping.dead()) == 1
    assert await pumping.left() == []


async def test_lag_is_published(stream: EmbeddedStream, pumping: Pumping) -> None:
    await stream.append(MENTIONS, items(range(30)))
    seen: list[float] = []

    async def look(_: Sequence[Received]) -> Sequence[Rejected]:
        seen.append(metrics.LAG_ITEMS.labels(MENTIONS, "g")._value.get())
        return ()

    metrics.LAG_ITEMS.labels(MENTIONS, "g").set(-1)
    await pumping(look, most=10)
    assert seen == [-1, 20, 20]


@pytest.mark.parametrize("absurd", [b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-12:00"])
async def test_a_record_with_an_absurd_date_is_buried_and_the_rest_goes_on(
    stream: EmbeddedStream, pumping: Pumping, absurd: bytes
) -> None:
    poison = encode(mention(0)).replace(b'"published_at":"2026-11-22T12:00:00Z"', b'"published_at":"%b"' % absurd)
    assert absurd in poison
    await stream.append(MENTIONS, [Item("poison", poison), *items([1])])
    sink = Sink()
    await pumping(sink)
    assert sink.kept == [1]
    assert (await pumping.dead())[0].reason.startswith("mention.published_at: ")


async def test_a_dead_letter_is_counted_by_the_group_and_not_again_by_tails(
    stream: EmbeddedStream, pumping: Pumping
) -> None:
    def counted() -> float:
        return float(metrics.DEAD.labels(UNKNOWN_SOURCE)._value.get())

    await stream.append(MENTIONS, [Item("bad", b"{"), *items([1])])
    before = counted()
    await pumping(Sink())
    assert counted() == before + 1
    tailed = Sink()
    await pumping(tailed, until=lambda: bool(tailed.kept), group=None)
    assert counted() == before + 1
