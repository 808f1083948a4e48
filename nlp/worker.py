"""Between the log and the scorer: records in, scored records out, in the same order.

Owns which record needs a score and what becomes of the answers. Does not own consuming, committing or writing dead
letters: the app wires `score_records` to the consume loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from nlp.grouping import Answer
from nlp.scorer import Unscorable
from streams.records import Action, Mention, Pulse, Score, ScoredMention


class TextScorer(Protocol):
    """What is needed of `nlp.batching.BatchingScorer`."""

    async def score(self, texts: Sequence[str]) -> list[Answer]:
        """Return for each text its score or the error that stands in for it; raise Overloaded if the queue is full."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mention without a score, and why; `unreadable`: no model could score it, so trying again is no use."""

    mention: Mention
    reason: str
    unreadable: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a batch: `records` to pass on, in order, and the mentions that have no score."""

    records: list[ScoredMention | Pulse] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def needs_score(record: Mention | Pulse) -> bool:
    """Return whether the record carries text to score: pulses and deletions do not."""
    return isinstance(record, Mention) and record.action is Action.PUBLISH


async def score_records(scorer: TextScorer, records: Sequence[Mention | Pulse], now: Callable[[], datetime]) -> Scored:
    """Score the mentions among `records`; pulses pass untouched, deletions with score None.

    `now` gives `scored_at`, once for the whole batch. Raise Overloaded (nothing was done: offer the batch again) and
    whatever else `scorer` raises.
    """
    texts = [record.text for record in records if isinstance(record, Mention) and needs_score(record)]
    answers = iter(await scorer.score(texts) if texts else [])
    at = now()
    outcome = Scored()
    for record in records:
        if isinstance(record, Pulse):
            outcome.records.append(record)
            continue
        answer = next(answers) if needs_score(record) else None
        if answer is None or isinstance(answer, Score):
            outcome.records.append(ScoredMention(mention=record, score=answer, scored_at=at))
        else:
            reason = f"{type(answer).__name__}: {answer}"[:1000]
            outcome.refused.append(Refusal(record, reason, isinstance(answer, Unscorable)))
    return outcome
