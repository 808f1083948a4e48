from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from nlp.batching import BatchingScorer, Limits
from nlp.scorer import Closed, ModelFilesDamaged, Overloaded, Prepared, ScorerDied, ScorerError, Unscorable
from streams.records import Score
from tests.nlp.counting import LetterScorer


@asynccontextmanager
async def running(scorer: LetterScorer, **limits: float) -> AsyncIterator[BatchingScorer]:
    face = BatchingScorer(lambda: scorer, Limits(**limits))  # type: ignore[arg-type]
    await face.start()
    scorer.batches.clear()
    try:
        yield face
    finally:
        await face.close()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - it polls another thread
            await asyncio.sleep(0.001)


async def test_answers_come_back_in_order_from_one_thread() -> None:
    scorer = LetterScorer()
    texts = [f"text {'x' * (n % 17)} {n}" for n in range(300)]
    async with running(scorer) as face:
        found = await asyncio.gather(*(face.score(texts[n : n + 7]) for n in range(0, 300, 7)))
        assert face.model_id == "letters"
    answers = [answer for request in found for answer in request]
    assert answers == LetterScorer().score(texts)
    assert len(scorer.threads) == 1
    assert scorer.threads != {threading.get_ident()}
    assert scorer.closed


async def test_requests_share_batches_within_the_token_budget() -> None:
    scorer = LetterScorer()
    async with running(scorer, deadline=0.2, batch_tokens=64) as face:
        await asyncio.gather(*(face.score([f"{n:04d}"]) for n in range(24)))
    assert [len(batch) for batch in scorer.batches] == [16, 8]


async def test_bad_texts_are_answered_by_their_own_error() -> None:
    async with running(LetterScorer()) as face:
        found = await face.score(["fine", "", "b\u2620d", "fine too"])
        assert [type(answer) for answer in found] == [Score, Unscorable, ScorerError, Score]
        assert (face.stats.scored, face.stats.refused, face.stats.failed) == (2, 1, 1)
        assert await face.score([]) == []


async def test_overload_is_immediate_and_takes_nothing() -> None:
    gate = threading.Event()
    gate.set()
    scorer = LetterScorer(gate=gate)
    async with running(scorer, queue_tokens=100) as face:
        gate.clear()
        scorer.entered.clear()
        first = asyncio.create_task(face.score(["x" * 180]))
        await eventually(scorer.entered.is_set)
        second = asyncio.create_task(face.score(["y" * 60]))
        await asyncio.sleep(0)
        async with asyncio.timeout(0.5):
            with pytest.raises(Overloaded, match="try later"):
                await face.score(["z" * 60])
        assert face.stats.overloaded == 1
        gate.set()
        assert all(isinstance(answer, Score) for answer in await first + await second)
        assert face.stats.queued_tokens == 0
        assert isinstance((await face.score(["z" * 60]))[0], Score)


async def test_a_request_beyond_the_bound_is_taken_when_nothing_waits() -> None:
    async with running(LetterScorer(), queue_tokens=10) as face:
        assert len(await face.score(["a long text"] * 50)) == 50


async def test_close_drains_what_waits_and_refuses_what_comes_later() -> None:
    gate = threading.Event()
    gate.set()
    scorer = LetterScorer(gate=gate)
    async with running(scorer) as face:
        gate.clear()
        waiting = [asyncio.create_task(face.score([f"text {n}"])) for n in range(20)]
        await asyncio.sleep(0.02)
        closing = asyncio.create_task(face.close())
        await asyncio.sleep(0.01)
        with pytest.raises(Closed):
            await face.score(["too late"])
        gate.set()
        await closing
        answers = await asyncio.gather(*waiting)
        assert all(isinstance(answer, Score) for (answer,) in answers)
    assert scorer.closed


async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    gate = threading.Event()
    gate.set()
    scorer = LetterScorer(gate=gate)
    async with running(scorer) as face:
        gate.clear()
        gone = asyncio.create_task(face.score(["gone"]))
        stays = asyncio.create_task(face.score(["stays"]))
        await eventually(lambda: face.stats.queued_tokens > 0)
        gone.cancel()
        gate.set()
        assert isinstance((await stays)[0], Score)
        with pytest.raises(asyncio.CancelledError):
            await gone


async def test_repeated_texts_are_remembered_bounded_and_counted() -> None:
    scorer = LetterScorer()
    async with running(scorer, cache_texts=2) as face:
        first = await face.score(["a share https://one.example"])
        again = await face.score(["a share  https://two.example"])
        assert first == again
        assert (face.stats.exact, face.stats.missed, face.stats.remembered, face.stats.evicted) == (1, 1, 1, 0)
        await face.score(["b"])
        await face.score(["c"])
        await face.score(["a share http", "", "b\u2620d"])
        assert (face.stats.exact, face.stats.missed, face.stats.remembered, face.stats.evicted) == (1, 5, 2, 2)
        assert (face.stats.scored, face.stats.refused, face.stats.failed) == (5, 1, 1)
    assert sum(len(batch) for batch in scorer.batches) == 7  # the failure fails its neighbour once, and is tried alone


