"""Second opinions on the sentiment of public training texts: what other annotators say beside the set's own label.

Owns `data/second_opinions.tsv` and how answers become a distribution. Does not own the texts, which are recognised by
their checksum, nor how much an opinion counts (`train`).

The public sets have one label a text, and the same text is often labelled otherwise by the next reader: a network that
must believe every label learns the noise. Columns: file, row (1 is the first after the header), sha256 (first 16 hex
digits of the UTF-8 text), first, second: two annotators' answers, one label where the annotator was sure, two with a
space between, the likelier first, where not, empty where the text was not judged. Annotators are language models. Each
saw 30 to 90 labelled texts of a set; no text that stands among those is in the file, nor a held-out one. `fast` learns
them from its teacher alone.

Every set has habits of its own (what it calls neutral), so an answer is not taken at its word: it counts as the
distribution of the set's labels over all texts that got this answer, its own label among them.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from nlp.scorer import LABELS, SENTIMENT
from nlp.training.corpora import Corpus, Example

FILE: Final = Path(__file__).parent / "data" / "second_opinions.tsv"
_ANNOTATORS: Final = ("first", "second")
_Tables = dict[tuple[int, str], Counter[int]]


@dataclass(frozen=True, slots=True)
class Opinion:
    """One row of a public set with each annotator's answer, empty where there is none."""

    file: str
    row: int
    sha256: str
    answers: tuple[str, ...]


def read(path: Path = FILE) -> list[Opinion]:
    """Return the rows of the file; ValueError names the first line with a label that does not exist."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(_parsed(csv.DictReader(stream, delimiter="\t")))


def _parsed(rows: Iterator[dict[str, str]]) -> Iterator[Opinion]:
    labels = LABELS[SENTIMENT]
    for number, row in enumerate(rows, start=2):
        answers = tuple(row[who] for who in _ANNOTATORS)
        for answer in answers:
            said = answer.split()
            if len(set(said)) != len(said) or len(said) > 2 or not set(said) <= set(labels):
                raise ValueError(f"line {number}: {answer!r} is not one or two of {', '.join(labels)}")
        yield Opinion(row["file"], int(row["row"]), row["sha256"], answers)


def with_opinions(corpora: Iterable[Corpus], opinions: Iterable[Opinion]) -> list[Corpus]:
    """Return the corpora; each training text that was judged carries its opinion now. Held-out texts never do."""
    known = {opinion.sha256: opinion.answers for opinion in opinions}
    found = list(corpora)
    for corpus in found:
        answered = [_answers(example, known) for example in corpus.train]
        tables = _tables(corpus.train, answered)
        corpus.train = [
            replace(example, opinion=_distribution(answers, tables)) if answers else example
            for example, answers in zip(corpus.train, answered, strict=True)
        ]
    return found


def _answers(example: Example, known: dict[str, tuple[str, ...]]) -> list[tuple[int, str]]:
    """Return (annotator, answer) of each that judged the text."""
    if SENTIMENT not in example.labels:
        return []
    answers = known.get(sha256(example.text.encode("utf-8", "replace")).hexdigest()[:16], ())
    return [(who, answer) for who, answer in enumerate(answers) if answer]


def _tables(examples: Iterable[Example], answered: Iterable[list[tuple[int, str]]]) -> _Tables:
    """Return how often each annotator's answer stands beside each of the set's own labels."""
    tables: _Tables = {}
    for example, answers in zip(examples, answered, strict=True):
        for answer in answers:
            tables.setdefault(answer, Counter())[example.labels[SENTIMENT]] += 1
    return tables


def _distribution(answers: list[tuple[int, str]], tables: _Tables) -> tuple[float, ...]:
    """Return the mean of what the answers mean in this set: one more of each label than seen, so that none is 0."""
    classes = range(len(LABELS[SENTIMENT]))
    rows = [
        [(tables[answer][at] + 1) / (tables[answer].total() + len(classes)) for at in classes] for answer in answers
    ]
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
