"""`warroom model eval FILE --task ...`: how good a model is on labelled texts, per class and per language.

Owns setting answers beside the truth, and which figures are told of whom. Does not own the figures (`quality`), their
intervals (`bootstrap`), reading labels (`labelled`), the tables (`evaluation_report`) or the command line (the app's).

Several models are judged on the very same texts: those that each of them scored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from nlp import quality
from nlp.bootstrap import Figure, with_intervals
from nlp.grouping import Answer, score_each
from nlp.labelled import Labelled
from nlp.quality import Bools, Floats, Ints
from nlp.scorer import LABELS, SENTIMENT, URGENCY, Scorer, ScorerError
from streams.records import Score

PRECISION: Final = 0.9
CRITICAL: Final = "critical"
CRITICAL_PRECISION: Final = 0.7
EVERYTHING: Final = "all"
DOUBTED: Final = (SENTIMENT, URGENCY)
"""The tasks in which a model may mark its answer as uncertain."""
_CHUNK: Final = 4096
_LOSSES: Final = ("calibration_error",)


@dataclass(frozen=True, slots=True)
class Judged:
    """Truth and probabilities of the texts that got a score.

    `unscored` counts the others, `reasons` says why by count, `failed` counts those among them at which a model failed.
    `uncertain` (count) marks the answers in doubt; None where the task has no doubt.
    """

    labels: tuple[str, ...]
    truth: Ints
    probabilities: Floats
    langs: tuple[str, ...]
    unscored: int
    uncertain: Bools | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of one language, or of all.

    `threshold` is where `coverage` is reached, `critical_threshold` where `critical_recall` is; both are read off these
    very texts, so they flatter a little. `absent` are classes without a true text: the macro figures leave them out.
    """

    name: str
    count: int
    figures: Mapping[str, Figure]
    threshold: float
    critical_threshold: float | None
    absent: tuple[str, ...]


def judge(scorer: Scorer, examples: Iterable[Labelled], task: str) -> Judged:
    """Score the examples and set the answers beside the truth."""
    return judge_each([scorer], examples, task)[0]


def judge_each(scorers: Sequence[Scorer], examples: Iterable[Labelled], task: str) -> list[Judged]:
    """Judge every scorer on the examples that all of them scored; memory holds the figures and one chunk of texts."""
    labels, source = LABELS[task], iter(examples)
    truth: list[int] = []
    langs: list[str] = []
    rows: list[list[Floats]] = [[] for _ in scorers]
    doubts: list[list[bool]] = [[] for _ in scorers]
    reasons: Counter[str] = Counter()
    failed = 0
    while chunk := list(islice(source, _CHUNK)):
        answers = [score_each(scorer, [example.text for example in chunk]) for scorer in scorers]
        for example, given in zip(chunk, zip(*answers, strict=True), strict=True):
            if faults := [answer for answer in given if not isinstance(answer, Score)]:
                reasons[str(faults[0])] += 1
                failed += any(isinstance(fault, ScorerError) for fault in faults)
                continue
            truth.append(labels.index(example.label))
            langs.append(example.lang)
            for at, answer in enumerate(given):
                rows[at].append(_row(answer, task, labels))
                doubts[at].append(isinstance(answer, Score) and task in answer.uncertain)
    return [
        Judged(
            labels,
            np.array(truth, dtype=np.int64),
            np.array(rows[at], dtype=np.float64).reshape(-1, len(labels)),
            tuple(langs),
            reasons.total(),
            np.array(doubts[at], dtype=np.bool_) if task in DOUBTED else None,
            dict(reasons),
            failed,
        )
        for at in range(len(scorers))
    ]


def _row(answer: Answer, task: str, labels: Sequence[str]) -> Floats:
    opinion = getattr(answer, task)
    return np.array([opinion.probabilities[label] for label in labels])


def _measure(judged: Judged, picked: Ints, precision: float) -> Callable[[Ints], dict[str, float]]:
    """Return the function from weights of the picked texts to their figures; what can be is done once, here."""
    truth, values = judged.truth[picked], judged.probabilities[picked]
    predicted = values.argmax(axis=1).astype(np.int64)
    classes = len(judged.labels)
    confidence = quality.by_confidence(truth, values)
    critical = _critical(judged, picked)
    doubt = None if judged.uncertain is None else judged.uncertain[picked]

    def figures(weights: Ints) -> dict[str, float]:
        table = quality.confusion(truth, predicted, classes, weights)
        found = {
            "macro_f1": quality.macro(quality.f1_scores(table)),
            "macro_recall": quality.macro(quality.recalls(table)),
            "accuracy": quality.accuracy(table),
            "calibration_error": quality.calibration_error(truth, values, weights=weights),
            "coverage": confidence.kept(precision, weights).share,
        }
        if doubt is not None:
            sure = weights * ~doubt
            right = float((sure * (predicted == truth)).sum())
            found["uncertain"] = 1 - float(sure.sum() / max(1, weights.sum()))
            found["certain_precision"] = right / float(sure.sum()) if sure.any() else np.nan
        if critical is not None:
            found["critical_recall"] = critical.kept(CRITICAL_PRECISION, weights).recall
        return found

    return figures


def _critical(judged: Judged, picked: Ints) -> quality.Ranking | None:
    """Return the ranking by the probability of `critical`; None without the class or without a true text of it."""
    if CRITICAL not in judged.labels:
        return None
    at = judged.labels.index(CRITICAL)
    truth = judged.truth[picked]
    return quality.by_class(truth, judged.probabilities[picked], at) if (truth == at).any() else None


def group(judged: Judged, name: str, picked: Ints, precision: float = PRECISION) -> Group:
    """Return the figures of the picked texts, of which there is at least one."""
    critical = _critical(judged, picked)
    present = set(judged.truth[picked].tolist())
    return Group(
        name,
        len(picked),
        with_intervals(_measure(judged, picked, precision), len(picked), biased=_LOSSES),
        quality.by_confidence(judged.truth[picked], judged.probabilities[picked]).kept(precision).threshold,
        None if critical is None else critical.kept(CRITICAL_PRECISION).threshold,
        tuple(label for at, label in enumerate(judged.labels) if at not in present),
    )


def selections(judged: Judged) -> dict[str, Ints]:
    """Return the indices of all texts, then of each language, by name."""
    of_each: dict[str, list[int]] = defaultdict(list)
    for at, lang in enumerate(judged.langs):
        of_each[lang].append(at)
    picks = {lang: np.array(rows, dtype=np.int64) for lang, rows in sorted(of_each.items())}
    return {EVERYTHING: np.arange(len(judged.truth)), **picks}


def differences(judged: Judged, against: Judged, picked: Ints, precision: float = PRECISION) -> dict[str, Figure]:
    """Return each figure of `judged` minus that of `against` on the same texts, with the paired interval."""
    first, second = _measure(judged, picked, precision), _measure(against, picked, precision)

    def figures(weights: Ints) -> dict[str, float]:
        minuends, subtrahends = first(weights), second(weights)
        return {name: value - subtrahends[name] for name, value in minuends.items()}

    return with_intervals(figures, len(picked))
