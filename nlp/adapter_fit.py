"""Fitting the adapter of one task: the smallest shift of the model's logits that people's labels ask for.

Owns the penalised fit, the choice of its strength, and cross-fitting. Does not own reading labels (`verdicts`), files
or figures (`adapt`).

With z the logits before the shift, e the unit embedding and T, c the calibration that holds already, it minimises the
log loss of softmax((z + U e + b) / T + c) plus `strength` times half the square of U and of b. The bias is no cheaper
than a weight: it learns the shares of the labels, and people seldom label a fair sample. The strength is chosen by
cross-validation, and "no change" is among the choices: labels that teach nothing change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nlp.calibration import Corrections, Shift, corrected, family_slopes
from nlp.calibration_fit import FOLDS, Bools
from nlp.logistic import Floats, Ints, losses, minimise, softmax

STRENGTHS: Final = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
"""From hardly any change to much; beyond the last the labels would be learned by heart."""
_ROUNDS: Final = 60
_TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Lesson:
    """Texts of one task with people's labels, through the old model.

    `logits` (count, classes) before any new shift, unit `vectors` (count, size), `truth`, `families` and `folds`
    (count); `corrections` is the old calibration.
    """

    logits: Floats
    vectors: Floats
    truth: Ints
    families: Ints
    folds: Ints
    corrections: Corrections

    def picked(self, rows: Bools) -> Lesson:
        """Return the rows where the mask is true."""
        return Lesson(
            self.logits[rows],
            self.vectors[rows],
            self.truth[rows],
            self.families[rows],
            self.folds[rows],
            self.corrections,
        )

    def shifted(self, shift: Shift | None) -> Floats:
        """Return the logits after `shift`."""
        return self.logits if shift is None else self.logits + self.vectors @ shift.weights.T + shift.bias


def fit(lesson: Lesson, strength: float, start: Shift | None = None) -> Shift:
    """Return the shift with the least penalised loss on all texts of the lesson; one near `start` is found sooner."""
    classes, size = lesson.logits.shape[1], lesson.vectors.shape[1]
    slopes, biases = family_slopes(lesson.corrections, lesson.families, classes)
    scaled, rows = lesson.logits * slopes + biases, np.arange(len(lesson.truth))
    inputs = np.column_stack([lesson.vectors, np.ones(len(rows))])  # unit vectors: the bias is a weight like the others

    def objective(point: Floats) -> tuple[float, Floats]:
        weights = point.reshape(classes, size + 1)
        found = softmax(scaled + (inputs @ weights.T) * slopes)
        loss = float(losses(found, lesson.truth).sum() + strength * (point @ point) / 2)
        found[rows, lesson.truth] -= 1
        gradient: Floats = ((found * slopes).T @ inputs).ravel() + strength * point
        return loss, gradient

    near = start or Shift(np.zeros((classes, size)), np.zeros(classes))
    first = np.column_stack([near.weights, near.bias]).ravel()
    weights = minimise(objective, first, rounds=_ROUNDS, tolerance=_TOLERANCE).reshape(classes, size + 1)
    return Shift(weights[:, :-1], weights[:, -1])


def _losses(lesson: Lesson, shift: Shift | None) -> Floats:
    return losses(corrected(lesson.shifted(shift), lesson.families, lesson.corrections), lesson.truth)


def choose(lesson: Lesson, strengths: Sequence[float] = STRENGTHS) -> float | None:
    """Return the strength to fit with, or None for no change; `strengths` fall.

    It is the least change whose loss, on folds that had no part in the fit, is within a standard error of the best one:
    a few hundred labels make many strengths look alike, and then the smaller change does less harm.
    """
    unseen: dict[float | None, Floats] = {at: np.zeros(len(lesson.truth)) for at in (None, *strengths)}
    for fold in sorted(set(lesson.folds.tolist())):
        rows = lesson.folds == fold
        if rows.all():
            return None
        part, rest = lesson.picked(rows), lesson.picked(~rows)
        unseen[None][rows] = _losses(part, None)
        shift = None
        for strength in strengths:
            shift = fit(rest, strength, shift)
            unseen[strength][rows] = _losses(part, shift)
    best = min(unseen.values(), key=lambda lost: float(lost.mean()))
    worse = {strength: lost - best for strength, lost in unseen.items()}
    return next(at for at, gap in worse.items() if gap.mean() <= gap.std() / len(gap) ** 0.5)


def learned(lesson: Lesson) -> Shift | None:
    """Return the shift that the lesson teaches, None if it teaches none."""
    strength = choose(lesson)
    return None if strength is None else fit(lesson, strength)


def cross_fitted(lesson: Lesson) -> Floats:
    """Return each text's logits after the shift that the other folds teach, the choice of strength included."""
    found = lesson.logits.copy()
    for fold in range(FOLDS):
        rows = lesson.folds == fold
        if rows.any() and not rows.all():
            found[rows] = lesson.picked(rows).shifted(learned(lesson.picked(~rows)))
    return found
