"""Normalisation and words: each choice by an example, the rest by law."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.normal import guess_lang, normalise, normalise_offsets
from streams.normal_words import lattice, runs, terms

TEXTS = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("אבצשת'\"״׳־ \u200c\u200d\u200e\u200f\u202b\u2066ابيىكةهؤئأآٱـپچگکی۰٣َِّ-_#@&™İßé🔥👩天ァ"),
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("شركة", "شرکه"),
        ("علي على", "علی علی"),
        ("أإآٱا", "ااااا"),
        ("آب", "اب"),
        ("مسؤول", "مسوول"),
        ("رئيس", "رییس"),
        ("خانۀ", "خانه"),
        ("ـــجميـل", "جمیل"),
        ("مُحَمَّد", "محمد"),
        ("ﻻ ﷲ", "لا الله"),
        ("שָׁלוֹם", "שלום"),
        ("צה״ל", "צהל"),
        ('צה"ל', "צהל"),
        ("צה”ל", "צהל"),
        ("ג׳ירפה", "גירפה"),
        ("ג'ירפה", "גירפה"),
        ("תל־אביב", "תל-אביב"),
        ("١٢٣ ۱۲۳ १२३", "123 123 123"),
        ("\u202bשלום\u202c \u2067x\u2069\ufeff", "שלום x"),
        ("he\u00adllo w\u200bor\u2060ld", "hello world"),
        ("ＣＯＣＡ 𝐂𝐨𝐥𝐚", "coca cola"),
        ("Café CAFÉ cafe\u0301", "cafe cafe cafe"),
        ("İstanbul", "istanbul"),
        ("Straße ﬁn Σίσυφος", "strasse fin σισυφοσ"),
        ("Brand™", "brand "),
        ("Don’t", "don't"),
        ("می\u200cشود", "می\u200cشود"),
        ("می\u200c\u200cشود\u200c", "می\u200cشود"),
        ("brand\u200cname", "brandname"),
        ("हिन्दी", "हिन्दी"),
        ("A\u0000B", "a\u0000b"),
    ],
)
def test_what_reads_the_same_is_the_same(written: str, same: str) -> None:
    assert normalise(written) == same


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_offsets_lead_back_to_the_characters(text: str) -> None:
    normal, origins = normalise_offsets(text)
    assert normal == normalise(text)
    assert len(origins) == len(normal)
    assert origins == sorted(origins)
    assert all(
        char in normalise(text[origin]) or char == "\u200c" for char, origin in zip(normal, origins, strict=True)
    )


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_the_quick_terms_are_the_keys_of_the_lattice(text: str) -> None:
    normal = normalise(text)
    whole = lattice(normal)
    assert terms(normal) == whole.edges.keys()
    assert all(0 <= start < end <= len(whole.parts) for edges in whole.edges.values() for start, end in edges)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Coca-Cola zero", {"coca", "cola", "cocacola", "zero"}),
        ("نمی\u200cشود", {"نمی", "شود", "نمیشود"}),
        ("McDonald’s", {"mcdonald", "s", "mcdonalds"}),
        ("H&M, AT&T", {"h&m", "at&t"}),
        ("#ایران_خودرو", {"ایران", "خودرو", "ایرانخودرو", "#ایرانخودرو"}),
        ("(@brand.bsky.social)", {"brand", "bsky", "social", "@brand.bsky.social"}),
        ("mail a@b.example", {"mail", "a", "b", "example"}),
        ("我爱🔥", {"我", "爱", "🔥"}),
        ("हिन्दी", {"हिन्दी"}),
        ("#_ @. -- __ ' ", set()),
    ],
)
def test_words_and_their_readings(text: str, expected: set[str]) -> None:
    assert terms(normalise(text)) == expected


def test_runs_keep_joined_parts_together() -> None:
    assert runs(normalise("Coca-Cola Zero")) == [["coca", "cola"], ["zero"]]


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("שלום לכולם", "he"),
        ("iPhone לא עובד", "he"),
        ("سلام، گوشی من خراب است", "fa"),
        ("الخدمة سيئة جدا", "ar"),
        ("متأسفانه از ۲۰ روز قبل قطع", "fa"),
        ("البته بالاخره در باران پرسیدم", "fa"),
        ("أغلق البنك حسابي ۵ مرات", "ar"),
        ("یہ بہت اچھا ہے", "ur"),
        ("hello", None),
        ("Привет", None),
        ("a very long English sentence that quotes שלום once", None),
        ("", None),
        ("۱۲۳", None),
    ],
)
def test_the_script_tells_the_language(text: str, lang: str | None) -> None:
    assert guess_lang(text) == lang