async def test_errors_are_not_remembered() -> None:
    scorer = LetterScorer()
    async with running(scorer) as face:
        assert isinstance((await face.score(["b\u2620d"]))[0], ScorerError)
        scorer.poison = "\u2623"
        assert isinstance((await face.score(["b\u2620d"]))[0], Score)


async def test_a_model_that_cannot_be_opened_stops_the_start() -> None:
    def broken() -> LetterScorer:
        raise ModelFilesDamaged("model.onnx is damaged")

    face = BatchingScorer(broken)
    with pytest.raises(ModelFilesDamaged, match=r"model\.onnx"):
        await face.start()
    with pytest.raises(ScorerDied):
        await face.score(["text"])
    await face.close()


async def test_a_scorer_that_was_not_started_says_so() -> None:
    with pytest.raises(Closed, match="not started"):
        await BatchingScorer(LetterScorer).score(["text"])


class Watched(BatchingScorer):
    """Keeps every state of its counters: readers take no lock, so each may be seen."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_stats":
            self.__dict__.setdefault("seen", []).append(value)


class Faulty(LetterScorer):
    """Has a programming error that shows on one text, and `broken` on every text."""

    broken = False

    def prepare(self, texts: list[str]) -> list[Prepared | Unscorable]:  # type: ignore[override]
        if self.broken or "bug" in texts:
            raise KeyError("bug")
        return super().prepare(texts)


class Panic(BaseException):
    """What a library in another language raises: no Exception."""


class Panicking(Faulty):
    """Its library panics on a batch with the text, on one of two lanes."""

    lanes = 2

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        if any(entry.text == "panic" for entry in batch):
            raise Panic("index out of bounds")
        return super().run(batch)


async def test_a_text_on_which_something_unforeseen_is_raised_is_answered_alone() -> None:
    async with running(Panicking(), deadline=0.2) as face:
        asked = ["fine", "bug", "", "panic", "b\u2620d", "fine too"]
        found = await asyncio.gather(*(face.score([text]) for text in asked))
        kinds = [type(answer) for (answer,) in found]
        assert kinds == [Score, ScorerError, Unscorable, ScorerError, ScorerError, Score]
        assert "KeyError('bug')" in str(found[1][0])
        assert "Panic('index out of bounds')" in str(found[3][0])
        assert (face.stats.scored, face.stats.refused, face.stats.failed) == (2, 1, 3)
        assert (face.stats.exact, face.stats.near, face.stats.missed) == (0, 0, 5)
        assert face.stats.queued_tokens == 0
        assert isinstance((await face.score(["later"]))[0], Score)


async def test_a_lone_text_that_breaks_the_scorer_counts_as_one_that_the_model_failed_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    face = Watched(Faulty)
    await face.start()
    assert isinstance((await face.score(["bug"]))[0], ScorerError)
    await face.close()
    assert (face.stats.failed, face.stats.missed) == (1, 1)
    assert all(one.failed <= one.missed for one in face.__dict__["seen"])
    assert "failed (KeyError in test_batching.py:" in caplog.text
    assert "bug" not in caplog.text


async def test_what_waits_when_the_thread_ends_is_told_that_it_died_and_not_that_a_text_is_bad() -> None:
    gate = threading.Event()
    gate.set()
    scorer = Faulty(gate=gate)
    face = BatchingScorer(lambda: scorer)
    await face.start()
    gate.clear()
    scorer.entered.clear()
    first = asyncio.create_task(face.score(["fine"]))
    await eventually(scorer.entered.is_set)
    waiting = [asyncio.create_task(face.score([text])) for text in ("one", "another")]
    await asyncio.sleep(0)
    scorer.broken = True
    gate.set()
    assert isinstance((await first)[0], Score)
    for task in waiting:
        with pytest.raises(ScorerDied):
            await task
    await face.close()


async def test_a_bug_that_shows_on_every_text_reaches_every_caller() -> None:
    scorer = Faulty()
    face = BatchingScorer(lambda: scorer)
    await face.start()
    scorer.broken = True
    async with asyncio.timeout(2):
        with pytest.raises(ScorerDied, match="KeyError") as first:
            await face.score(["something"])
        with pytest.raises(ScorerDied, match="KeyError") as second:
            await face.score(["anything"])
    assert isinstance(first.value.__cause__, KeyError)
    assert second.value is not first.value
    await face.close()


async def test_no_state_of_the_counters_has_more_failures_than_texts_for_the_model() -> None:
    face = Watched(LetterScorer)
    await face.start()
    await face.score(["b\u2620d", "good"])
    await face.close()
    assert face.stats.failed == 1
    assert all(one.failed <= one.missed for one in face.__dict__["seen"])
