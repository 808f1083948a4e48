"""Near copies across a split are found, all of them: the short cut through rare words misses none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nlp.training.copies import NEAR, copies

BAGS = st.lists(st.frozensets(st.sampled_from("abcdefghij"), max_size=10), max_size=12)


@given(BAGS, BAGS)
def test_the_same_are_found_as_by_comparing_each_with_each(
    texts: list[frozenset[str]], others: list[frozenset[str]]
) -> None:
    expected = {
        at
        for at, bag in enumerate(texts)
        if any(bag and 10 * len(bag & other) >= round(10 * NEAR) * len(bag | other) for other in others)
    }
    assert copies(texts, others) == expected


def test_three_words_of_five_are_a_copy_and_two_of_four_are_not() -> None:
    others = [frozenset("vwxyz"), frozenset()]
    assert copies([frozenset("vwx"), frozenset("vwab"), frozenset()], others) == {0}
