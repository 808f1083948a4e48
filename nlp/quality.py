"""Figures of merit for classifiers, from true labels and probabilities: pure functions on numpy arrays.

Owns macro-F1, macro-recall, accuracy, confusion, calibration error, coverage and bootstrap intervals. Does not own
reading files or printing (`evaluate`).

Shapes: `truth` (count) of class indices, `probabilities` (count, classes), `confusion` (classes, classes) with true
classes as rows. Figures are fractions in 0..1. Classes without a true example are left out of macro means, because no
figure about them could be known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_BINS: Final = 15


def confusion(truth: Ints, predicted: Ints, classes: int) -> Ints:
    """Return the confusion matrix: rows are true classes, columns predicted ones."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (truth, predicted), 1)
    return table


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


def calibration_error(truth: Ints, probabilities: Floats, bins: int = _BINS) -> float:
    """Return the expected calibration error: mean |confidence - accuracy| over equal-width bins of confidence."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    weights = np.bincount(bin_of, minlength=bins)
    gaps = np.abs(np.bincount(bin_of, right, bins) - np.bincount(bin_of, confidence, bins))
    return float(gaps.sum() / max(1, weights.sum()))


def coverage(truth: Ints, probabilities: Floats, precision: float) -> tuple[float, float]:
    """Return (share, threshold): how much can be kept so that what is kept reaches `precision`; (0, 1) if nothing."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum((probabilities.argmax(axis=1) == truth)[order]) / np.arange(1, len(order) + 1)
    good = np.nonzero(right >= precision)[0]
    if len(good) == 0:
        return 0.0, 1.0
    return float((good[-1] + 1) / len(order)), float(confidence[order[good[-1]]])


def interval(
    truth: Ints, predicted: Ints, figure: Callable[[Ints, Ints], float], rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `figure(truth, predicted)`."""
    chance = np.random.default_rng(seed)
    picks = (chance.integers(0, len(truth), len(truth)) for _ in range(rounds))
    values = [figure(truth[pick], predicted[pick]) for pick in picks]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
