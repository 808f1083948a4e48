"""Which texts are near copies of each other, and how sure an answer must be to stand for all of them.

Owns the form that near copies share, and `settled`. Does not own remembering (`cache`). Pure.

A near copy differs only in typographic against plain quotes, dashes and dots, in how many links stand in a row, in the
handles that a share appends, in a third and further `!`, `?` or `.`, and in one closing full stop. Case, digits, words,
hashtags, emoji and letters are never touched. Links and names of accounts are one word each already (`tokens.clean`).

Why these and no more: real tweets were scored with and without one difference (`python -m benchmarks.near_copies DATA`
repeats it). Percent of pairs in which any of the three labels differs, and the 99th percentile of the largest change
of a probability, for all pairs and for those whose first answer is settled (warroom-small@36ccf01902c8, int8, up to
1,200 pairs a row out of 95,000 tweets in seven languages):

    difference                   all           settled        used
    none, in another batch       5.4 %  0.13   0.0 %  0.08    (int8 had one scale a batch then; nothing moves since)
    dots                         3.2 %  0.08   0.0 %  0.07    yes
    quotes and dashes            7.4 %  0.14   0.0 %  0.12    yes
    links in a row               8.3 %  0.17   0.0 %  0.14    yes
    closing full stop            9.3 %  0.20   0.2 %  0.12    yes
    third ! ? .                  9.8 %  0.27   0.2 %  0.16    yes
    handles at the end           8.8 %  0.19   0.4 %  0.18    yes
    all of these at once         9.8 %  0.27   0.3 %  0.17    yes
    other digits                10.1 %  0.33   0.7 %  0.26    no
    via @user                    9.5 %  0.26   0.8 %  0.18    no
    handles in a row            18.8 %  0.42   2.8 %  0.41    no
    link at the end             18.0 %  0.42   3.6 %  0.39    no
    RT @user:                   29.8 %  0.52   6.1 %  0.50    no

Case, hashtags, emoji and letters of another keyboard (ي for ی) changed as much as "handles in a row" or more.

What it gains is small beside exact copies: of 27,933 tweets of 26 crises 3,027 (10.8 %) read the same once cleaned, and
these rules find 5 more.
"""

from __future__ import annotations

import re
from typing import Final

from nlp.tokens import HANDLE_WORD, URL_WORD
from streams.records import Opinion, Score

MARGIN: Final = 0.3
"""Least lead of an answer's label, in each task, over the next one: about half of all answers have it."""

_PLAIN: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2013\u2014", "-"),
        "\u2026": "...",
    }
)
_TYPOGRAPHIC: Final = re.compile("[\u2018\u2019\u201c\u201d\u00ab\u00bb\u2013\u2014\u2026]")
_LINKS: Final = re.compile(rf"\b{URL_WORD}(?: {URL_WORD})+\b")
_HANDLE: Final = f" {HANDLE_WORD}"
_SHOUT: Final = re.compile(r"([!?.])\1{2,}")
_FULL_STOP: Final = re.compile(r"(?<!\.)\.$")


def near_form(cleaned: str) -> str:
    """Return what all near copies of a cleaned text (`tokens.clean`) have in common; never shown, only compared."""
    text = cleaned.translate(_PLAIN) if _TYPOGRAPHIC.search(cleaned) else cleaned
    text = _LINKS.sub(URL_WORD, text)
    end = len(text)
    while text.endswith(_HANDLE, 0, end):
        end -= len(_HANDLE)
    return _FULL_STOP.sub("", _SHOUT.sub(r"\1\1", text[:end]))


def settled(score: Score) -> bool:
    """Return whether every label leads by so much that a near copy would hardly get another."""
    return all(_lead(opinion) >= MARGIN for opinion in (score.sentiment, score.urgency, score.intent))


def _lead(opinion: Opinion) -> float:
    first, second = sorted(opinion.probabilities.values(), reverse=True)[:2]
    return first - second
