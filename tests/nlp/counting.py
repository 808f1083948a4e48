"""A small real Scorer for tests of the queue: a bag of letters and fixed weights, fast, with faults on demand.

It is a third implementation of the port, not a mock: its answers depend on the text alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from nlp import answers, grouping
from nlp.scorer import LABELS, Prepared, Scorer, ScorerError, Unscorable
from nlp.tokens import clean
from streams.records import Score


class LetterScorer(Scorer):
    """Scores letters. A text with `poison` fails every batch that it is in; `gate` holds `run` until it is set."""

    def __init__(self, poison: str = "\u2620", gate: threading.Event | None = None) -> None:
        self.poison, self.gate = poison, gate
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.closed = False
        self.entered = threading.Event()

    @property
    def model_id(self) -> str:
        return "letters"

    @property
    def model_revision(self) -> str:
        return "1"

    @property
    def max_tokens(self) -> int:
        return 64

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        cleaned = [clean(text) for text in texts]
        return [Prepared(text, [ord(c) for c in text[:64]]) if text else Unscorable("empty") for text in cleaned]

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        self.threads.add(threading.get_ident())
        self.entered.set()
        if self.gate is not None:
            self.gate.wait(10)
        self.batches.append([entry.text for entry in batch])
        if any(self.poison in entry.text for entry in batch):
            raise ScorerError("poison")
        seeds = [sum(entry.ids) for entry in batch]
        outputs = {}
        for task, labels in LABELS.items():
            logits = np.array([[np.sin(seed * (at + 1)) for at in range(len(labels))] for seed in seeds])
            outputs[task] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return answers.scores(outputs, LABELS, None, (self.model_id, self.model_revision))

    def score(self, texts: Sequence[str]) -> list[Score]:
        return grouping.all_scores(grouping.score_each(self, texts))

    def close(self) -> None:
        self.closed = True
