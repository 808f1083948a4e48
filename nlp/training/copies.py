"""Which texts are nearly the same as one of some others, so that a split into train and held-out can keep them apart.

Owns the search. Does not own what is done with them (`corpora`, `real_texts`), nor the cache's near copies, which must
have the same scores (`nlp.near_copies`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from typing import Final

NEAR: Final = 0.6
"""Share of common words among all words of two texts from which they count as copies."""
_ROUNDING: Final = 1e-9

Words = frozenset[str]


def copies(texts: Sequence[Words], others: Sequence[Words]) -> set[int]:
    """Return the indices of those `texts` that share NEAR of the words with one of `others`.

    Two such texts have one of the rarest words of either in common, as many as they may differ in and one more; so only
    texts with such a word are compared. Texts without words are nobody's copy.
    """
    counts = Counter(word for bag in (*texts, *others) for word in bag)
    holders: dict[str, list[Words]] = defaultdict(list)
    for bag in others:
        for word in _rarest(bag, counts):
            holders[word].append(bag)
    return {at for at, bag in enumerate(texts) if any(_near(bag, other) for other in _met(bag, counts, holders))}


def _rarest(bag: Words, counts: Counter[str]) -> list[str]:
    """Return the rarest words of `bag`, one more than a copy may lack."""
    return sorted(bag, key=lambda word: (counts[word], word))[: len(bag) - ceil(NEAR * len(bag) - _ROUNDING) + 1]


def _met(bag: Words, counts: Counter[str], holders: dict[str, list[Words]]) -> Iterator[Words]:
    lists: Iterable[list[Words]] = (holders[word] for word in _rarest(bag, counts) if word in holders)
    return (other for found in lists for other in found)


def _near(bag: Words, other: Words) -> bool:
    return len(bag & other) >= NEAR * len(bag | other) - _ROUNDING
