"""From a model's output arrays to `Score` records, with the check that they are probabilities at all.

Owns rounding, the sum of one and the embedding's encoding. Does not own running the model, nor calibration and doubt
(`calibration`), which it applies between the check and the rounding.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nlp.calibration import DOUBTED, Calibrator, Doubted, always_doubted, family_indices
from nlp.logistic import Floats
from nlp.scorer import INTENT, LABELS, SENTIMENT, URGENCY, ScorerError
from streams.records import Opinion, Score

_DIGITS: Final = 6
_SUM_TOLERANCE: Final = 0.01

Array = NDArray[np.floating[Any]]


def distributions(labels: Sequence[str], probabilities: Array) -> Floats:
    """Return `probabilities` (count, labels), each row summing to 1; raise ScorerError if one is not a distribution."""
    values = probabilities.astype(np.float64)
    if values.shape[1:] != (len(labels),):
        raise ScorerError(f"the model gave an array of shape {values.shape} for {len(labels)} labels")
    sums = values.sum(axis=1)
    if not (np.isfinite(values).all() and (values >= 0).all() and (np.abs(sums - 1) < _SUM_TOLERANCE).all()):
        raise ScorerError("the model gave something that is not a probability distribution")
    scaled: Floats = values / sums[:, None]
    return scaled


def opinions(labels: Sequence[str], probabilities: Array) -> list[Opinion]:
    """Return one Opinion per row of `probabilities` (count, labels); raise ScorerError if a row is not a distribution.

    Probabilities are rounded to six digits and the rest goes to the largest, so that they sum to 1.
    """
    rounded = np.round(distributions(labels, probabilities), _DIGITS)
    largest = (np.arange(len(rounded)), rounded.argmax(axis=1))
    rounded[largest] = np.round(rounded[largest] + 1 - rounded.sum(axis=1), _DIGITS)
    return [
        Opinion(label=labels[winner], probabilities=dict(zip(labels, row, strict=True)))
        for winner, row in zip(rounded.argmax(axis=1), rounded.tolist(), strict=True)
    ]


def embeddings(vectors: Array | None, count: int) -> list[str | None]:
    """Return each row of `vectors` (count, size) as base64 of float16, scaled to unit length; None without vectors."""
    if vectors is None:
        return [None] * count
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ScorerError("the model gave an embedding without a direction")
    halves = (vectors / lengths).astype("<f2")
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in halves]


def calibrated(
    outputs: Mapping[str, Array],
    tasks: Mapping[str, Sequence[str]],
    vectors: Array | None,
    texts: Sequence[str],
    calibrator: Calibrator,
) -> tuple[dict[str, Floats], list[tuple[Doubted, ...]]]:
    """Return the probabilities per task after adapter and calibration, and each row's uncertain tasks."""
    families = family_indices(texts)
    found = {
        task: calibrator.probabilities(task, distributions(tasks[task], outputs[task]), vectors, families)
        for task in LABELS
    }
    return found, calibrator.uncertain(found, families)


def scores(
    outputs: Mapping[str, Array],
    tasks: Mapping[str, Sequence[str]],
    vectors: Array | None,
    model: tuple[str, str],
    *,
    texts: Sequence[str] = (),
    calibrator: Calibrator | None = None,
) -> list[Score]:
    """Return one Score per row; `outputs` holds probabilities per task, `model` is (id, revision).

    With a `calibrator` the cleaned `texts` tell each row's family. Doubt under even odds needs none.
    """
    doubts: Sequence[tuple[Doubted, ...]] = [()] * len(outputs[SENTIMENT])
    if calibrator is not None and not calibrator.idle:
        outputs, doubts = calibrated(outputs, tasks, vectors, texts, calibrator)
    found = {task: opinions(tasks[task], outputs[task]) for task in (SENTIMENT, URGENCY, INTENT)}
    rows = zip(found[SENTIMENT], found[URGENCY], found[INTENT], embeddings(vectors, len(doubts)), doubts, strict=True)
    return [
        Score(
            sentiment=sentiment,
            urgency=urgency,
            intent=intent,
            model_id=model[0],
            model_revision=model[1],
            embedding=embedding,
            uncertain=tuple(task for task in DOUBTED if task in always or task in doubt),
        )
        for sentiment, urgency, intent, embedding, doubt in rows
        for always in [always_doubted(sentiment, urgency, intent)]
    ]
