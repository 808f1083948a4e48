"""Figures of merit for classifiers, from true labels and probabilities: pure functions on numpy arrays.

Owns macro-F1, macro-recall, accuracy, confusion, calibration error, and what a threshold keeps. Does not own intervals
(`bootstrap`), agreement of people (`agreement`), reading files or printing (`evaluate`).

Shapes: `truth` (count) of class indices, `probabilities` (count, classes), `confusion` (classes, classes) with true
classes as rows, `weights` (count) how often each text counts (a bootstrap's resample; None: once). Figures are
fractions in 0..1. Classes without a true example are left out of macro means: no figure about them could be known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_BINS: Final = 15
_NEARLY: Final = 1e-9
"""So that 9 right of 10 reach a precision of 0.9 whatever the rounding."""


def confusion(truth: Ints, predicted: Ints, classes: int, weights: Ints | None = None) -> Ints:
    """Return the confusion matrix: rows are true classes, columns predicted ones."""
    cells = np.bincount(truth * classes + predicted, weights, classes * classes)
    return cells.astype(np.int64).reshape(classes, classes)


def recalls(table: Ints) -> Floats:
    """Return each class's recall; nan where the class has no true example."""
    totals = table.sum(axis=1)
    return np.where(totals > 0, np.diag(table) / np.maximum(totals, 1), np.nan)


def precisions(table: Ints) -> Floats:
    """Return each class's precision; 0 where the class was never predicted."""
    precision: Floats = np.diag(table) / np.maximum(table.sum(axis=0), 1)
    return precision


def f1_scores(table: Ints) -> Floats:
    """Return each class's F1; nan where the class has no true example."""
    totals = table.sum(axis=1)
    return np.where(totals > 0, 2 * np.diag(table) / np.maximum(totals + table.sum(axis=0), 1), np.nan)


def macro(values: Floats) -> float:
    """Return the mean over the classes that have true examples."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def accuracy(table: Ints) -> float:
    """Return the share of right answers."""
    return float(np.trace(table) / max(1, table.sum()))


def calibration_error(truth: Ints, probabilities: Floats, bins: int = _BINS, weights: Ints | None = None) -> float:
    """Return the expected calibration error: mean |confidence - accuracy| over equal-width bins of confidence."""
    counts = np.ones(len(truth), dtype=np.int64) if weights is None else weights
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, (right - confidence) * counts, bins)
    return float(np.abs(gaps).sum() / max(1, counts.sum()))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Texts by falling value (a confidence, or the probability of one class): what any threshold on it keeps.

    `hits` (count) says in that order which are right to keep; `ends` are the places where a threshold can cut: texts of
    one value are kept or left together.
    """

    order: Ints
    values: Floats
    hits: Bools
    ends: Ints

    @classmethod
    def of(cls, values: Floats, hits: Bools) -> Ranking:
        """Return the ranking of texts in any order."""
        order = np.argsort(-values, kind="stable")
        falling = values[order]
        ends = np.nonzero(np.append(falling[1:] != falling[:-1], True))[0] if len(order) else np.zeros(0, np.int64)
        return cls(order.astype(np.int64), falling, hits[order], ends)

    def kept(self, precision: float, weights: Ints | None = None) -> Kept:
        """Return what the lowest threshold keeps at which `precision` is reached; nothing where none reaches it.

        The recall is nan where there is no hit to find.
        """
        counts = np.ones(len(self.order), dtype=np.int64) if weights is None else weights[self.order]
        found, right = np.cumsum(counts)[self.ends], np.cumsum(counts * self.hits)[self.ends]
        good = np.nonzero((right >= precision * found - _NEARLY) & (found > 0))[0]
        hits = right[-1] if len(right) else 0
        if len(good) == 0:
            return Kept(0.0, 0.0 if hits else float("nan"), 1.0, float("nan"))
        at = good[-1]
        recall = right[at] / hits if hits else float("nan")
        return Kept(
            float(found[at] / found[-1]), float(recall), float(self.values[self.ends[at]]), float(right[at] / found[at])
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What lies on or above `threshold`: the share of all texts, the share of all hits, the precision reached."""

    share: float
    recall: float
    threshold: float
    precision: float


def by_confidence(truth: Ints, probabilities: Floats) -> Ranking:
    """Return the ranking by the probability of the answer, whose hits are right answers."""
    return Ranking.of(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth)


def by_class(truth: Ints, probabilities: Floats, wanted: int) -> Ranking:
    """Return the ranking by the probability of the class `wanted`, whose hits are the texts that truly have it."""
    return Ranking.of(probabilities[:, wanted], truth == wanted)


def coverage(truth: Ints, probabilities: Floats, precision: float) -> tuple[float, float]:
    """Return (share, threshold): how much can be kept so that what is kept reaches `precision`; (0, 1) if nothing."""
    kept = by_confidence(truth, probabilities).kept(precision)
    return kept.share, kept.threshold


def interval(
    truth: Ints, predicted: Ints, figure: Callable[[Ints, Ints], float], rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `figure(truth, predicted)`."""
    chance = np.random.default_rng(seed)
    picks = (chance.integers(0, len(truth), len(truth)) for _ in range(rounds))
    values = [figure(truth[pick], predicted[pick]) for pick in picks]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
