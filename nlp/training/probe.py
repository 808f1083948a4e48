"""Refits linear heads on a frozen encoder: minutes instead of hours, for a first model or for new labels.

Owns the fit of one head. Does not own the encoder's training (`train`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nlp.training.calibrate import features

if TYPE_CHECKING:
    from nlp.network import Network
    from nlp.tokens import TextEncoder
    from nlp.training.corpora import Corpus

_ROUNDS: Final = 60
_DECAY: Final = 3e-3


def fit_head(head: nn.Linear, pooled: Tensor, labels: Tensor, weights: Tensor) -> float:
    """Fit `head` to pooled states and labels by full-batch L-BFGS; return the last loss."""
    mean, spread = pooled.mean(0), pooled.std(0).clamp(min=1e-6)
    scaled = (pooled - mean) / spread
    probe = nn.Linear(head.in_features, head.out_features)
    nn.init.zeros_(probe.weight)
    optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(probe(scaled), labels, weight=weights) + _DECAY * probe.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call, unused-ignore]
    loss = closure()
    with torch.no_grad():
        head.weight.copy_(probe.weight / spread)
        head.bias.copy_(probe.bias - (probe.weight / spread) @ mean)
    return float(loss)


def fit_heads(network: Network, encoder: TextEncoder, corpora: list[Corpus], tasks: tuple[str, ...]) -> None:
    """Refit the heads of `tasks` on the training part of the corpora that are labelled for any of them."""
    examples = [example for corpus in corpora if set(tasks) & set(corpus.tasks) for example in corpus.train]
    pooled, known = features(network, encoder, examples)
    for task in tasks:
        rows = [at for at, labels in enumerate(known) if task in labels]
        labels = torch.tensor([known[at][task] for at in rows], dtype=torch.long)
        head = network.heads[task]
        counts = torch.bincount(labels, minlength=head.out_features).clamp(min=1).float()
        weights = counts.pow(-0.5) * len(labels) / counts.pow(0.5).sum()
        loss = fit_head(head, pooled[rows], labels, weights)
        print(f"{task}: {len(labels)} examples, loss {loss:.3f}", flush=True)
