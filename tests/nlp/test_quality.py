from __future__ import annotations

import json
import math

import numpy as np
import pytest

from nlp import quality
from nlp.evaluate import BadLabelledLine, judge, read_labelled, report
from tests.nlp.counting import LetterScorer

TRUTH = np.array([0, 0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 2, 1, 0, 2])


def test_figures_of_a_small_case_by_hand() -> None:
    table = quality.confusion(TRUTH, PREDICTED, 4)
    assert table.tolist() == [[2, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert quality.accuracy(table) == pytest.approx(4 / 7)
    assert quality.macro(quality.recalls(table)) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert quality.precisions(table).tolist() == pytest.approx([2 / 3, 1 / 2, 1 / 2, 0])
    assert quality.macro(quality.f1_scores(table)) == pytest.approx((4 / 7 + 1 / 2 + 2 / 3) / 3)


def test_a_calibrated_model_has_no_error_and_an_overconfident_one_has() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    honest = np.tile([0.8, 0.2], (10, 1))
    assert quality.calibration_error(truth, honest) == pytest.approx(0, abs=1e-9)
    assert quality.calibration_error(truth, np.tile([1.0, 0.0], (10, 1))) == pytest.approx(0.2)


def test_coverage_keeps_as_much_as_the_precision_allows() -> None:
    values = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    assert quality.coverage(np.array([0, 0, 1, 1]), values, 1.0) == (0.5, 0.8)
    assert quality.coverage(np.array([1, 1, 1, 1]), values, 0.9) == (0.0, 1.0)


def test_the_interval_holds_the_figure() -> None:
    def share(truth: quality.Ints, predicted: quality.Ints) -> float:
        return float(np.mean(truth == predicted))

    low, high = quality.interval(TRUTH, PREDICTED, share, rounds=200)
    assert low <= 4 / 7 <= high


def test_the_report_has_a_row_for_each_language_and_class() -> None:
    lines = [
        json.dumps({"text": f"text {n}", "urgency": ["low", "high"][n % 2], "lang": ["he", "en"][n % 2]})
        for n in range(20)
    ]
    judged = judge(
        LetterScorer(), list(read_labelled([*lines, '{"text": "", "label": "low"}', ""], "urgency")), "urgency"
    )
    assert judged.unscored == 1
    text = report(judged)
    for row in ("| all | 20 |", "| en | 10 |", "| he | 10 |", "| critical |", "1 texts got no score"):
        assert row in text
    assert not math.isnan(quality.calibration_error(judged.truth, judged.probabilities))


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"text": "a"}', '{"text": "a", "label": "urgent"}', '{"text": 1, "label": "low"}']
)
def test_a_bad_labelled_line_is_named(line: str) -> None:
    with pytest.raises(BadLabelledLine, match="line 2"):
        list(read_labelled(['{"text": "a", "label": "low"}', line], "urgency"))
