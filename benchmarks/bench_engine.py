"""The engine alone: records a second, and the cost and size of its saved state, at the rates of docs/benchmarks.md.

python benchmarks/bench_engine.py [seconds of event time]
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from alerts.engine import Engine
from alerts.rules import Rule
from streams.records import AnyRecord, Author, Mention, Opinion, Pulse, Score, ScoredMention, SourceStatus

START = datetime(2026, 3, 1, tzinfo=UTC)
RULES = 20
SOURCES = 5
RATE = 150


def rules() -> list[Rule]:
    made = []
    for number in range(RULES):
        groups = ([], ["query"], ["source"], ["lang"])[number % 4]
        fields = {"id": f"r{number}", "name": f"Rule {number}", "window": ("5m", "2m")[number % 2], "group_by": groups}
        measure = ("count", "negative_share", "urgency")[number % 3]
        made.append(
            Rule.model_validate(
                fields | {"measure": measure, "threshold": 0.9 if measure == "negative_share" else 9000}
            )
        )
    return made


def opinion(label: str) -> Opinion:
    return Opinion(label=label, probabilities={label: 1.0})


def mention(number: int, at: datetime, dice: random.Random) -> ScoredMention:
    made = Mention(
        source_kind="bench",
        native_id=f"at://did:plc:{number % 5000}/app.bsky.feed.post/{number}",
        source_id=f"s{number % SOURCES}",
        revision=number,
        received_at=at + timedelta(seconds=0.2),
        published_at=at,
        author=Author(id=f"did:plc:{number % 5000}"),
        text="A mention of ordinary length, as people write them, about a brand and its late delivery. " * 2,
        lang=dice.choice(["en", "he", "fa", "ar"]),
        queries=(f"q{number % 10}",),
    )
    score = Score(
        sentiment=opinion(dice.choice(["negative", "neutral", "positive"])),
        urgency=opinion(dice.choice(["low", "normal", "high", "critical"])),
        intent=opinion("other"),
        model_id="m",
        model_revision="1",
    )
    return ScoredMention(mention=made, score=score, scored_at=made.received_at)


def world(seconds: int) -> Iterator[list[AnyRecord]]:
    dice = random.Random(1)
    for second in range(seconds):
        at = START + timedelta(seconds=second)
        records: list[AnyRecord] = [
            mention(second * RATE + number, at + timedelta(seconds=number / RATE), dice) for number in range(RATE)
        ]
        for number in range(SOURCES):
            name = f"s{number}"
            reached = at + timedelta(seconds=1)
            records.append(
                Pulse(source_id=name, source_kind="b", at=reached, sent_at=reached, status=SourceStatus.LIVE)
            )
        yield records


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 420
    engine = Engine(rules())
    fed = records = 0.0
    dumps: list[tuple[float, int]] = []
    for second, batch in enumerate(world(seconds)):
        begun = time.perf_counter()
        engine.step((record, 0) for record in batch)
        fed += time.perf_counter() - begun
        records += len(batch)
        if second % 5 == 4:
            begun = time.perf_counter()
            size = len(engine.dump())
            dumps.append((time.perf_counter() - begun, size))
    state = engine.dump()
    begun = time.perf_counter()
    Engine.load(state, engine.rules)
    loaded = time.perf_counter() - begun
    last = dumps[-20:]
    print(f"{RULES} rules, {SOURCES} sources, {RATE} mentions/s, {seconds} s of event time")
    print(f"feed   {records / fed:10.0f} records/s   {fed / seconds * 100:6.2f} % of one core at {RATE}/s")
    print(f"dump   {sum(cost for cost, _ in last) / len(last) * 1000:10.1f} ms   {last[-1][1] / 1e6:6.2f} MB of text")
    print(f"load   {loaded * 1000:10.1f} ms")


if __name__ == "__main__":
    main()
