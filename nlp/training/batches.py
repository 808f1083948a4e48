"""Batches for training and evaluation: tokenised once, grouped by length, padded to the longest of the batch.

Owns order and shape of batches. Does not own the corpora or the loss.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from nlp.scorer import Unscorable
from nlp.training.corpora import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nlp.tokens import TextEncoder
    from nlp.training.corpora import Corpus, Example

PAD: Final = 1
_WINDOW: Final = 32
"""Batches that are sorted by length together: enough to save padding, little enough to stay random."""


@dataclass(frozen=True, slots=True)
class Item:
    """One tokenised example."""

    ids: list[int]
    labels: dict[str, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded ids and mask (count, tokens), and per task the labels (count); all from the corpus of that name."""

    name: str
    ids: Tensor
    mask: Tensor
    labels: dict[str, Tensor]


def tokenise(encoder: TextEncoder, examples: list[Example]) -> list[Item]:
    """Return the tokenised examples without those that hold nothing readable."""
    readable: list[tuple[str, Example]] = []
    for example in examples:
        try:
            readable.append((encoder.readable(example.text), example))
        except Unscorable:
            continue
    encoded = encoder.encode([text for text, _ in readable])
    return [Item(ids, example.labels) for ids, (_, example) in zip(encoded, readable, strict=True)]


def padded(items: list[Item]) -> tuple[Tensor, Tensor]:
    """Return ids and mask (count, longest) of the items."""
    longest = max(len(item.ids) for item in items)
    ids = torch.full((len(items), longest), PAD)
    mask = torch.zeros((len(items), longest), dtype=torch.long)
    for row, item in enumerate(items):
        ids[row, : len(item.ids)] = torch.tensor(item.ids)
        mask[row, : len(item.ids)] = 1
    return ids, mask


def batch_of(items: list[Item], name: str) -> Batch:
    """Return the items of one corpus as one batch."""
    labels = {task: torch.tensor([item.labels[task] for item in items]) for task in items[0].labels}
    return Batch(name, *padded(items), labels)


def endless(items: list[Item], size: int, chance: random.Random) -> Iterator[list[Item]]:
    """Yield groups of `size` items of like length for ever; each item once per round."""
    while True:
        order = chance.sample(items, len(items))
        for start in range(0, len(order), size * _WINDOW):
            window = sorted(order[start : start + size * _WINDOW], key=lambda item: len(item.ids))
            groups = [window[at : at + size] for at in range(0, len(window), size)]
            yield from chance.sample(groups, len(groups))


def mixed(corpora: list[Corpus], encoder: TextEncoder, size: int, seed: int) -> Iterator[Batch]:
    """Yield batches for ever, each of one corpus, drawn by the corpora's shares."""
    chance = random.Random(seed)
    used = [corpus for corpus in corpora if corpus.train]
    streams = [endless(tokenise(encoder, corpus.train), size, chance) for corpus in used]
    while True:
        (at,) = chance.choices(range(len(used)), [corpus.share for corpus in used])
        yield batch_of(next(streams[at]), used[at].name)


def class_weights(corpus: Corpus, power: float) -> dict[str, Tensor]:
    """Return per task a loss weight per class: inverse frequency to `power`, mean 1 over the examples, at most 5."""
    found = {}
    for task in corpus.tasks:
        labels = torch.tensor([example.labels[task] for example in corpus.train], dtype=torch.long)
        counts = torch.bincount(labels, minlength=len(TASKS[task])).float()
        weights = counts.clamp(min=1).pow(-power)
        found[task] = (weights * counts.sum() / (weights * counts).sum()).clamp(max=5.0)
    return found
