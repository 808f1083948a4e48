from __future__ import annotations

from typing import Any

import pytest

from nlp.labels import LabelsRefused, label_map


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["NEGATIVE", "neutral", "Positive"], ["negative", "neutral", "positive"]),
        (["POS", "NEG", "NEU"], ["positive", "negative", "neutral"]),
        (["Bullish", "Bearish"], ["positive", "negative"]),
        (["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], ["negative"] * 2 + ["neutral"] + ["positive"] * 2),
        (["star_5", "star_1"], ["positive", "negative"]),
        (["★☆☆☆☆", "★★★★★"], ["negative", "positive"]),
        (
            ["Very Negative", "Negative", "Neutral", "Positive", "Very_Positive"],
            ["negative"] * 2 + ["neutral"] + ["positive"] * 2,
        ),
        (["positive_sentiment", "negative_sentiment"], ["positive", "negative"]),
    ],
)
def test_known_spellings_in_any_order(names: list[str], expected: list[str]) -> None:
    assert label_map(dict(enumerate(names))) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["LABEL_0", "LABEL_1", "LABEL_2"],
        ["0", "1", "2"],
        ["negative", "neutral", "joy"],
        ["neutral", "positive"],
        ["negative"],
        [],
    ],
)
def test_what_cannot_be_mapped_is_refused_with_the_remedy(names: list[str]) -> None:
    with pytest.raises(LabelsRefused, match="state the mapping"):
        label_map(dict(enumerate(names)))


def test_a_hole_in_the_numbering_is_refused() -> None:
    with pytest.raises(LabelsRefused):
        label_map({0: "negative", 2: "positive"})


@pytest.mark.parametrize("strange", [["negative", "positive"], None, 3])
def test_what_is_no_mapping_is_refused(strange: Any) -> None:
    with pytest.raises(LabelsRefused, match="`id2label` is no mapping"):
        label_map(strange)


def test_labels_that_are_numbers_are_stated_as_words() -> None:
    names: Any = {0: 0, 1: 1}
    with pytest.raises(LabelsRefused, match="state the mapping"):
        label_map(names)
    assert label_map(names, stated={"0": "negative", "1": "positive"}) == ["negative", "positive"]


def test_a_stated_mapping_wins() -> None:
    stated = {"LABEL_0": "positive", "LABEL_1": "negative"}
    assert label_map({0: "LABEL_0", 1: "LABEL_1"}, stated=stated) == ["positive", "negative"]


def test_a_stated_label_that_we_do_not_know_is_refused() -> None:
    with pytest.raises(LabelsRefused):
        label_map({0: "a", 1: "b"}, stated={"a": "negative", "b": "glad"})


def test_a_stated_label_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(LabelsRefused, match=r"\['Negative', 'LABEL_9'\] are none .* \['negative', 'positive'\]"):
        label_map({0: "negative", 1: "positive"}, stated={"Negative": "positive", "LABEL_9": "negative"})


def test_other_tasks_take_our_own_words_only() -> None:
    assert label_map({0: "Critical", 1: "LOW"}, "urgency") == ["critical", "low"]
    with pytest.raises(LabelsRefused):
        label_map({0: "urgent", 1: "low"}, "urgency")
