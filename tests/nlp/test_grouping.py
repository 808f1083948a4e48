from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.grouping import all_scores, groups, score_each
from nlp.scorer import Prepared, ScorerError, Unscorable
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


class TwoLanes(LetterScorer):
    """Runs two batches at once; a batch waits until another runs beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.beside = threading.Barrier(2)

    @property
    def lanes(self) -> int:
        return 2

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        self.beside.wait(timeout=10)
        return super().run(batch)


def test_batches_run_beside_each_other_and_every_text_gets_its_own_answer() -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    texts = [(alphabet[at:] + alphabet)[:20] for at in range(16)]
    scorer = TwoLanes()
    beside = score_each(scorer, texts, budget=80)
    assert beside == score_each(LetterScorer(), texts, budget=80)
    assert len(scorer.batches) == 4
    assert len(scorer.threads) == 2
