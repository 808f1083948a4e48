"""Role score: [mentions] -> model -> [scored].

Owns the wiring of the one consume loop to the batching scorer, what becomes of the older words of an edit that can't be
scored, and the export of the scorer's counters. Does not own loop or scorer. Overload is a value: the consumer waits
and offers the same batch again, no mention is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Never

from app.process import Process
from app.roles.loops import consume
from app.scoring import scorer_maker
from nlp.batching import BatchingScorer, Stats
from nlp.scorer import Overloaded, ScorerError
from nlp.worker import TextScorer, score_records
from streams import metrics
from streams.metrics import LATENCY
from streams.metrics import SCORED as SCORED_TOTAL
from streams.pump import Received, Rejected
from streams.records import MENTIONS, SCORED, Action, Mention, Pulse, ScoredMention, encode
from streams.stream import Item, Stream

BATCH: Final = 96
"""Mentions a round: large enough that sorting by length pays, small enough that the first is not held up."""
WAIT: Final = 1.0


class Meter:
    """Carries the counters of a scorer to `/metrics`, as what was added since the last look."""

    def __init__(self, stats: Callable[[], Stats]) -> None:
        self._stats = stats
        self._before = Stats()

    def look(self) -> None:
        """Export what the scorer did since the last look, and what waits now."""
        now, before = self._stats(), self._before
        self._before = now
        metrics.ANSWERS.labels("exact").inc(now.exact - before.exact)
        metrics.ANSWERS.labels("near").inc(now.near - before.near)
        metrics.ANSWERS.labels("model").inc((now.missed - now.failed) - (before.missed - before.failed))
        metrics.ANSWERS.labels("failed").inc(now.failed - before.failed)
        metrics.ANSWERS.labels("refused").inc(now.refused - before.refused)
        metrics.FORGOTTEN.inc(now.evicted - before.evicted)
        metrics.OVERLOADED.inc(now.overloaded - before.overloaded)
        metrics.BUSY.inc(now.busy_seconds - before.busy_seconds)
        metrics.REMEMBERED.set(now.remembered)
        metrics.QUEUED.set(now.queued_tokens)


class ScorerStopped(RuntimeError):
    """The thread that owns the model ended: our own fault, for which no mention is dead-lettered. The process stops."""


class Scoring:
    """Pump handler of [mentions]; `watch` runs beside the pump."""

    def __init__(self, stream: Stream, scorer: TextScorer, clock: Callable[[], datetime], meter: Meter) -> None:
        self._stream = stream
        self._scorer = scorer
        self._clock = clock
        self._meter = meter
        self._fault: ScorerError | None = None
        self._ended = asyncio.Event()

    async def watch(self) -> None:
        """Raise ScorerStopped once the scorer can answer nothing any more."""
        await self._ended.wait()
        raise ScorerStopped(
            f"{self._fault}; every mention that it had not scored is read again: start this process again"
        ) from self._fault

    async def _stop(self, fault: ScorerError) -> Never:
        """Make `watch` raise, and wait to be cancelled: returning would commit, raising would dead-letter the batch."""
        self._fault = fault
        self._ended.set()
        never: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
        await never

    async def __call__(self, batch: Sequence[Received]) -> Sequence[Rejected]:
        """Score the batch, append it to [scored], return what could not be scored."""
        taken = [item for item in batch if isinstance(item.record, Mention | Pulse)]
        strange = [Rejected(item, "not a mention or a pulse") for item in batch if item not in taken]
        records = [item.record for item in taken if isinstance(item.record, Mention | Pulse)]
        try:
            outcome = await score_records(self._scorer, records, self._clock)
        except Overloaded:
            raise
        except ScorerError as fault:  # a text's own error is its answer; raised, it means that nobody answers
            await self._stop(fault)
        finally:
            self._meter.look()
        refused = {id(refusal.mention): refusal for refusal in outcome.refused}
        answers = iter(outcome.records)
        now = self._clock()
        items = [
            _item(item, superseded(refused[id(item.record)].mention, now))
            if id(item.record) in refused
            else _item(item, next(answers))
            for item in taken
        ]
        await self._stream.append(SCORED, items)
        for record in outcome.records:
            if isinstance(record, ScoredMention) and record.score is not None:
                SCORED_TOTAL.labels(record.mention.source_id).inc()
                LATENCY.labels("score").observe((self._clock() - record.mention.received_at).total_seconds())
        found = ((item, refused[id(item.record)]) for item in taken if id(item.record) in refused)
        return [*strange, *(Rejected(item, refusal.reason, refusal.unreadable) for item, refusal in found)]


def superseded(mention: Mention, at: datetime) -> ScoredMention:
    """Return what takes a mention's older words away when its new ones have no score: they are not its words any more.

    It is a deletion up to and with this revision, so it also holds if the older words come later; a further edit that
    can be scored lives. Of a mention that was never stored it leaves a tombstone alone.
    """
    gone = Mention(
        source_id=mention.source_id,
        source_kind=mention.source_kind,
        native_id=mention.native_id,
        revision=mention.revision,
        action=Action.DELETE,
        realm=mention.realm,
        received_at=mention.received_at,
    )
    return ScoredMention(mention=gone, score=None, scored_at=at)


def _item(received: Received, record: ScoredMention | Pulse) -> Item:
    if isinstance(record, Pulse):
        return Item(record.source_id, encode(record), partition=received.delivery.position.partition)
    return Item(record.mention.key, encode(record))


async def run_score(process: Process) -> None:
    """Run the role until cancelled."""
    scorer = BatchingScorer(scorer_maker(process.settings))
    scoring = Scoring(process.stream, scorer, process.clock, Meter(lambda: scorer.stats))
    await scorer.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(scoring.watch())
            await consume(
                process,
                name="score",
                stage="score",
                topic=MENTIONS,
                group="scorer",
                handler=scoring,
                most=BATCH,
                wait=WAIT,
                transient=(Overloaded,),
            )
    finally:
        await asyncio.shield(scorer.close())
