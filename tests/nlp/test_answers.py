from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.answers import embeddings, opinions, scores
from nlp.calibration import Calibrator, Correction, Threshold
from nlp.families import EVERY
from nlp.scorer import LABELS, ScorerError


@given(st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=3))
def test_probabilities_sum_to_one(raw: list[float]) -> None:
    values = np.array([raw]) / sum(raw)
    (opinion,) = opinions(("a", "b", "c"), values.astype(np.float32))
    assert math.isclose(sum(opinion.probabilities.values()), 1, abs_tol=1e-9)
    assert min(opinion.probabilities.values()) >= 0
    assert opinion.probabilities[opinion.label] == max(opinion.probabilities.values())


@pytest.mark.parametrize(
    "row", [[np.nan, 0.5, 0.5], [np.inf, 0, 0], [0.2, 0.2, 0.2], [-0.5, 0.5, 1.0], [0.0, 0.0, 0.0]]
)
def test_what_is_no_distribution_is_an_error_and_never_a_label(row: list[float]) -> None:
    with pytest.raises(ScorerError, match="not a probability distribution"):
        opinions(("a", "b", "c"), np.array([[0.2, 0.3, 0.5], row]))


def test_a_wrong_width_is_an_error() -> None:
    with pytest.raises(ScorerError, match="3 labels"):
        opinions(("a", "b", "c"), np.array([[0.5, 0.5]]))


def test_an_embedding_without_direction_is_an_error() -> None:
    assert embeddings(None, 2) == [None, None]
    for bad in (0.0, np.nan):
        with pytest.raises(ScorerError):
            embeddings(np.full((1, 4), bad), 1)


def test_answers_are_checked_before_they_are_calibrated() -> None:
    calibrator = Calibrator(LABELS, {task: {EVERY: Correction(temperature=2)} for task in LABELS}, {})
    outputs = {task: np.full((1, len(labels)), 1 / len(labels)) for task, labels in LABELS.items()}
    outputs["urgency"] = np.array([[-0.5, 0.5, 0.5, 0.5]])
    with pytest.raises(ScorerError, match="not a probability distribution"):
        scores(outputs, LABELS, None, ("m", "1"), texts=["text"], calibrator=calibrator)


def test_calibrated_scores_are_distributions_and_name_their_doubts() -> None:
    limit = Threshold(least=0.6, stated=0.8, precision=None, coverage=0, texts=1)
    corrections = {task: {EVERY: Correction(temperature=2)} for task in LABELS}
    calibrator = Calibrator(LABELS, corrections, {"sentiment": {"hebrew": limit}, "urgency": {"english": limit}})
    outputs = {
        task: np.tile([0.7] + [0.3 / (len(labels) - 1)] * (len(labels) - 1), (2, 1)) for task, labels in LABELS.items()
    }
    found = scores(outputs, LABELS, None, ("m", "1"), texts=["שלום", "the end"], calibrator=calibrator)
    assert [score.uncertain for score in found] == [("sentiment",), ("urgency",)]
    for score in found:
        assert math.isclose(sum(score.intent.probabilities.values()), 1, abs_tol=1e-9)
        assert score.sentiment.probabilities["negative"] == pytest.approx(
            0.7**0.5 / (0.7**0.5 + 2 * 0.15**0.5), abs=1e-5
        )


def test_without_a_calibrator_nothing_is_uncertain_and_nothing_changes() -> None:
    outputs = {task: np.tile([1.0] + [0.0] * (len(labels) - 1), (1, 1)) for task, labels in LABELS.items()}
    (plain,) = scores(outputs, LABELS, None, ("m", "1"))
    (idle,) = scores(outputs, LABELS, None, ("m", "1"), texts=["a"], calibrator=Calibrator(LABELS, {}, {}))
    assert plain == idle
    assert plain.uncertain == ()
    assert plain.sentiment.probabilities["negative"] == 1
