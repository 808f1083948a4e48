"""Urgency and intent of real posts: our labels of rows of the public sets, without their texts.

Owns `data/real_labels.tsv` and how two annotators' answers become one. Does not own the texts: they are read from the
folder of the public sets and recognised by their checksum.

Columns: file, row (1 is the first after the header), sha256 (first 16 hex digits of the UTF-8 text), lang, and
urgency, intent, sentiment of annotator 1 and of annotator 2. Where they differ, `docs/model-card.md`'s guide decides:
of two urgencies the lower one, save between critical and high; of two intents the earlier in the order of precedence;
of two sentiments neutral.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from nlp.scorer import INTENT, LABELS, SENTIMENT, URGENCY
from nlp.training.copies import copies
from nlp.training.corpora import Corpus, Example, held_out, plain_words

FILE: Final = Path(__file__).parent / "data" / "real_labels.tsv"
PRECEDENCE: Final = ("distress", "complaint", "idea", "purchase", "question", "praise", "other")
_TASKS: Final = (URGENCY, INTENT, SENTIMENT)
_DEV_SHARE: Final = 0.3
_OWN_SENTIMENT: Final = ("xlm_t/", "semeval2017_en/", "hebrew_sentiment/", "persian_deepsentipers/")
"""Sets that label sentiment themselves, by habits of their own: ours would contradict what they are judged by."""


@dataclass(frozen=True, slots=True)
class RealLabels:
    """One row of a public set with both annotators' labels per task."""

    file: str
    row: int
    sha256: str
    lang: str
    first: dict[str, str]
    second: dict[str, str]

    @property
    def decided(self) -> dict[str, str]:
        """The label of each task that the guide gives for the two answers."""
        return {task: decide(task, self.first[task], self.second[task]) for task in _TASKS}


def decide(task: str, one: str, other: str) -> str:
    """Return the label for two annotators' answers to one task."""
    if one == other:
        return one
    if task == INTENT:
        return min(one, other, key=PRECEDENCE.index)
    if task == SENTIMENT:
        return "neutral"
    if {one, other} == {"high", "critical"}:
        return "critical"
    return min(one, other, key=LABELS[URGENCY].index)


def read(path: Path = FILE) -> list[RealLabels]:
    """Return the rows of the file; ValueError names the first line with a label that does not exist."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(_parsed(csv.DictReader(stream, delimiter="\t")))


def _parsed(rows: Iterator[dict[str, str]]) -> Iterator[RealLabels]:
    for number, row in enumerate(rows, start=2):
        first, second = ({task: row[f"{task}_{who}"] for task in _TASKS} for who in (1, 2))
        for task, label in [*first.items(), *second.items()]:
            if label not in LABELS[task]:
                raise ValueError(f"line {number}: {label!r} is not one of {', '.join(LABELS[task])}")
        yield RealLabels(row["file"], int(row["row"]), row["sha256"], row["lang"], first, second)


def real_corpora(folder: Path, path: Path = FILE) -> list[Corpus]:
    """Return two corpora per language: `real-<lang>` with urgency and intent, `real-mood-<lang>` with sentiment too.

    The second has the posts of sets that do not label sentiment themselves. 30 % of all posts are held out, in the
    first, for urgency and intent alone, but for near copies of what is not (shares, agencies). Rows whose text is not
    the one that was labelled (another release of the set) are left out.
    """
    texts: dict[str, list[str]] = {}
    corpora: dict[str, Corpus] = {}
    for labelled in read(path):
        if labelled.file not in texts:
            lines = (folder / labelled.file).read_text(encoding="utf-8").split("\n")
            texts[labelled.file] = [line.split("\t")[0] for line in lines]
        rows = texts[labelled.file]
        text = rows[labelled.row] if labelled.row < len(rows) else ""
        if sha256(text.encode()).hexdigest()[:16] != labelled.sha256:
            continue
        aside = held_out(text, _DEV_SHARE)
        labels = {task: LABELS[task].index(label) for task, label in labelled.decided.items()}
        mood = not aside and not labelled.file.startswith(_OWN_SENTIMENT)
        if not mood:
            del labels[SENTIMENT]
        name = f"real-mood-{labelled.lang}" if mood else f"real-{labelled.lang}"
        corpus = corpora.setdefault(name, Corpus(name, 0.1))
        (corpus.dev if aside else corpus.train).append(Example(text, labels, labelled.lang))
    _part(list(corpora.values()))
    return [corpora[name] for name in sorted(corpora)]


def _part(corpora: list[Corpus]) -> None:
    """Take near copies of any training text out of the held-out parts."""
    train = [_bag(example) for corpus in corpora for example in corpus.train]
    for corpus in corpora:
        known = copies([_bag(example) for example in corpus.dev], train)
        corpus.dev = [example for at, example in enumerate(corpus.dev) if at not in known]


def _bag(example: Example) -> frozenset[str]:
    return frozenset(plain_words(example.text).split()) - {"rt"}
