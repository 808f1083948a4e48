"""Text of any shape through the real scorer, `warroom score` and `model eval`: a true score or a clear refusal."""

from __future__ import annotations

import io
import json
import math

import pytest

from nlp.batch_command import score_lines
from nlp.evaluate import judge
from nlp.grouping import score_each
from nlp.labelled import Labelled, Reading, read_labelled
from nlp.onnx_cpu import OnnxScorer
from nlp.rows import read_rows
from nlp.scorer import LABELS, Prepared, Unscorable
from streams.records import Score

EMPTY = "the text is empty or holds only white space and invisible characters"
FAMILY = "👨\u200d👩\u200d👧\u200d👦"

SCORED = {
    "one emoji": "😀",
    "one emoji of several": FAMILY,
    "10,000 emoji": "😀🔥" * 5_000,
    "100,000 characters without a space": "a" * 100_000,
    "100,000 characters of words": "שירות גרוע מאוד " * 6_250,
    "100,000 different marks on one letter": "e" + "\u0301\u0302\u0303\u0304" * 25_000,
    "one script inside another": "ה-service של Acme היה خیلی بد واقعا",
    "one script inside a word": "раypаl שלוhello سلامworld",
    "only a link": "https://example.org/a?b=c#d",
    "only a handle": "@someone",
    "only marks that combine": "\u0301\u0302\u0303",
    "zero width between letters": "t\u200be\u200br\u200br\u200bible",
    "bidi controls": "\u202eabc\u202c \u2066def\u2069 \u200fghi\u200e",
    "right to left override": "good \u202edab yrev\u202c service",
    "a lone surrogate in text": "terrible \ud83d service",
    "surrogate pair": "\ud83d\ude00",
    "NUL in text": "terrible\x00service",
    "controls of all kinds": "".join(map(chr, range(32))) + "hello" + "".join(map(chr, range(127, 160))),
    "markup": "<b>awful</b>&nbsp;&lt;script&gt;alert(1)&lt;/script&gt;",
    "a digit": "7",
    "a question mark": "?",
    "tags and flags": "🇮🇱🏴\U000e0067\U000e0062\U000e007f",
    "ligatures and presentation forms": "ﷺ ﻻ ﬁne ﬡ",
    "full width": "ｔｅｒｒｉｂｌｅ",
    "a numeric escape of 5,000 digits": "terrible &#" + "9" * 5_000 + "; service",
    "a numeric escape of 100,000 zeros": "terrible &#" + "0" * 100_000 + "33;",
}
REFUSED = {
    "nothing": "",
    "white space": " \t\n\u3000\u00a0",
    "zero width": "\u200b\u200c\u200d\ufeff",
    "bidi controls only": "\u202e\u2066\u2069\u202c",
    "NUL only": "\x00\x00",
    "lone surrogates": "\ud800\udfff"[::-1],
    "variation selector": "\ufe0f",
    "blank Braille and fillers": "\u2800\u3164\u034f\u115f",
    "Hebrew points without letters": "\u05b0\u05b1",
    "a numeric escape of no character": "&#" + "1" * 5_000 + ";",
}


def truly(answer: object) -> None:
    assert isinstance(answer, Score)
    for task, labels in LABELS.items():
        given = getattr(answer, task).probabilities
        assert set(given) == set(labels)
        assert all(math.isfinite(value) and 0 <= value <= 1 for value in given.values())
        assert math.isclose(sum(given.values()), 1, abs_tol=1e-6)


def test_each_gets_a_score_or_a_refusal_and_none_moves_its_neighbours(shipped: OnnxScorer) -> None:
    texts = ["thank you!", *SCORED.values(), *REFUSED.values(), "thank you!"]
    answers = score_each(shipped, texts)
    for answer in answers[: len(SCORED) + 1]:
        truly(answer)
    for name, answer in zip(REFUSED, answers[len(SCORED) + 1 : -1], strict=True):
        assert isinstance(answer, Unscorable), name
        assert str(answer) == EMPTY
    assert answers[0] == answers[-1]


def test_score_answers_each_on_its_line(shipped: OnnxScorer) -> None:
    rows = [*SCORED.items(), *REFUSED.items()]
    source = b"".join(json.dumps({"name": name, "text": text}).encode() + b"\n" for name, text in rows)
    sink, report = io.BytesIO(), io.StringIO()
    assert score_lines(io.BytesIO(source), sink, shipped, report) == 1
    found = [json.loads(line) for line in sink.getvalue().splitlines()]
    joined = [(name, json.loads(json.dumps(text))) for name, text in rows]  # JSON joins a pair of surrogates
    assert [(row["name"], row["text"]) for row in found] == joined
    for number, row in enumerate(found, start=1):
        assert row.get("error") == (f"line {number}: {EMPTY}" if row["name"] in REFUSED else None)
    assert report.getvalue() == f"{len(REFUSED)} of {len(rows)} lines have an error\n"


