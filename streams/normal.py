"""One normalisation of text for matching, search and dedup: what reads as the same word becomes the same string.

Owns the folding of characters, the way back to offsets of the original text, and the guess of a language by script.
Does not own words (`streams.normal_words`), queries, nor the stored text: that stays as it was written.

Choices, each locked by a test:
- NFKD, not NFC, character by character: presentation forms, full-width and styled letters (a usual way round filters)
  become plain ones, and آ أ إ ؤ ئ fall apart into letter and mark by the same table. Working by character keeps the
  mapping to offsets exact. What is kept in composed form is never shown, only compared.
- Marks of Latin, Hebrew (niqqud, cantillation) and Arabic (harakat) are dropped: café = cafe, שָׁלוֹם = שלום. Vowel
  signs of other scripts are letters in all but name and stay.
- ي ى ئ -> ی, ك -> ک, ة ە ہ -> ه, أ إ آ ٱ -> ا, ؤ -> و: keyboards differ, words do not. ء alone stays.
- Bidi controls, zero-width characters, soft hyphen and tatweel vanish. ZWNJ stays between Arabic-script letters, as a
  joint that `normal_words` reads as nothing, as a space or as itself.
- Geresh and gershayim inside a Hebrew word vanish in all their spellings: צה״ל = צה"ל = צהל.
- ™ and ℠ are spaces (NFKD would glue "tm" to the brand), and so are sof pasuq and paseq, which end words. Digits of all
  scripts become ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

ZWNJ: Final = "\u200c"

_LETTERS: Final = {
    "ي": "ی", "ى": "ی", "ك": "ک", "ة": "ه", "ە": "ه", "ہ": "ه", "ٱ": "ا", "ٲ": "ا", "ٳ": "ا",
    "־": "-", "‐": "-", "‒": "-", "–": "-", "−": "-",
    "׳": "'", "‘": "'", "’": "'", "‛": "'", "ʼ": "'", "′": "'", "`": "'", "´": "'",
    "״": '"', "“": '"', "”": '"', "„": '"', "″": '"', "™": " ", "℠": " ", "׃": " ", "׀": " ",
}  # fmt: skip
_MARKS: Final = ((0x0300, 0x036F), (0x0591, 0x05BD), (0x05BF, 0x05C7), (0x0610, 0x061A), (0x064B, 0x065F))
_MORE_MARKS: Final = ((0x0670, 0x0670), (0x06D6, 0x06DC), (0x06DF, 0x06E8), (0x06EA, 0x06ED), (0x08D3, 0x08FF))
_SELECTORS: Final = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF), (0x0640, 0x0640), (0x180B, 0x180E))
_DROPPED_RANGES: Final = (*_MARKS, *_MORE_MARKS, *_SELECTORS)

_ARABIC: Final = "\u0620-\u06ff\u0750-\u077f"
_JOINTS: Final = re.compile(
    rf"(?<=[{_ARABIC}])({ZWNJ}){ZWNJ}*(?=[{_ARABIC}])|(?<=[א-ת])['\"{ZWNJ}]+(?=[א-ת])|{ZWNJ}+",
)
_HAS_JOINTS: Final = re.compile(f"[{ZWNJ}א-ת]")


class _Folding(dict[int, str]):
    """What each character becomes, computed when it is first seen."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold(chr(code))
        return folded


def _dropped(char: str) -> bool:
    code = ord(char)
    if any(low <= code <= high for low, high in _DROPPED_RANGES):
        return True
    return unicodedata.category(char) == "Cf" and char != ZWNJ


def _fold(char: str) -> str:
    if char in _LETTERS:
        return _LETTERS[char]
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    return "".join(_fold_part(part) for part in parts if not _dropped(part))


def _fold_part(char: str) -> str:
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.digit(char))
    return _LETTERS.get(char, char)


_FOLDING: Final = _Folding()


def normalise(text: str) -> str:
    """Return `text` in the form that is compared. Normalising twice changes nothing."""
    if text.isascii():
        return text.lower().replace("`", "'")
    folded = text.translate(_FOLDING)
    return _JOINTS.sub(r"\1", folded) if _HAS_JOINTS.search(folded) else folded


