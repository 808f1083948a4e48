"""`warroom model eval FILE --task ...`: how good the model is on labelled texts, per class and per language.

Owns reading labelled lines and the table. Does not own the figures (`quality`) or the command line (the app's).

FILE is JSON Lines with `text`, the task's label under the task's name or under `label`, and optionally `lang`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from nlp import quality
from nlp.grouping import score_each
from nlp.scorer import LABELS, Scorer
from streams.records import Score

UNKNOWN_LANGUAGE: Final = "unknown"
_EVERYTHING: Final = "all"
_PRECISION: Final = 0.9


class BadLabelledLine(ValueError):
    """A line of the file cannot be used; the message names the line, the fault and the labels that would do."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled text."""

    text: str
    label: str
    lang: str


@dataclass(frozen=True, slots=True)
class Judged:
    """Truth and probabilities of the texts that got a score; `unscored` counts the others."""

    labels: tuple[str, ...]
    truth: quality.Ints
    probabilities: quality.Floats
    langs: tuple[str, ...]
    unscored: int


def read_labelled(lines: Iterable[str], task: str) -> Iterator[Labelled]:
    """Yield the labelled texts of `lines`; raise BadLabelledLine for the first that is not one."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text, label = row["text"], row[task] if task in row else row["label"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadLabelledLine(f"line {number}: {error!r}; wanted an object with `text` and `{task}`") from error
        if label not in LABELS[task] or not isinstance(text, str):
            raise BadLabelledLine(f"line {number}: {label!r} is not one of {', '.join(LABELS[task])}")
        yield Labelled(text, label, str(row.get("lang") or UNKNOWN_LANGUAGE))


def judge(scorer: Scorer, examples: list[Labelled], task: str) -> Judged:
    """Score the examples and set the answers beside the truth."""
    labels = LABELS[task]
    answers = score_each(scorer, [example.text for example in examples])
    pairs = [(example, answer) for example, answer in zip(examples, answers, strict=True) if isinstance(answer, Score)]
    rows = [[getattr(answer, task).probabilities[label] for label in labels] for _, answer in pairs]
    return Judged(
        labels,
        np.array([labels.index(example.label) for example, _ in pairs], dtype=np.int64),
        np.array(rows, dtype=np.float64).reshape(-1, len(labels)),
        tuple(example.lang for example, _ in pairs),
        len(examples) - len(pairs),
    )


def _macro_f1(classes: int) -> Callable[[quality.Ints, quality.Ints], float]:
    return lambda truth, predicted: quality.macro(quality.f1_scores(quality.confusion(truth, predicted, classes)))


def _row(name: str, judged: Judged, picked: quality.Ints) -> str:
    truth, values = judged.truth[picked], judged.probabilities[picked]
    predicted = values.argmax(axis=1)
    table = quality.confusion(truth, predicted, len(judged.labels))
    low, high = quality.interval(truth, predicted, _macro_f1(len(judged.labels)))
    kept, _ = quality.coverage(truth, values, _PRECISION)
    figures = [
        f"{quality.macro(quality.f1_scores(table)):.3f} ({low:.3f} to {high:.3f})",
        f"{quality.macro(quality.recalls(table)):.3f}",
        f"{quality.accuracy(table):.3f}",
        f"{quality.calibration_error(truth, values):.3f}",
        f"{kept:.2f}",
    ]
    return f"| {name} | {len(truth)} | " + " | ".join(figures) + " |"


def _class_rows(judged: Judged) -> list[str]:
    table = quality.confusion(judged.truth, judged.probabilities.argmax(axis=1), len(judged.labels))
    precision, recall, f1 = quality.precisions(table), quality.recalls(table), quality.f1_scores(table)
    lines = [f"| true class | precision | recall | F1 | {' | '.join(judged.labels)} |", "|---" * (4 + len(table)) + "|"]
    for at, label in enumerate(judged.labels):
        counts = " | ".join(str(count) for count in table[at])
        lines.append(f"| {label} | {precision[at]:.3f} | {recall[at]:.3f} | {f1[at]:.3f} | {counts} |")
    return lines


def report(judged: Judged) -> str:
    """Return the tables in Markdown: one row for all, one per language, then per class with the confusion."""
    if len(judged.truth) == 0:
        return "nothing was scored\n"
    langs = np.array(judged.langs)
    lines = [
        f"| texts | count | macro-F1 (95 %) | macro-recall | accuracy | ECE | share kept at {_PRECISION} precision |",
        "|---" * 7 + "|",
        _row(_EVERYTHING, judged, np.arange(len(judged.truth))),
        *(_row(lang, judged, np.nonzero(langs == lang)[0]) for lang in sorted(set(judged.langs))),
        "",
        *_class_rows(judged),
        "",
    ]
    if judged.unscored:
        lines.append(f"{judged.unscored} texts got no score and are not in these figures.\n")
    return "\n".join(lines)
