"""Role score through the real log and the real consume loop: overload slows it and loses nothing; its metrics count."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app.configuration import parse_configuration
from app.process import Process, open_process
from app.roles import score as role
from app.roles.score import Meter, Scoring
from app.roles.serve import make_hub
from app.roles.store import run_store
from app.settings import Settings
from app.store import MentionFilter
from nlp.batching import BatchingScorer, Limits
from nlp.scorer import Overloaded, Prepared, Unscorable
from streams.backoff import Backoff
from streams.embedded import EmbeddedStream
from streams.pump import Received, pump
from streams.records import DEAD, MENTIONS, SCORED, Mention, ScoredMention, decode, encode
from streams.stream import Item, Stream
from tests.nlp.counting import LetterScorer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
COUNT = 60


def mention(number: int, text: str) -> Mention:
    return Mention(
        source_kind="file",
        native_id=str(number),
        source_id="overload",
        revision=1,
        received_at=NOW,
        published_at=NOW,
        text=text,
    )


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Stream]:
    opened = await EmbeddedStream.open(tmp_path / "log.db")
    yield opened
    await opened.aclose()


async def pumping(log: Stream, face: BatchingScorer, meter: Meter) -> None:
    """What `run_score` does, with batches of four and quick retries."""
    consumer = await log.consumer(MENTIONS, "scorer", "earliest")
    async with contextlib.aclosing(consumer):
        await pump(
            log,
            consumer,
            Scoring(log, face, lambda: NOW, meter),
            topic=MENTIONS,
            group="scorer",
            stage="score",
            most=4,
            wait=0.05,
            transient=(Overloaded,),
            backoff=Backoff(0.001, 0.01),
        )


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  it polls another thread
            await asyncio.sleep(0.002)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def scored_ids(log: Stream) -> list[int]:
    """Every mention of [scored], as often as it is there."""
    found: list[int] = []
    async with contextlib.aclosing(await log.consumer(SCORED, None, "earliest")) as consumer:
        while deliveries := await consumer.fetch(500, 0.05):
            records = [decode(delivery.value) for delivery in deliveries]
            found += [int(one.mention.native_id) for one in records if isinstance(one, ScoredMention) and one.score]
    return found


async def test_overload_slows_the_consumer_and_drops_no_mention(log: Stream) -> None:
    texts = [f"mention {chr(97 + number % 26)} of {'x' * number}" for number in range(COUNT)]
    wanted = [mention(number, text) for number, text in enumerate(texts)]
    await log.append(MENTIONS, [Item(one.key, encode(one)) for one in wanted])
    gate = threading.Event()
    gate.set()
    model = LetterScorer(gate=gate)
    face = BatchingScorer(lambda: model, Limits(queue_tokens=1, deadline=0.001))
    await face.start()
    meter = Meter(lambda: face.stats)
    refused = value("warroom_scorer_overloads_total")
    gate.clear()
    model.entered.clear()
    rival = asyncio.create_task(face.score(["someone else's text fills the queue"]))
    await eventually(model.entered.is_set)
    loop = asyncio.create_task(pumping(log, face, meter))
    await eventually(lambda: face.stats.overloaded >= 8)
    assert await scored_ids(log) == []
    gate.set()
    await rival
    async with asyncio.timeout(20):
        while len(await scored_ids(log)) < COUNT:
            assert not loop.done()
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop
    await face.close()
    assert sorted(await scored_ids(log)) == list(range(COUNT))
    meter.look()
    assert value("warroom_scorer_overloads_total") - refused == face.stats.overloaded


async def test_the_metrics_add_up_to_the_texts() -> None:
    names = ("model", "exact", "near", "failed", "refused")
    before = {name: value("warroom_scorer_answers_total", how=name) for name in names}
    face = BatchingScorer(LetterScorer)
    meter = Meter(lambda: face.stats)
    await face.start()
    await face.score(["one", "two", "two", "b\u2620d", "b\u2620d", ""])
    meter.look()
    await face.score(["one"])
    meter.look()
    meter.look()
    await face.close()
    added = {name: value("warroom_scorer_answers_total", how=name) - before[name] for name in names}
    assert added == {"model": 2, "exact": 2, "near": 0, "failed": 2, "refused": 1}
    assert value("warroom_scorer_cache_answers") == 2
    assert value("warroom_scorer_queue_tokens") == 0


async def stored(process: Process, offset: int) -> None:
    """Return when the store has [scored] up to `offset`."""
    async with asyncio.timeout(10):
        while await process.store.positions(SCORED, "store", [0], process.stream.identity) != {0: offset}:  # noqa: ASYNC110  a database
            await asyncio.sleep(0.02)


async def buried(process: Process) -> Mapping[str, int]:
    """Return the source's ledger once a dead letter is in it."""
    async with asyncio.timeout(10):
        while True:
            ledger = (await process.store.ledger())["live", "overload"]
            if "dead_score" in ledger:
                return ledger
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("blank", ["", "\u200b\u2060 \n", "\u2620 on which the model fails"])
async def test_the_older_words_of_an_edit_that_has_no_score_go_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    """Invariants 2 and 8: no score is invented, and what was replaced is not readable anywhere."""
    monkeypatch.setattr(role, "scorer_maker", lambda _settings: LetterScorer)
    words = mention(1, "words that I take back")
    edited = words.model_copy(update={"revision": 2, "text": blank})
    again = words.model_copy(update={"revision": 3, "text": "better words"})
    async with open_process(Settings(data=tmp_path), parse_configuration("version: 1"), lambda: NOW) as process:
        running = [asyncio.create_task(role.run_score(process)), asyncio.create_task(run_store(process))]
        hub = make_hub(process)
        await hub.start()
        tail = await process.stream.consumer(SCORED, None, "earliest")
        texts: list[list[str]] = []
        for number, one in enumerate([words, edited, again], start=1):
            await process.stream.append(MENTIONS, [Item(one.key, encode(one))])
            await hub.take_scored([Received(each, decode(each.value)) for each in await tail.fetch(9, 10)])
            await stored(process, number)
            page = await process.store.mentions(MentionFilter())
            texts.append([found.mention.text for found in page.items])
            assert [item.text for item in hub.snapshot("live").items] == texts[-1]
            hub.tick()
        assert texts == [["words that I take back"], [], ["better words"]]
        assert await buried(process) == {"scored": 2, "stored": 1, "revised": 1, "deleted": 1, "dead_score": 1}
        figures, state = hub.snapshot("live").figures, await process.store.wall("live", NOW, SCORED, "store")
        assert (figures.stored_total, figures.heard_today) == (state.stored_total, state.heard_today) == (1, 1)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await tail.aclose()