def normalise_offsets(text: str) -> tuple[str, list[int]]:
    """Return `normalise(text)` and, for each of its characters, the index in `text` that it came from."""
    chars: list[str] = []
    origins: list[int] = []
    for index, char in enumerate(text):
        folded = _FOLDING[ord(char)]
        chars.append(folded)
        origins.extend([index] * len(folded))
    whole = "".join(chars)
    kept: list[int] = []
    done = 0
    for joint in _JOINTS.finditer(whole):
        kept.extend(origins[done : joint.start()])
        if joint.group(1):
            kept.append(origins[joint.start()])
        done = joint.end()
    kept.extend(origins[done:])
    return _JOINTS.sub(r"\1", whole), kept


_HEBREW: Final = re.compile("[א-ת]")
_ARABIC_LETTER: Final = re.compile("[\u0620-\u064a\u066e-\u06d3\u06fa-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]")
_LETTER: Final = re.compile(r"[^\W\d_]")
_WORD: Final = re.compile(r"\w+")
_URDU: Final = re.compile("[ٹڈڑںے]")
_URDU_OR_KURDISH: Final = re.compile("[ٹڈڑںےڕڵێۆ]")
_PERSIAN: Final = re.compile("[پچژگکیۀ۰-۹]")
_PERSIAN_LETTER: Final = re.compile("[پچژگکیۀ]")
_SPELT_ARABIC: Final = re.compile(r"[ةإ]|(?<![^\W_])و?أ")
_TYPED_ARABIC: Final = re.compile("[يىك]")
_ARTICLE: Final = re.compile(r"(?<![^\W_])[وفبكل]?ال(?!(?:بته|اخره|اتر)(?![^\W_]))[ء-ي]{3}")
_ENOUGH: Final = 3
"""A script speaks for a text when at least one letter in three is of it: brands in Latin letters do not hide it."""


def guess_lang(text: str) -> str | None:
    """Return he, ar, fa, ur or ckb where the script tells, else None. For texts without a stated language only."""
    if text.isascii():
        return None
    hebrew = len(_HEBREW.findall(text))
    arabic = len(_ARABIC_LETTER.findall(text))
    most = max(hebrew, arabic)
    if most == 0 or most * _ENOUGH < len(_LETTER.findall(text)):
        return None
    return "he" if hebrew >= arabic else arabic_script(text)


def arabic_script(text: str) -> str | None:
    """Return ar, fa, ur or ckb for what stands in Arabic script, however little of the text it is; None if nothing is.

    Persian letters and digits speak for Persian unless more words are Arabic beyond doubt: Arabic posts name brands
    such as گوگل, and keyboards write ۵.
    """
    if text.isascii() or not _ARABIC_LETTER.search(text):
        return None
    if _URDU_OR_KURDISH.search(text):
        return "ur" if _URDU.search(text) else "ckb"
    if not _PERSIAN.search(text):
        return "ar"
    if not _SPELT_ARABIC.search(text) and "ال" not in text:  # of most Persian it is not worth looking at each word
        return "fa"
    return "ar" if sum(map(_leaning, _WORD.findall(text))) > 0 else "fa"


def _leaning(word: str) -> int:
    """Return how far a word speaks for Arabic, below zero for Persian; ي and ك alone do not: Persian is typed so."""
    if _PERSIAN_LETTER.search(word):
        return -1
    article = bool(_ARTICLE.match(word))
    return bool(_SPELT_ARABIC.search(word)) + article + (article and bool(_TYPED_ARABIC.search(word)))


_OLD_CODES: Final = {"iw": "he", "in": "id", "ji": "yi"}
"""Codes that ISO 639 withdrew and that channels still send."""
_UNTOLD: Final = frozenset({"und", "unknown", "none", "null"})


def language(tag: str) -> str:
    """Return a language tag as it is compared: lower case, with hyphens, today's code; empty if it names none."""
    primary, hyphen, rest = tag.lower().replace("_", "-").partition("-")
    return "" if primary in _UNTOLD else f"{_OLD_CODES.get(primary, primary)}{hyphen}{rest}"
