"""Batches for training and evaluation: tokenised once, grouped by length, padded to the longest of the batch.

Owns order and shape of batches. Does not own the corpora or the loss.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from nlp.scorer import LABELS, SENTIMENT, Unscorable
from nlp.training.corpora import EVENT, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nlp.tokens import TextEncoder
    from nlp.training.corpora import Corpus, Example

PAD: Final = 1
UNKNOWN: Final = 3
_NO_OPINION: Final = (0.0,) * len(LABELS[SENTIMENT])
_WINDOW: Final = 32
"""Batches that are sorted by length together: enough to save padding, little enough to stay random."""


@dataclass(frozen=True, slots=True)
class Item:
    """One tokenised example; `row` is its place in a table of soft targets, where there is one."""

    ids: list[int]
    labels: dict[str, int]
    row: int = -1
    opinion: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded ids and mask (count, tokens), per task the labels (count), rows (count); all from the corpus `name`.

    `opinions` (count, sentiments) are a second annotator's distributions; a row of zeros where there is none.
    """

    name: str
    ids: Tensor
    mask: Tensor
    labels: dict[str, Tensor]
    rows: Tensor
    opinions: Tensor


def tokenise(encoder: TextEncoder, examples: list[Example]) -> list[Item]:
    """Return the tokenised examples without those that hold nothing readable."""
    readable: list[tuple[str, Example]] = []
    for example in examples:
        try:
            readable.append((encoder.readable(example.text), example))
        except Unscorable:
            continue
    encoded = encoder.encode([text for text, _ in readable])
    return [Item(ids, one.labels, opinion=one.opinion) for ids, (_, one) in zip(encoded, readable, strict=True)]


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
    opinions = torch.tensor([item.opinion or _NO_OPINION for item in items])
    return Batch(name, *padded(items), labels, torch.tensor([item.row for item in items]), opinions)


def endless(items: list[Item], size: int, chance: random.Random) -> Iterator[list[Item]]:
    """Yield groups of `size` items of like length for ever; each item once per round."""
    while True:
        order = chance.sample(items, len(items))
        for start in range(0, len(order), size * _WINDOW):
            window = sorted(order[start : start + size * _WINDOW], key=lambda item: len(item.ids))
            groups = [window[at : at + size] for at in range(0, len(window), size)]
            yield from chance.sample(groups, len(groups))


def event_rounds(items: list[Item], size: int, chance: random.Random) -> Iterator[list[Item]]:
    """Yield groups of about `size` items for ever in which every event has all its texts; each item once per round."""
    events: dict[int, list[Item]] = {}
    for item in items:
        events.setdefault(item.labels[EVENT], []).append(item)
    while True:
        group: list[Item] = []
        for event in chance.sample(list(events), len(events)):
            group += events[event]
            if len(group) >= size:
                yield group
                group = []


def mixed(corpora: list[Corpus], encoder: TextEncoder, size: int, seed: int) -> Iterator[Batch]:
    """Yield batches for ever, each of one corpus, drawn by the corpora's shares."""
    used = [corpus for corpus in corpora if corpus.train]
    yield from drawn({c.name: (c.share, tokenise(encoder, c.train)) for c in used}, size, seed)


def drawn(shares: Mapping[str, tuple[float, list[Item]]], size: int, seed: int) -> Iterator[Batch]:
    """Yield batches for ever from (share, items) by name, each batch of one name, drawn by the shares."""
    chance = random.Random(seed)
    streams = {
        name: (event_rounds if EVENT in items[0].labels else endless)(items, size, chance)
        for name, (_, items) in shares.items()
    }
    while True:
        (name,) = chance.choices(list(shares), [share for share, _ in shares.values()])
        yield batch_of(next(streams[name]), name)


def class_weights(corpus: Corpus, power: float) -> dict[str, Tensor]:
    """Return per task a loss weight per class: inverse frequency to `power`, mean 1 over the examples, at most 5."""
    found = {}
    for task in TASKS.keys() & set(corpus.tasks):
        labels = torch.tensor([example.labels[task] for example in corpus.train], dtype=torch.long)
        counts = torch.bincount(labels, minlength=len(TASKS[task])).float()
        weights = counts.clamp(min=1).pow(-power)
        found[task] = (weights * counts.sum() / (weights * counts).sum()).clamp(max=5.0)
    return found
