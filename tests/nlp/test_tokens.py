from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from nlp.scorer import Prepared, Unscorable
from nlp.tokens import TextEncoder, clean


def encoder(max_tokens: int = 12) -> TextEncoder:
    vocabulary = {"[UNK]": 0} | {f"w{i}": i for i in range(1, 5000)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return TextEncoder(tokenizer, "w1 ", max_tokens)


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
    ],
)
def test_clean(raw: str, read: str) -> None:
    assert clean(raw) == read


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\x00", "\u200b\u200e\u202e\ufeff", "\ud800", "\u200d\ufe0f", "\u2066\u2069"]
)
def test_nothing_to_read_is_refused_with_its_reason(text: str) -> None:
    (answer,) = encoder().prepare([text])
    assert isinstance(answer, Unscorable)
    assert "white space" in str(answer)


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
