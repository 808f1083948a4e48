"""What people said of texts, for adapting the model: reading it, and one verdict per text where people differ.

Owns the line format and the majority. Does not own where labels are kept (the app's store), nor the fit (`adapt`).

A line is a JSON object with `text` and any of `sentiment`, `urgency` and `intent`: labels of `LABELS`, whatever their
case. Other fields are passed over, and so is a task whose value is empty or is an answer of `warroom score`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nlp.labelled import BadLabels
from nlp.scorer import LABELS
from nlp.tokens import clean


@dataclass(frozen=True, slots=True)
class Verdict:
    """A text and what one person, or people together, said of it: task -> label."""

    text: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Agreed:
    """One verdict per distinct text, for one task.

    `texts` and `labels` go together. `repeats` counts verdicts on a text that had one, `contradicted` texts on which
    people differed and the majority won, `tied` those on which no label had more than another: they are left out.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    repeats: int
    contradicted: int
    tied: int


def verdict(fields: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict in a row's fields, None where it has a label of no task; raise BadLabels."""
    text = fields.get("text")
    if not isinstance(text, str):
        raise BadLabels("no field `text` that holds a string")
    labels = {}
    for task, known in LABELS.items():
        value = fields.get(task)
        if value is None or isinstance(value, (dict, list)) or not str(value).strip():
            continue
        label = str(value).strip().casefold()
        if label not in known:
            raise BadLabels(f"{task}: {str(value)[:80]!r} is not one of {', '.join(known)}")
        labels[task] = label
    return Verdict(text, labels) if labels else None


def read_verdicts(lines: Iterable[str]) -> Iterator[Verdict]:
    """Yield the verdicts of JSON Lines; raise BadLabels, naming the line, for the first that is not one."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise BadLabels(f"not a JSON object but {type(fields).__name__}")
            found = verdict(fields)
        except ValueError as error:  # BadLabels is one
            raise BadLabels(f"line {number}: {error}") from error
        if found is not None:
            yield found


def agreed(verdicts: Iterable[Verdict], task: str) -> Agreed:
    """Return one label per text for `task`. Texts that the model reads as the same are the same text."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for one in verdicts:
        if task in one.labels:
            votes[clean(one.text)][one.labels[task]] += 1
    texts, labels, tied = [], [], 0
    for text, counts in votes.items():
        best = counts.most_common(2)
        if len(best) > 1 and best[0][1] == best[1][1]:
            tied += 1
            continue
        texts.append(text)
        labels.append(best[0][0])
    repeats = sum(counts.total() - 1 for counts in votes.values())
    contradicted = sum(len(counts) > 1 for counts in votes.values()) - tied
    return Agreed(tuple(texts), tuple(labels), repeats, contradicted, tied)
