"""Role score: [mentions] -> model -> [scored].

Owns the wiring of the one consume loop to the batching scorer. Does not own either. Overload is a value: the consumer
slows down, no mention is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from app.process import Process
from app.roles.loops import consume
from app.scoring import scorer_maker
from nlp.batching import BatchingScorer
from nlp.scorer import Overloaded
from nlp.worker import TextScorer, score_records
from streams.metrics import LATENCY
from streams.metrics import SCORED as SCORED_TOTAL
from streams.pump import Received, Rejected
from streams.records import MENTIONS, SCORED, Mention, Pulse, ScoredMention, encode
from streams.stream import Item, Stream

BATCH: Final = 96
"""Mentions a round: large enough that sorting by length pays, small enough that the first is not held up."""
WAIT: Final = 1.0


class Scoring:
    """Pump handler of [mentions]."""

    def __init__(self, stream: Stream, scorer: TextScorer, clock: Callable[[], datetime]) -> None:
        self._stream = stream
        self._scorer = scorer
        self._clock = clock

    async def __call__(self, batch: Sequence[Received]) -> Sequence[Rejected]:
        """Score the batch, append it to [scored], return what could not be scored."""
        taken = [item for item in batch if isinstance(item.record, Mention | Pulse)]
        strange = [Rejected(item, "not a mention or a pulse") for item in batch if item not in taken]
        records = [item.record for item in taken if isinstance(item.record, Mention | Pulse)]
        outcome = await score_records(self._scorer, records, self._clock)
        refused = {id(mention): reason for mention, reason in outcome.refused}
        passed = [item for item in taken if id(item.record) not in refused]
        items = [_item(received, record) for received, record in zip(passed, outcome.records, strict=True)]
        await self._stream.append(SCORED, items)
        for record in outcome.records:
            if isinstance(record, ScoredMention) and record.score is not None:
                SCORED_TOTAL.labels(record.mention.source_id).inc()
                LATENCY.labels("score").observe((self._clock() - record.mention.received_at).total_seconds())
        return [*strange, *(Rejected(item, refused[id(item.record)]) for item in taken if id(item.record) in refused)]


def _item(received: Received, record: ScoredMention | Pulse) -> Item:
    if isinstance(record, Pulse):
        return Item(record.source_id, encode(record), partition=received.delivery.position.partition)
    return Item(record.mention.key, encode(record))


async def run_score(process: Process) -> None:
    """Run the role until cancelled."""
    scorer = BatchingScorer(scorer_maker(process.settings))
    await scorer.start()
    try:
        await consume(
            process,
            name="score",
            stage="score",
            topic=MENTIONS,
            group="scorer",
            handler=Scoring(process.stream, scorer, process.clock),
            most=BATCH,
            wait=WAIT,
            transient=(Overloaded,),
        )
    finally:
        await asyncio.shield(scorer.close())
