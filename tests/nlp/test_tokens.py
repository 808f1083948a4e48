from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from nlp.scorer import Prepared, Unscorable
from nlp.tokens import TextEncoder, clean


def encoder(max_tokens: int = 12, prefix: str = "w1 ") -> TextEncoder:
    vocabulary = {"[UNK]": 0} | {f"w{i}": i for i in range(1, 5000)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return TextEncoder(tokenizer, prefix, max_tokens)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("see https://example.org/a?b=c&d=e now", "see http now"),
        ("www.example.org", "http"),
        ("@bob.bsky.social thanks @a", "@user thanks @user"),
        ("write to me@example.org", "write to me@example.org"),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("don\\u2019t", "don’t"),
        ("\ud83d\ude00 \ud83d", "\U0001f600"),
        ("\\ud83d\\ude00", "\U0001f600"),
        ("a\x00b\u202ec\u2066d\u200be\ufefff", "abcdef"),
        ("sooooooo!!!!!!", "sooo!!!"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَـــمَّد", "محمد"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        (" a \n\t\u3000 b ", "a b"),
        ("caf\u0065\u0301 fiance\u0301e", "café fiancée"),
        ("\u0627\u0653", "آ"),
        ("5\u200cستاره iPhone\u200cهای سا\u0654\u200cل", "5\u200cستاره iPhone\u200cهای سأ\u200cل"),
        ("t\u200ce\u200dr\u034fr\ufe0fi\u3164b\u115fl\u17b4e\u2800day", "terrible day"),
        ("ש\u200dי\u200cר\ufe0fות", "שירות"),
        ("کمک\u200c! می\u200c\u200c\u200dخواهم، ۲۰\u200cساله", "کمک! می\u200cخواهم، ۲۰\u200cساله"),
        ("e\u034f\u0301\u200d e\u200d\u0301", "é é"),
        (
            "👩\u200d🚒 ❤\ufe0fthanks 1\ufe0f\u20e3 ❤\ufe0f\u200d🔥",
            "👩\u200d🚒 ❤\ufe0fthanks 1\ufe0f\u20e3 ❤\ufe0f\u200d🔥",
        ),
        ("F\u0332i\u0336r\u0489e\u20dd\u0332 \u0332i\u0332!\u0336 9\u0332", "Fire i! 9"),
        ("ש\u0332ר\u0336י\u0359פ\u0331ה", "שריפה"),
        ("ح\u0656ر\u06d6ي\u0615ق\u08f0 ن\u0654", "حريق ن"),
        ("خانه\u0654 ما، خانه\u0332\u0654، می\u0332\u200cخواهم", "خانه\u0654 ما، خانه\u0654، می\u200cخواهم"),
        ("z" + "\u0301\u0302\u0316" * 1000 + "algo", "źalgo"),
        ("o\u0323\u0301 ti\u1ebfng \u0332 \u0361°", "ọ tiếng \u0361°"),
        ("1\u20e3 \u0e17\u0e35\u0e48 \u06dd", "1\u20e3 \u0e17\u0e35\u0e48 \u06dd"),
        ("\ufb2a\ufb35\ufb2b\u05b8 \ufb1d\ufb4f\ufb1e", "שוש יאל"),
        ("Ewww.awful awww...no WWW.example.org www...love", "Ewww.awful awww...no http www...love"),
        ("https://t.co/x1שריפה במפעל", "http שריפה במפעל"),
        ("https://t.co/xحريق http://a.b/9آتش", "http حريق http آتش"),
        ("https://he.wikipedia.org/wiki/שריפה_(יער)?a=ב now", "http now"),
        ("@delta...awful @shop--love @a_b. @a-b.c: @x", "@user...awful @user--love @user. @user: @user"),
        ("&#" + "9" * 5000 + "; help", "help"),
        ("&#" + "0" * 5000 + "65;", "A"),
        ("&#" + "0" * 5000 + ";x", "x"),
        ("&#12345678 &#x" + "f" * 5000 + ";x", "x"),
    ],
)
def test_clean(raw: str, read: str) -> None:
    assert clean(raw) == read


@pytest.mark.parametrize(
    "text",
    ["", " \n\t", "\x00", "\u200b\u200e\u202e\ufeff", "\ud800", "\u200d\ufe0f", "\u2066\u2069", "\u2800\u034f\u3164"],
)
def test_nothing_to_read_is_refused_with_its_reason(text: str) -> None:
    (answer,) = encoder().prepare([text])
    assert isinstance(answer, Unscorable)
    assert "white space" in str(answer)


def test_a_limit_of_a_library_costs_its_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(text: str) -> str:
        if "&w" in text:
            raise ValueError("Exceeds the limit")
        return text

    monkeypatch.setattr("html.unescape", limited)
    first, bad, last = encoder().prepare(["w2", "&w", "&3"])
    assert isinstance(first, Prepared)
    assert isinstance(last, Prepared)
    assert isinstance(bad, Unscorable)
    assert str(bad) == "the text cannot be read: Exceeds the limit"


HOSTILE = [
    "&#",
    "&#x",
    "9" * 5000,
    "0" * 5000,
    ";",
    "&amp;",
    "\ud83d",
    "\\ud83d",
    "\ude00",
    "\\u0000",
    "\x00",
    "\u202e",
]
HOSTILE += [
    "\u200d",
    "\ufe0f",
    "😀",
    "@",
    "@a",
    "http://",
    "é",
    "e\u0301",
    "\u0301" * 40,
    "שלום",
    "ﷺ",
    "漢字",
    "<unk>",
    "w2",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(HOSTILE), max_size=12).map("".join))
def test_pieces_of_hostile_text_are_read_or_refused_in_any_order(text: str) -> None:
    first, _, last = encoder().prepare(["w2", text, "w3"])
    assert isinstance(first, Prepared)
    assert isinstance(last, Prepared)
    clean(text).encode("utf-8")


def test_without_a_prefix_nothing_stands_before_the_text() -> None:
    found = encoder(prefix="").prepare(["w2 w3", "", "w4"])
    assert [entry.ids if isinstance(entry, Prepared) else None for entry in found] == [[2, 3], None, [4]]


def test_long_text_keeps_head_and_tail_within_the_budget() -> None:
    (answer,) = encoder(12).prepare([" ".join(f"w{i}" for i in range(2, 1000))])
    assert isinstance(answer, Prepared)
    assert answer.ids == [1, 2, 3, 4, 5, 6, 7, 8, 9, 997, 998, 999]


def test_absurd_length_is_cut_before_tokenising() -> None:
    text = encoder(12).readable("w2 " + "x y " * 250_000 + "w9")
    assert len(text) < 1000
    assert text.startswith("w2")
    assert text.endswith("w9")


def test_one_unreadable_text_does_not_shift_the_others() -> None:
    found = encoder().prepare(["w2", "", "w3"])
    assert [entry.ids if isinstance(entry, Prepared) else None for entry in found] == [[1, 2], None, [1, 3]]


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=200))
def test_clean_is_idempotent_enough_and_never_leaves_what_utf8_cannot_hold(text: str) -> None:
    read = clean(text)
    read.encode("utf-8")
    assert "\x00" not in read
    assert len(encoder().prepare([text])) == 1
