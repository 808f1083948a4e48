"""Early stopping: held-out texts are judged while a network trains, and the best state so far is what the run returns.

Owns the figure, the interval, the patience and the best state. Does not own training (`train`, `distil`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from nlp import quality
from nlp.scorer import LABELS
from nlp.training.calibrate import features

if TYPE_CHECKING:
    from torch import Tensor

    from nlp.network import Network
    from nlp.tokens import TextEncoder
    from nlp.training.corpora import Corpus, Example

_TEXTS: Final = 120
"""Held-out texts of each corpus, evenly picked: about half a minute on two cores."""


def held_out_macro_f1(network: Network, encoder: TextEncoder, corpora: list[Corpus]) -> float:
    """Return the mean macro-F1 over all tasks and corpora, on up to 120 held-out texts of each corpus."""
    picked: list[tuple[str, Example]] = [
        (corpus.name, example)
        for corpus in corpora
        for example in corpus.dev[:: max(1, len(corpus.dev) // _TEXTS)][:_TEXTS]
        if LABELS.keys() & example.labels.keys()
    ]
    training = network.training
    network.eval()
    pooled, known = features(network, encoder, [example for _, example in picked])
    if len(known) != len(picked):
        raise ValueError("a held-out text holds nothing readable: take it out of its corpus")
    figures = []
    for task in LABELS:
        with torch.inference_mode():
            predicted = network.heads[task](pooled).argmax(-1).numpy()
        for name in sorted({name for name, _ in picked}):
            rows = [at for at, (of, _) in enumerate(picked) if of == name and task in known[at]]
            if rows:
                truth = np.array([known[at][task] for at in rows], dtype=np.int64)
                table = quality.confusion(truth, predicted[rows], len(LABELS[task]))
                figures.append(quality.macro(quality.f1_scores(table)))
    network.train(training)
    return float(np.mean(figures))


@dataclass
class EarlyStop:
    """Keeps the best state by held-out macro-F1. `every` and times are seconds of training."""

    corpora: list[Corpus]
    encoder: TextEncoder
    every: float
    patience: int
    best: float = -1.0
    worse: int = 0
    next_at: float = 0.0
    _state: dict[str, Tensor] = field(default_factory=dict)

    def due(self, elapsed: float) -> bool:
        """Return whether it is time to look."""
        return elapsed >= self.next_at

    def look(self, network: Network, elapsed: float) -> bool:
        """Judge the network; return True when it has been worse than its best `patience` times in a row."""
        self.next_at = elapsed + self.every
        found = held_out_macro_f1(network, self.encoder, self.corpora)
        print(f"minute {elapsed / 60:.1f} held-out macro-F1 {found:.4f} (best {max(self.best, found):.4f})", flush=True)
        if found > self.best:
            self.best, self.worse = found, 0
            self._state = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}
        else:
            self.worse += 1
        return self.worse >= self.patience

    def restore(self, network: Network) -> None:
        """Put the best state back."""
        network.load_state_dict(self._state, strict=False)
