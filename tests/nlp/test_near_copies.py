from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.near_copies import MARGIN, near_form, settled
from nlp.scorer import LABELS
from nlp.tokens import clean
from streams.records import Opinion, Score


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It\u2019s \u201cfine\u201d \u2013 they say\u2026", 'It\'s "fine" - they say...'),
        ("no water since noon https://a.example", "no water since noon https://b.example/x https://c.example"),
        ("no water since noon", "no water since noon. @dana @noa"),
        ("help!!!", "help!!"),
        ("آب قطع است.", "آب قطع است @dana"),
    ],
)
def test_what_cannot_change_the_meaning_is_one_form(one: str, other: str) -> None:
    assert near_form(clean(one)) == near_form(clean(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 trapped", "20 trapped"),
        ("it works", "it works not"),
        ("it does not work", "it does work"),
        ("GREAT", "great"),
        ("help!", "help"),
        ("help!!", "help!"),
        ("really?", "really."),
        ("thanks #fail", "thanks"),
        ("thanks 🙄", "thanks"),
        ("RT @user: the bridge is closed", "the bridge is closed"),
        ("@user thanks", "thanks"),
        ("חם היום", "לא חם היום"),
        ("ي", "ی"),
        ("see http", "see"),
    ],
)
def test_what_may_change_the_answer_is_kept_apart(one: str, other: str) -> None:
    assert near_form(clean(one)) != near_form(clean(other))


@given(st.text(max_size=200))
def test_words_and_numbers_are_never_touched(text: str) -> None:
    def words(text: str) -> list[str]:
        return [word for word in re.findall(r"\w+", text) if word not in {"http", "user"}]

    cleaned = clean(text)
    assert words(near_form(cleaned)) == words(cleaned)


def score(sentiment: list[float], urgency: list[float], intent: list[float]) -> Score:
    def opinion(task: str, values: list[float]) -> Opinion:
        return Opinion(label=LABELS[task][0], probabilities=dict(zip(LABELS[task], values, strict=True)))

    return Score(
        sentiment=opinion("sentiment", sentiment),
        urgency=opinion("urgency", urgency),
        intent=opinion("intent", intent),
        model_id="m",
        model_revision="1",
    )


def test_an_answer_is_settled_where_each_label_leads_clearly() -> None:
    sure = ([0.8, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1], [0.6, 0.1, 0.1, 0.1, 0.1, 0.0, 0.0])
    assert settled(score(*sure))
    close = 0.5 - MARGIN / 2 + 0.01
    assert not settled(score([1 - close, close, 0.0], *sure[1:]))
    assert not settled(score(sure[0], [1 - close, close, 0.0, 0.0], sure[2]))
    assert not settled(score(*sure[:2], [0.0, 1 - close, 0.0, close, 0.0, 0.0, 0.0]))
