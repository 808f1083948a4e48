"""Mentions matched per second on one core, beside the usual way: one compiled alternation of `re` for each query.

The peer knows only words (no Hebrew prefixes, no Persian joints, no NOT): it does less and is timed as it is.
Run: python benchmarks/bench_matching.py [queries] [mentions]
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from streams.queries import Query, compile_queries
from streams.records import Mention

_SYLLABLES = {
    "en": "ka lo mi ter vas on pri del mo ra shi fen bor tu".split(),  # noqa: SIM905  syllables read better in a row
    "he": "בנ קל מש רת שו לח די כו מר נט פל הר גש".split(),  # noqa: SIM905  as above
    "fa": "با نک می شو خو دی گر پس چا رو کت نا".split(),  # noqa: SIM905  as above
}


def _words(rng: random.Random, lang: str, count: int) -> list[str]:
    return ["".join(rng.choices(_SYLLABLES[lang], k=rng.randint(2, 4))) for _ in range(count)]


def _query(rng: random.Random, words: list[str]) -> tuple[str, list[str]]:
    a, b, c, d = rng.sample(words, 4)
    shape = rng.randrange(4)
    if shape == 0:
        return f"{a} OR {b}", [a, b]
    if shape == 1:
        return f'({a} OR "{b} {c}") NOT {d}', [a, f"{b} {c}"]
    if shape == 2:
        return f"{a} AND ({b} OR {c}*)", [a]
    return f"#{a} OR {b} lang:he", [f"#{a}", b]


def _mention(rng: random.Random, vocabulary: list[str], index: int) -> Mention:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    text = " ".join(rng.choices(vocabulary, k=rng.randint(8, 45)))
    return Mention(source_kind="bench", native_id=str(index), source_id="bench", revision=1, received_at=now, text=text)


def _rate(match: Callable[[Mention], object], mentions: list[Mention]) -> float:
    started = time.process_time()
    for mention in mentions:
        match(mention)
    return len(mentions) / (time.process_time() - started)


def main(queries: int = 1000, mentions: int = 10_000) -> None:
    rng = random.Random(7)
    vocabulary = [word for lang in _SYLLABLES for word in _words(rng, lang, 40_000)]
    made = [_query(rng, vocabulary) for _ in range(queries)]
    started = time.process_time()
    matcher = compile_queries([Query(id=f"q{i}", name="q", match=match) for i, (match, _) in enumerate(made)])
    compiling = time.process_time() - started
    naive = [re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE) for _, words in made]
    sample = [_mention(rng, vocabulary, index) for index in range(mentions)]
    matched = sum(bool(matcher.match(mention)) for mention in sample)
    ours = _rate(matcher.match, sample)
    theirs = _rate(lambda mention: [i for i, rule in enumerate(naive) if rule.search(mention.text)], sample[:200])
    size = sum(len(mention.text) for mention in sample) / len(sample)
    print(
        f"{queries} queries (compiled in {compiling:.2f} s), {mentions} mentions of {size:.0f} characters on average,"
    )
    print(f"{matched / mentions:.0%} of them match\n")
    print("| matcher | mentions/s on one core |\n| --- | ---: |")
    print(f"| War Room | {ours:,.0f} |\n| one `re` alternation per query | {theirs:,.0f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
