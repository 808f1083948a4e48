import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.records import Mention, decode, encode
from streams.sources.checks import check_times, clean_text

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_mention(published: datetime | None, text: str = "hi") -> Mention:
    return Mention(
        source_kind="file",
        native_id="1",
        source_id="f",
        revision=1,
        received_at=NOW,
        published_at=published,
        text=text,
    )


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain", "plain"),
        ("a\x00b", "ab"),
        ("cafe\u0301", "caf\u00e9"),
        ("x\ud83dy", "x\ufffdy"),
        ("\udc00", "\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\u202bשלום\u202c \u200fmi\u200cnoo", "\u202bשלום\u202c \u200fmi\u200cnoo"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
    ],
)
def test_text_is_made_holdable_and_keeps_its_direction_marks(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text(st.characters(exclude_categories=[]), max_size=40))
def test_any_text_comes_back_from_the_log_as_it_went_in(raw: str) -> None:
    clean = clean_text(raw)
    assert clean_text(clean) == clean
    mention = a_mention(NOW, clean)
    assert decode(encode(mention)) == mention
    assert "\x00" not in clean


@pytest.mark.parametrize(
    ("published", "word"),
    [
        (None, None),
        (NOW, None),
        (NOW + timedelta(minutes=5), None),
        (NOW + timedelta(minutes=5, seconds=1), "after receipt"),
        (datetime(2000, 1, 1, tzinfo=UTC), None),
        (datetime(1999, 12, 31, 23, 59, tzinfo=UTC), "before 2000-01-01"),
        (datetime(2, 1, 1, tzinfo=UTC), "before 2000-01-01"),
        (datetime(9998, 12, 31, tzinfo=UTC), "after receipt"),
    ],
)
def test_times_that_cannot_be_true_are_named(published: datetime | None, word: str | None) -> None:
    reason = check_times(a_mention(published))
    assert (reason is None) if word is None else (reason is not None and word in reason)


def test_a_long_text_is_composed_as_a_whole_is_and_never_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "cafe\u0301 שָׁלוֹם نیست \u1112\u1161\u11ab " * 400
    assert clean_text(long) == unicodedata.normalize("NFC", long)
    lengths: list[int] = []
    whole = unicodedata.normalize

    def counted(form: Literal["NFC"], text: str) -> str:
        lengths.append(len(text))
        return whole(form, text)

    monkeypatch.setattr(unicodedata, "normalize", counted)
    hostile = "e" + "\u0301\u0316" * 50_000
    assert len(clean_text(hostile)) > 99_000
    assert max(lengths) <= 2048
