"""Foreign labels: what a strange model's own `id2label` means in our words, or a refusal.

Owns the table of known spellings. Does not own loading a model (`torch_classifier`). An order of labels is never
assumed: two public fine-tunes of one base model publish opposite ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from nlp.scorer import LABELS, SENTIMENT

_SPELLINGS: Final = {
    "negative": {"negative", "neg", "very negative", "extremely negative", "slightly negative", "somewhat negative"}
    | {"bearish", "negativ", "negativo", "negativa", "négatif", "negatif", "שלילי", "منفی", "سلبي", "n"},
    "neutral": {"neutral", "neu", "neutre", "neutro", "neutrale", "no sentiment", "נייטרלי", "ניטרלי", "خنثی", "محايد"},
    "positive": {"positive", "pos", "very positive", "extremely positive", "slightly positive", "somewhat positive"}
    | {"bullish", "positiv", "positivo", "positiva", "positif", "חיובי", "مثبت", "إيجابي", "ايجابي", "p"},
}
_BY_SPELLING: Final = {spelling: label for label, known in _SPELLINGS.items() for spelling in known}
_STARS: Final = re.compile(r"(?:([1-5]) ?stars?|stars? ?([1-5])|(★{1,5})☆{0,4})")
_STAR_LABELS: Final = ("negative", "negative", "neutral", "positive", "positive")
_SEPARATORS: Final = re.compile(r"[\s_\-]+")


class LabelsRefused(ValueError):
    """A model's labels cannot be mapped; the message lists them and says what to do."""


def _sentiment(name: str) -> str | None:
    plain = _SEPARATORS.sub(" ", name.strip().casefold()).removesuffix(" sentiment").removeprefix("sentiment ")
    if match := _STARS.fullmatch(plain):
        stars = len(match[3]) if match[3] else int(match[1] or match[2])
        return _STAR_LABELS[stars - 1]
    return _BY_SPELLING.get(plain)


def _known(name: str, task: str) -> str | None:
    if task == SENTIMENT:
        return _sentiment(name)
    plain = name.strip().casefold()
    return plain if plain in LABELS[task] else None


def label_map(id2label: Mapping[int, str], task: str = SENTIMENT, stated: Mapping[str, str] | None = None) -> list[str]:
    """Return our label for each of the model's classes 0..n-1; several classes may share one (stars, "very negative").

    `stated` is the user's own mapping from the model's labels to ours and wins over the table. Raise LabelsRefused if
    any class stays unknown, if a stated label is none of the model's, or if a pole that the task needs is missing.
    """
    stated = stated or {}
    try:
        names = [str(id2label.get(at, "")) for at in range(len(id2label))]
    except (AttributeError, TypeError) as error:
        raise LabelsRefused(f"`id2label` is no mapping from numbers to labels: {id2label!r:.80}") from error
    if strange := [name for name in stated if name not in names]:
        raise LabelsRefused(
            f"the stated labels {strange} are none of the model's, which are {names}: spell them as it does"
        )
    mapped = [stated.get(name) or _known(name, task) for name in names]
    unknown = [name for name, label in zip(names, mapped, strict=True) if label not in LABELS[task]]
    wanted = "negative and positive" if task == SENTIMENT else "at least two classes"
    remedy = f"state the mapping, for example {{{names[0] if names else 'LABEL_0'!r}: {LABELS[task][0]!r}, ...}}"
    if unknown:
        raise LabelsRefused(f"cannot tell what {unknown} mean for {task} ({', '.join(LABELS[task])}): {remedy}")
    found = {label for label in mapped if label}
    if len(found) < 2 or (task == SENTIMENT and not {"negative", "positive"} <= found):  # noqa: PLR2004 - two sides
        raise LabelsRefused(f"the labels {names} do not tell {wanted} apart: {remedy}")
    return [label for label in mapped if label]
