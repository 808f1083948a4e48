"""A bounded memory of answers: a text, its copies and its near copies (`near_copies`) are scored once.

Owns the two maps, their bound, and which texts of a batch need the model at all. Does not own what a near copy is, nor
running a model. Not safe for threads: the scorer's owner thread alone uses it. Errors are never remembered, and never
stand for a near copy: that is tried on its own.

A copy is a text that reads the same once cleaned (`tokens.clean`): so the share with another link or handle costs
nothing and risks nothing. Equal token ids would not do: a classifier in the place of a head reads the text by a
vocabulary of its own, and the calibration goes by the text's family.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from nlp.near_copies import near_form, settled
from nlp.scorer import Prepared, ScorerError
from streams.records import Score

Answered = Score | ScorerError
Run = Callable[[Sequence[Prepared]], Mapping[str, Answered]]
"""Scores distinct texts; answers by cleaned text."""


@dataclass(slots=True)
class CacheCounts:
    """Texts since the start: `exact` and `near` were answered from memory (or by another text of the same batch).

    `missed` were the model's. `evicted` counts answers that the bound pushed out.
    """

    exact: int = 0
    near: int = 0
    missed: int = 0
    evicted: int = 0


class _Keys(NamedTuple):
    exact: bytes
    near: bytes


def _keys(entry: Prepared) -> _Keys:
    form = near_form(entry.text).encode("utf-8", "surrogatepass")
    text = entry.text.encode("utf-8", "surrogatepass")
    return _Keys(blake2b(text, digest_size=16).digest(), blake2b(form, digest_size=16).digest())


class _Answers:
    """Answers of one kind, the least recently used first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._scores: OrderedDict[bytes, Score] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: bytes) -> Score | None:
        if (score := self._scores.get(key)) is not None:
            self._scores.move_to_end(key)
        return score

    def put(self, key: bytes, score: Score) -> int:
        """Keep an answer; return how many it pushed out."""
        self._scores[key] = score
        self._scores.move_to_end(key)
        if len(self._scores) <= self._size:
            return 0
        self._scores.popitem(last=False)
        return 1 if self._size else 0


@dataclass(slots=True)
class _Batch:
    """What is known of one batch: answers by exact key, and the settled ones by near key."""

    exact: dict[bytes, Answered] = field(default_factory=dict)
    near: dict[bytes, Score] = field(default_factory=dict)

    def answer(self, key: _Keys) -> Answered | None:
        return self.exact.get(key.exact) or self.near.get(key.near)


class AnswerCache:
    """Least recently used answers go first. A size of 0 remembers nothing: copies within a batch still run once."""

    def __init__(self, size: int) -> None:
        """`size` is the largest number of answers kept for copies, and for near copies (about 3 kB each)."""
        self._exact, self._near = _Answers(size), _Answers(size)
        self.counts = CacheCounts()

    def __len__(self) -> int:
        return len(self._exact)

    def answer(self, entries: Sequence[Prepared], run: Run) -> list[Answered]:
        """Return one answer per entry; `run` is asked for what neither the memory nor the batch itself answers.

        It is asked at most twice: for one text of each kind, and then for those to which that answer does not extend.
        """
        keys = [_keys(entry) for entry in entries]
        batch = _Batch()
        for key in keys:
            self._recall(key, batch)
        ran: set[bytes] = set()
        for first_of_kind in (True, False):
            asked: dict[bytes, tuple[_Keys, Prepared]] = {}
            for key, entry in zip(keys, entries, strict=True):
                if batch.answer(key) is None:
                    asked.setdefault(key.near if first_of_kind else key.exact, (key, entry))
            ran.update(key.exact for key, _ in asked.values())
            self._run(list(asked.values()), run, batch)
        self._count(keys, batch, ran)
        return [answer for key in keys if (answer := batch.answer(key)) is not None]

    def _recall(self, key: _Keys, batch: _Batch) -> None:
        score, alike = self._exact.get(key.exact), self._near.get(key.near)
        if score is not None:
            batch.exact[key.exact] = score
        if alike is not None:
            batch.near[key.near] = alike

    def _run(self, asked: Sequence[tuple[_Keys, Prepared]], run: Run, batch: _Batch) -> None:
        fresh = run([entry for _, entry in asked]) if asked else {}
        for key, entry in asked:
            answer = batch.exact[key.exact] = fresh[entry.text]
            if not isinstance(answer, Score):
                continue
            self.counts.evicted += self._exact.put(key.exact, answer)
            if settled(answer):
                batch.near[key.near] = answer
                self._near.put(key.near, answer)

    def _count(self, keys: Sequence[_Keys], batch: _Batch, ran: set[bytes]) -> None:
        for key in keys:
            answer = batch.exact.get(key.exact)
            if isinstance(answer, ScorerError) or key.exact in ran:
                self.counts.missed += 1
                ran.discard(key.exact)
            elif answer is not None:
                self.counts.exact += 1
            else:
                self.counts.near += 1
