from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.grouping import all_scores, groups, score_each
from nlp.scorer import ScorerError, Unscorable
from streams.records import Score
from tests.nlp.counting import LetterScorer


@given(st.lists(st.integers(1, 128), max_size=200), st.integers(64, 4096))
def test_groups_cover_everything_once_within_the_budget(lengths: list[int], budget: int) -> None:
    found = groups(lengths, budget)
    assert sorted(at for group in found for at in group) == list(range(len(lengths)))
    for group in found:
        assert len(group) == 1 or max(lengths[at] for at in group) * len(group) <= budget


def test_one_bad_text_does_not_fail_its_neighbours() -> None:
    found = score_each(LetterScorer(), ["good", "b\u2620d", "", "also good"])
    assert [type(answer) for answer in found] == [Score, ScorerError, Unscorable, Score]
    with pytest.raises(ScorerError):
        all_scores(found)


def test_identical_texts_run_once() -> None:
    scorer = LetterScorer()
    found = score_each(scorer, ["again", "again ", "other", "again"])
    assert sum(len(batch) for batch in scorer.batches) == 2
    assert found[0] == found[1] == found[3] != found[2]
