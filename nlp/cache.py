"""A bounded memory of answers: shares and syndicated texts are scored once.

Owns the map and its bound. Not safe for threads: the scorer's owner thread alone uses it. Errors are never remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from streams.records import Score


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class AnswerCache:
    """Least recently used answers go first. A size of 0 remembers nothing."""

    def __init__(self, size: int) -> None:
        """`size` is the largest number of answers kept (about 3 kB each)."""
        self._size = size
        self._scores: OrderedDict[bytes, Score] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def lookup(self, texts: Iterable[str]) -> dict[str, Score]:
        """Return the remembered scores of these cleaned texts."""
        found: dict[str, Score] = {}
        for text in texts:
            key = _key(text)
            if (score := self._scores.get(key)) is not None:
                self._scores.move_to_end(key)
                found[text] = score
        return found

    def remember(self, answers: Mapping[str, object]) -> None:
        """Keep those answers that are scores."""
        for text, answer in answers.items():
            if isinstance(answer, Score):
                self._scores[_key(text)] = answer
        while len(self._scores) > self._size:
            self._scores.popitem(last=False)
