"""Logits of a network on labelled texts, and the temperature that makes its probabilities honest.

Owns the forward pass over examples and temperature scaling. Does not own figures of merit (`nlp.quality`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from nlp.training.batches import padded, tokenise
from nlp.training.precision import quick

if TYPE_CHECKING:
    from nlp.network import Network
    from nlp.tokens import TextEncoder
    from nlp.training.corpora import Example

_SIZE: Final = 32
_TEMPERATURES: Final = np.geomspace(0.25, 4.0, 161)


def features(
    network: Network, encoder: TextEncoder, examples: list[Example]
) -> tuple[torch.Tensor, list[dict[str, int]]]:
    """Return pooled states (count, hidden) and labels (count dictionaries) of the readable examples, in their order."""
    items = tokenise(encoder, examples)
    order = sorted(range(len(items)), key=lambda at: len(items[at].ids))
    pooled = torch.empty(len(items), network.encoder.config.hidden_size)
    with torch.inference_mode():
        for start in range(0, len(order), _SIZE):
            rows = order[start : start + _SIZE]
            ids, mask = padded([items[at] for at in rows])
            with quick():
                pooled[rows] = network.pooled(ids, mask)
    return pooled.clone(), [item.labels for item in items]


def log_loss(logits: NDArray[np.float64], truth: NDArray[np.int64], temperature: float) -> float:
    """Return the mean negative log-likelihood of the truth at this temperature."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(truth)), truth]))


def best_temperature(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return the temperature in 0.25..4 with the least log loss; 1 where there is nothing to learn from."""
    if len(truth) == 0:
        return 1.0
    return float(min(_TEMPERATURES, key=lambda value: log_loss(logits, truth, value)))
