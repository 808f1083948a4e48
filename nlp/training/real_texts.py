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
from nlp.training.corpora import Corpus, Example, held_out

FILE: Final = Path(__file__).parent / "data" / "real_labels.tsv"
PRECEDENCE: Final = ("distress", "complaint", "idea", "purchase", "question", "praise", "other")
_TASKS: Final = (URGENCY, INTENT, SENTIMENT)
_DEV_SHARE: Final = 0.3


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
    """Return one corpus `real-<lang>` per language, labelled for all tasks; 30 % of the texts are held out.

    The held-out ones carry no sentiment: the public sets teach it with these very texts. Rows whose text is not the one
    that was labelled (another release of the set) are left out.
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
        corpus = corpora.setdefault(f"real-{labelled.lang}", Corpus(f"real-{labelled.lang}", 0.1))
        labels = {task: LABELS[task].index(label) for task, label in labelled.decided.items()}
        if held_out(text, _DEV_SHARE):
            del labels[SENTIMENT]
            corpus.dev.append(Example(text, labels, labelled.lang))
        else:
            corpus.train.append(Example(text, labels, labelled.lang))
    return [corpora[name] for name in sorted(corpora)]