class MortalScorer(LetterScorer):
    """Its thread dies of a text that has the word."""

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        if any("deadly" in text for text in texts):
            raise MemoryError("no room for the batch")
        return super().prepare(texts)


async def test_a_dead_model_thread_stops_the_process_and_buries_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 3: our own damage stops us; nothing is dead-lettered for it, nor passed over."""
    monkeypatch.setattr(role, "scorer_maker", lambda _settings: MortalScorer)
    settings = Settings(data=tmp_path)
    async with open_process(settings, parse_configuration("version: 1")) as process:
        wanted = [mention(number, "deadly" if number == 7 else f"fine {number}") for number in range(20)]
        await process.stream.append(MENTIONS, [Item(one.key, encode(one)) for one in wanted])
        with pytest.raises(ExceptionGroup) as ended:
            async with asyncio.timeout(10):
                await role.run_score(process)
        [error] = ended.value.exceptions
        assert isinstance(error, role.ScorerStopped)
        assert "the scorer's thread ended: MemoryError('no room for the batch')" in str(error)
        for topic, group in ((DEAD, None), (SCORED, None), (MENTIONS, "scorer")):
            async with contextlib.aclosing(await process.stream.consumer(topic, group, "earliest")) as consumer:
                assert len(await consumer.fetch(500, 0.05)) == (20 if topic == MENTIONS else 0)
