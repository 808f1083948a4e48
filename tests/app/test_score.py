"""Role score through the real log and the real consume loop: overload slows it and loses nothing; its metrics count."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app.configuration import parse_configuration
from app.process import open_process
from app.roles import score as role
from app.roles.score import Meter, Scoring
from app.settings import Settings
from nlp.batching import BatchingScorer, Limits
from nlp.scorer import Overloaded, Prepared, Unscorable
from streams.backoff import Backoff
from streams.embedded import EmbeddedStream
from streams.pump import pump
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
