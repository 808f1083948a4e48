from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from nlp.labelled import BadLabels, Labelled, Reading, read_labelled, survey_of
from nlp.rows import read_rows


def lines(*rows: Mapping[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def labelled(source: bytes, reading: Reading) -> list[Labelled]:
    return list(read_labelled(read_rows(io.BytesIO(source), column=reading.text), reading))


def faults(source: bytes, reading: Reading) -> str:
    with pytest.raises(BadLabels) as raised:
        survey_of(read_rows(io.BytesIO(source), column=reading.text), reading)
    return str(raised.value)


def test_the_label_stands_under_the_tasks_name_or_under_label() -> None:
    source = lines(
        {"text": "a", "urgency": "low", "lang": "he"},
        {"text": "b", "label": " HIGH ", "lang": "en-US"},
        {"text": "c", "urgency": {"label": "low", "probabilities": {}}, "label": "critical", "lang": "iw"},
        {"text": "d", "urgency": "normal", "label": "critical", "lang": "pt_BR"},
    )
    assert labelled(source, Reading("urgency")) == [
        Labelled("a", "low", "he"),
        Labelled("b", "high", "en"),
        Labelled("c", "critical", "he"),
        Labelled("d", "normal", "pt"),
    ]


def test_columns_of_other_names_and_labels_of_other_spellings() -> None:
    source = b"review\tstars\tlanguage\nvery good\t5\ten\nso so\t3\ten\nawful\t1\tde\n"
    reading = Reading("sentiment", "review", "stars", "language", {"5": "positive", "1": "negative", "3": ""})
    assert labelled(source, reading) == [Labelled("very good", "positive", "en"), Labelled("awful", "negative", "de")]
    survey = survey_of(read_rows(io.BytesIO(source), column="review"), reading)
    assert (dict(survey.labels), survey.left_out) == ({"positive": 1, "negative": 1}, 1)


def test_a_spelling_means_the_same_in_capitals() -> None:
    source = b"text,label\na,Positive\nb,MIXED\nc,NEG\nd,neg\ne,neutral\n"
    reading = Reading("sentiment", means={"positive": "", "mixed": "neutral", "neg": "negative", "NEG": "positive"})
    assert [one.label for one in labelled(source, reading)] == ["neutral", "positive", "negative", "neutral"]


def test_label_is_not_read_for_a_task_that_has_its_own_column() -> None:
    source = b"text,urgency,label\na,,positive\nb,low,negative\n"
    assert [one.label for one in labelled(source, Reading("urgency"))] == ["low"]
    assert [one.label for one in labelled(source, Reading("sentiment"))] == ["positive", "negative"]


def test_without_a_language_the_script_tells_the_family() -> None:
    source = lines(
        {"text": "שירות מעולה", "label": "positive"},
        {"text": "خیلی خوب بود ممنون", "label": "positive", "lang": "und"},
        {"text": "the service was great", "label": "positive", "lang": None},
    )
    assert [one.lang for one in labelled(source, Reading("sentiment"))] == [
        "hebrew (by script)",
        "persian (by script)",
        "english (by script)",
    ]


def test_rows_of_other_tasks_are_passed_over_and_counted() -> None:
    source = lines({"text": "a", "intent": "praise"}, {"text": "b", "urgency": ""}, {"text": "c", "urgency": "low"})
    survey = survey_of(read_rows(io.BytesIO(source)), Reading("urgency"))
    assert (survey.unlabelled, dict(survey.labels)) == (2, {"low": 1})


def test_every_unknown_label_is_told_with_line_count_and_remedy() -> None:
    rows = [{"text": "a", "label": "POS"}] * 30 + [{"text": "b", "label": 0}] + [{"text": "c", "label": "negative"}]
    said = faults(lines(*rows), Reading("sentiment"))
    assert "line 1: 'POS' is not one of negative, neutral, positive" in said
    assert "... and 21 more" in said
    assert "'POS' (30), '0' (1)" in said
    assert "--labels 'POS=...' with one of negative, neutral, positive" in said
    assert "'POS=' to leave them out" in said


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b'{"text": "a", "label": "low"}\n{\n', "line 2: not valid JSON"),
        (b'{"text": "a", "label": "low"}\n\n[]\n', "line 3: not a JSON object"),
        (b'{"text": 1, "label": "low"}', "line 1: no field `text`"),
        (b'{"label": "low"}', "line 1: no field `text`"),
        (b"text,label\na\n", "line 2: 1 columns"),
        (b"", "the file holds no texts"),
        (b"\n\n", "the file holds no texts"),
        (b'{"text": "a"}\n{"text": "b", "label": null}', "no text has a label to use: 2 without `urgency` or `label`"),
    ],
)
def test_what_cannot_be_used_is_told_by_line(source: bytes, reason: str) -> None:
    assert reason in faults(source, Reading("urgency"))


def test_a_mapping_to_nothing_that_exists_is_refused() -> None:
    with pytest.raises(BadLabels, match="'pos' is not one of negative, neutral, positive"):
        Reading("sentiment", means={"POS": "pos"})


def test_reading_without_a_survey_stops_at_the_first_fault() -> None:
    with pytest.raises(BadLabels, match="line 2: 'urgent'"):
        labelled(lines({"text": "a", "label": "low"}, {"text": "b", "label": "urgent"}), Reading("urgency"))


@pytest.mark.parametrize("said", ["x" * 36, "\x1b[31mred", "a|b", "en\nfr", "All", "mean of languages"])
def test_what_is_no_name_of_a_language_makes_no_row_of_its_own(said: str) -> None:
    (found,) = labelled(lines({"text": "a good day", "sentiment": "positive", "lang": said}), Reading("sentiment"))
    assert found.lang == "english (by script)"