def test_eval_judges_what_has_a_score_and_counts_the_rest(shipped: OnnxScorer) -> None:
    rows = [*SCORED.values(), *REFUSED.values()]
    source = b"".join(json.dumps({"text": text, "label": "neutral"}).encode() + b"\n" for text in rows)
    examples = list(read_labelled(read_rows(io.BytesIO(source)), Reading("sentiment")))
    judged = judge(shipped, examples, "sentiment")
    assert len(judged.truth) == len(SCORED)
    assert judged.reasons == {EMPTY: len(REFUSED)}
    assert (judged.unscored, judged.failed) == (len(REFUSED), 0)


@pytest.mark.parametrize(
    ("hidden", "plain"),
    [
        (SCORED["zero width between letters"], "terrible"),
        (SCORED["a lone surrogate in text"], "terrible service"),
        (SCORED["surrogate pair"], "😀"),
        ("\u2066the worst service\u2069", "the worst service"),
        ("the\u00a0worst  \n service", "the worst service"),
        ("the cafe\u0301 fiance\u0301", "the café fiancé"),
        ("\u200d".join("terrible") + " " + "\u034f".join("service"), "terrible service"),
        ("\u200c".join("השירות") + " " + "\ufe0f".join("נורא"), "השירות נורא"),
        ("\u0332".join("הצילו, שריפה! "), "הצילו, שריפה!"),
        ("\u0336".join("Help, fire! "), "Help, fire!"),
        ("ה\ufb46ילו! \ufb2b\u05b0רפה", "הצילו! שרפה"),
    ],
)
def test_what_cannot_be_seen_does_not_change_the_score(shipped: OnnxScorer, hidden: str, plain: str) -> None:
    one, other = score_each(shipped, [hidden, plain])
    assert one == other


@pytest.mark.parametrize(
    "text",
    [
        "漢字だけです",
        "ขอบคุณมาก",
        "यह बहुत अच्छा है",
        "\ue000\ue001",
        "\U0001fae8",
        "\U0001fae8 @you http://x.y",
        "@you 漢字 https://x.y/z",
        "Помогите! Пожар!",
        "今日はとても楽しかった!",
        "中文,中文",
        "नमस्ते 😡",
        "今日 2024",
        "@you Пожар, http://x.y #OK",
        "🅵🅸🆁🅴! 🅷🅴🅻🅿! 10",
        "\U0001fae8!",
        "@you \U0001fae8 ... http://x.y!",
        "\ue000!",
    ],
)
def test_a_script_that_the_model_cannot_read_is_refused(shipped: OnnxScorer, text: str) -> None:
    (answer,) = shipped.prepare([text])
    assert isinstance(answer, Unscorable)
    lettered = "\ue000" not in text and "\U0001fae8" not in text
    assert ("in a script that" in str(answer)) == lettered
    assert ("no piece of the model's vocabulary" in str(answer)) != lettered


@pytest.mark.parametrize(
    "text",
    [
        "The sign says 出口, I think",
        "😀 \U0001fae0",
        "Пожар at our office, help",
        "$$ ₿ 5%",
        "ok \U0001fae0!",
        "\U0001fae0 9/10",
    ],
)
def test_what_the_model_can_mostly_read_is_scored(shipped: OnnxScorer, text: str) -> None:
    (answer,) = shipped.prepare([text])
    assert isinstance(answer, Prepared)


FILLER = "The parcel came on Tuesday and I wrote it down in my little book about parcels. "


def test_truncation_is_by_tokens_and_keeps_head_and_tail(shipped: OnnxScorer) -> None:
    head, tail = "Zebras arrived at noon.", "Help, my house is burning!"
    long, first, last = shipped.prepare([head + " " + FILLER * 200 + tail, head, tail])
    assert isinstance(long, Prepared)
    assert isinstance(first, Prepared)
    assert isinstance(last, Prepared)
    assert len(long.ids) == shipped.max_tokens
    assert long.ids[: len(first.ids) - 1] == first.ids[:-1], "the head with the opening token, as if it stood alone"
    start = len(shipped.prepare(["x"])[0].ids) - 2  # type: ignore[union-attr]  # tokens before the text
    words = last.ids[start:]
    assert long.ids[-len(words) :] == words, "the end with the closing token, as if it stood alone"


def test_many_letters_of_few_tokens_are_not_cut(shipped: OnnxScorer) -> None:
    text = "information " * 60
    (entry,) = shipped.prepare([text])
    assert isinstance(entry, Prepared)
    assert len(text) > 5 * shipped.max_tokens > 5 * len(entry.ids)


def test_the_tail_matters_and_what_lies_between_does_not(shipped: OnnxScorer) -> None:
    calm, burning = "All is well and quiet here today.", "Help us now, the house is burning and people are trapped!"
    body = FILLER * 60
    middle = body[: len(body) // 2] + burning + " " + body[len(body) // 2 :]
    plain, alarm, hidden = shipped.score([body + calm, body + burning, middle + calm])
    assert alarm.urgency.probabilities["critical"] > plain.urgency.probabilities["critical"]
    assert hidden.urgency == plain.urgency


@pytest.mark.parametrize("count", [1, 500])
def test_labels_of_unscorable_texts_alone_are_no_figures(shipped: OnnxScorer, count: int) -> None:
    judged = judge(shipped, [Labelled(" \u200b", "low", "en")] * count, "urgency")
    assert (len(judged.truth), judged.unscored) == (0, count)
