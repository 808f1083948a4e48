from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nlp.batching import BatchingScorer
from nlp.scorer import Overloaded
from nlp.worker import score_records
from streams.records import Action, Author, Mention, Pulse, ScoredMention, SourceStatus
from tests.nlp.counting import LetterScorer

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def mention(number: int, text: str, action: Action = Action.PUBLISH) -> Mention:
    return Mention(
        source_kind="file",
        native_id=str(number),
        source_id="sample",
        revision=1,
        action=action,
        received_at=NOW,
        published_at=NOW,
        author=Author(id="a"),
        text=text,
    )


def pulse() -> Pulse:
    return Pulse(source_id="sample", source_kind="file", at=NOW, sent_at=NOW, status=SourceStatus.LIVE)


async def test_records_keep_their_order_and_what_has_no_text_passes() -> None:
    face = BatchingScorer(LetterScorer)
    await face.start()
    records: list[Mention | Pulse] = [
        mention(1, "first"),
        pulse(),
        mention(2, "", Action.DELETE),
        mention(3, "b\u2620d"),
        mention(4, " \u200b"),
        mention(5, "", Action.DELETE_AUTHOR),
        mention(6, "last"),
    ]
    outcome = await score_records(face, records, lambda: NOW)
    await face.close()
    kinds = [
        (r.mention.native_id, r.score is not None) if isinstance(r, ScoredMention) else "pulse" for r in outcome.records
    ]
    assert kinds == [("1", True), "pulse", ("2", False), ("5", False), ("6", True)]
    assert outcome.records[1] is records[1]
    assert [(refusal.mention.native_id, refusal.reason) for refusal in outcome.refused] == [
        ("3", "ScorerError: poison"),
        ("4", "Unscorable: empty"),
    ]
    assert [refusal.unreadable for refusal in outcome.refused] == [False, True]
    assert all(r.scored_at == NOW for r in outcome.records if isinstance(r, ScoredMention))


async def test_a_batch_without_text_asks_no_model() -> None:
    class Untouched:
        async def score(self, texts: object) -> list[object]:
            raise AssertionError(texts)

    records = [pulse(), mention(1, "", Action.DELETE)]
    assert len((await score_records(Untouched(), records, lambda: NOW)).records) == 2  # type: ignore[arg-type]


async def test_overload_reaches_the_consume_loop() -> None:
    class Full:
        async def score(self, texts: object) -> list[object]:
            raise Overloaded(str(texts))

    with pytest.raises(Overloaded):
        await score_records(Full(), [mention(1, "text")], lambda: NOW)  # type: ignore[arg-type]
