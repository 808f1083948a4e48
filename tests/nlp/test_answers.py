from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.answers import embeddings, opinions, scores
from nlp.calibration import Calibrator, Correction, Threshold, replaced
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
        task: np.tile([0.8] + [0.2 / (len(labels) - 1)] * (len(labels) - 1), (2, 1)) for task, labels in LABELS.items()
    }
    found = scores(outputs, LABELS, None, ("m", "1"), texts=["שלום", "the end"], calibrator=calibrator)
    assert [score.uncertain for score in found] == [("sentiment",), ("urgency",)]
    for score in found:
        assert math.isclose(sum(score.intent.probabilities.values()), 1, abs_tol=1e-9)
        assert score.sentiment.probabilities["negative"] == pytest.approx(
            0.8**0.5 / (0.8**0.5 + 2 * 0.1**0.5), abs=1e-5
        )


def told(**best: tuple[str, float]) -> dict[str, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """One row for each task: the probability of one label, the rest shared by the others."""
    outputs = {}
    for task, labels in LABELS.items():
        label, value = best.get(task, (labels[0], 0.9))
        outputs[task] = np.array([[value if name == label else (1 - value) / (len(labels) - 1) for name in labels]])
    return outputs


LOOSE = Calibrator(
    LABELS,
    {},
    {
        task: {EVERY: Threshold(least=0, stated=0.8, precision=1, coverage=1, texts=9)}
        for task in ("sentiment", "urgency")
    },
)


@pytest.mark.parametrize("calibrator", [None, LOOSE, Calibrator(LABELS, {}, {})])
@pytest.mark.parametrize(
    ("best", "doubts"),
    [
        ({}, ()),
        ({"sentiment": ("neutral", 0.499)}, ("sentiment",)),
        ({"sentiment": ("neutral", 0.501), "urgency": ("high", 0.501)}, ()),
        ({"urgency": ("critical", 0.49), "sentiment": ("negative", 0.4)}, ("sentiment", "urgency")),
        ({"urgency": ("low", 0.95), "intent": ("distress", 0.9)}, ("urgency",)),
        ({"urgency": ("normal", 0.95), "intent": ("distress", 0.3)}, ("urgency",)),
        ({"urgency": ("high", 0.95), "intent": ("distress", 0.9)}, ()),
        ({"urgency": ("normal", 0.95), "intent": ("complaint", 0.3)}, ()),
    ],
)
def test_answers_under_even_odds_and_calm_distress_are_uncertain_whatever_the_threshold(
    calibrator: Calibrator | None, best: dict[str, tuple[str, float]], doubts: tuple[str, ...]
) -> None:
    (score,) = scores(told(**best), LABELS, None, ("m", "1"), texts=["the end"], calibrator=calibrator)
    assert score.uncertain == doubts


def test_another_models_answer_is_doubted_under_even_odds_alone() -> None:
    outputs = told(sentiment=("negative", 0.6), urgency=("low", 0.9), intent=("distress", 0.9))
    (score,) = scores(outputs, LABELS, None, ("m", "1"))
    sure, unsure = (opinions(LABELS["sentiment"], np.array([[1 - 2 * p, p, p]]))[0] for p in (0.1, 0.3))
    marked = score.model_copy(update={"uncertain": ("sentiment", "urgency")})
    assert replaced(marked, "sentiment", sure).uncertain == ("urgency",)
    assert replaced(score, "sentiment", unsure).uncertain == ("sentiment", "urgency")
    assert replaced(score, "sentiment", unsure).sentiment == unsure
    high = opinions(LABELS["urgency"], np.array([[0.0, 0.0, 0.6, 0.4]]))[0]
    assert replaced(score, "urgency", high).uncertain == ()


def test_without_a_calibrator_nothing_is_uncertain_and_nothing_changes() -> None:
    outputs = {task: np.tile([1.0] + [0.0] * (len(labels) - 1), (1, 1)) for task, labels in LABELS.items()}
    (plain,) = scores(outputs, LABELS, None, ("m", "1"))
    (idle,) = scores(outputs, LABELS, None, ("m", "1"), texts=["a"], calibrator=Calibrator(LABELS, {}, {}))
    assert plain == idle
    assert plain.uncertain == ()
    assert plain.sentiment.probabilities["negative"] == 1
