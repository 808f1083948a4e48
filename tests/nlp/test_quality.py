from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp import quality
from nlp.bootstrap import FEWEST, with_intervals

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
    assert quality.coverage(np.array([0, 0, 1, 1]), values, 0.5) == (1.0, 0.6)


def test_no_threshold_parts_texts_of_one_value() -> None:
    values = np.array([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3], [0.7, 0.3]])
    assert quality.coverage(np.array([0, 0, 1, 1]), values, 0.9) == (0.25, 0.9)


def test_recall_of_a_class_at_a_precision_by_hand() -> None:
    wanted = np.array([0.9, 0.8, 0.6, 0.5, 0.2, 0.1])
    values = np.stack([1 - wanted, wanted], axis=1)
    truth = np.array([1, 0, 1, 1, 0, 1])
    kept = quality.by_class(truth, values, 1).kept(0.7)
    assert (kept.share, kept.recall, kept.threshold, kept.precision) == pytest.approx((4 / 6, 3 / 4, 0.5, 3 / 4))
    nothing = quality.by_class(np.array([0, 0, 0, 0, 0, 1]), values, 1).kept(0.7)
    assert (nothing.share, nothing.recall, nothing.threshold) == (0.0, 0.0, 1.0)
    assert np.isnan(quality.by_class(np.zeros(6, dtype=np.int64), values, 1).kept(0.7).recall)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_a_weight_counts_as_so_many_copies(texts: list[tuple[int, int, int]]) -> None:
    truth, seed, weights = (np.array(column) for column in zip(*texts, strict=True))
    values = np.exp(np.sin(np.outer(seed + 1, np.arange(1, 5))))
    values = values / values.sum(axis=1, keepdims=True)
    if weights.sum() == 0:
        return
    copies = np.repeat(np.arange(len(truth)), weights)
    many, few = (truth[copies], values[copies]), (truth, values)
    first = quality.confusion(many[0], many[1].argmax(axis=1), 4)
    assert (first == quality.confusion(few[0], few[1].argmax(axis=1), 4, weights)).all()
    assert quality.calibration_error(*many) == pytest.approx(quality.calibration_error(*few, weights=weights))
    for precision in (0.3, 0.5, 0.9):
        direct = quality.by_confidence(*many).kept(precision)
        weighted = quality.by_confidence(*few).kept(precision, weights)
        assert (direct.share, direct.recall) == pytest.approx((weighted.share, weighted.recall), nan_ok=True)


def test_the_interval_holds_the_figure_and_narrows_with_more_texts() -> None:
    def share(truth: quality.Ints, predicted: quality.Ints) -> float:
        return float(np.mean(truth == predicted))

    low, high = quality.interval(TRUTH, PREDICTED, share, rounds=200)
    assert low <= 4 / 7 <= high
    widths = []
    for copies in (10, 1000):
        right = np.tile(TRUTH == PREDICTED, copies)

        def figures(weights: quality.Ints, right: quality.Bools = right) -> dict[str, float]:
            return {"right": float((weights * right).sum() / weights.sum())}

        found = with_intervals(figures, len(right), rounds=200)["right"]
        assert found.low < found.value < found.high
        assert found.value == pytest.approx(4 / 7)
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.3)


def test_the_bootstrap_covers_the_true_share_as_often_as_it_says() -> None:
    chance = np.random.default_rng(5)
    covered = 0
    for seed in range(100):
        right = chance.random(150) < 0.8

        def figures(weights: quality.Ints, right: quality.Bools = right) -> dict[str, float]:
            return {"right": float((weights * right).sum() / weights.sum())}

        found = with_intervals(figures, 150, rounds=100, seed=seed)["right"]
        covered += found.low <= 0.8 <= found.high
    assert 88 <= covered <= 99


def test_too_few_texts_have_no_interval() -> None:
    found = with_intervals(lambda weights: {"sum": float(weights.sum())}, FEWEST - 1)["sum"]
    assert found.value == FEWEST - 1
    assert np.isnan(found.low)
    assert np.isnan(found.high)
