from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.answers import embeddings, opinions
from nlp.scorer import ScorerError


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
