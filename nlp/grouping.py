"""How a list of texts becomes padded batches, and how one bad text is kept from failing its neighbours.

Owns grouping by length, scoring identical texts once, and the retry one by one. Pure but for calling the scorer it is
given. Does not own queues, threads or caches over time (`batching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from nlp.scorer import BATCH_TOKENS, Prepared, Scorer, ScorerError, Unscorable
from streams.records import Score

Answer = Score | ScorerError | Unscorable


def groups(lengths: Sequence[int], budget: int = BATCH_TOKENS) -> list[list[int]]:
    """Return the indices 0..n-1 in groups of like length; longest times size stays within `budget`.

    An entry longer than the budget gets a group of its own. Within a group the order is by length, then by index.
    """
    found: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if found and lengths[at] * (len(found[-1]) + 1) <= budget:
            found[-1].append(at)
        else:
            found.append([at])
    return found


def run_group(scorer: Scorer, batch: Sequence[Prepared]) -> list[Score | ScorerError]:
    """Run one batch; if it fails, run its entries one by one, so that only the bad ones are answered by an error."""
    try:
        return list(scorer.run(batch))
    except ScorerError as error:
        if len(batch) == 1:
            return [error]
    return [answer for entry in batch for answer in run_group(scorer, [entry])]


def run_distinct(
    scorer: Scorer, entries: Sequence[Prepared], budget: int = BATCH_TOKENS
) -> dict[str, Score | ScorerError]:
    """Run each distinct text once, in groups of like length; return the answers by cleaned text."""
    distinct = list({entry.text: entry for entry in entries}.values())
    batches = [[distinct[at] for at in group] for group in groups([len(entry.ids) for entry in distinct], budget)]
    answers: dict[str, Score | ScorerError] = {}
    for batch, found in zip(batches, _run_all(scorer, batches), strict=True):
        answers.update(zip((entry.text for entry in batch), found, strict=True))
    return answers


def _run_all(scorer: Scorer, batches: Sequence[Sequence[Prepared]]) -> list[list[Score | ScorerError]]:
    """Run all batches, as many at once as the scorer has lanes; the longest first, so that no lane idles at the end."""
    lanes = min(scorer.lanes, len(batches))
    if lanes < 2:  # noqa: PLR2004 - one lane needs no threads
        return [run_group(scorer, batch) for batch in batches]
    with ThreadPoolExecutor(lanes, thread_name_prefix="scorer-lane") as threads:
        return list(threads.map(lambda batch: run_group(scorer, batch), reversed(batches)))[::-1]


def score_each(scorer: Scorer, texts: Sequence[str], budget: int | None = None) -> list[Answer]:
    """Return for each text its score or the error that stands in for it; `budget` None: the scorer's own."""
    prepared = scorer.prepare(texts)
    answers = run_distinct(
        scorer, [entry for entry in prepared if isinstance(entry, Prepared)], budget or scorer.batch_tokens
    )
    return [answers[entry.text] if isinstance(entry, Prepared) else entry for entry in prepared]


def all_scores(answers: Sequence[Answer]) -> list[Score]:
    """Return the answers as scores; raise the first that is an error."""
    for answer in answers:
        if not isinstance(answer, Score):
            raise answer
    return [answer for answer in answers if isinstance(answer, Score)]
