"""Agreement of two people who labelled the same texts: raw, and Cohen's kappa, plain or weighted for ordered labels.

Owns the figures. Does not own reading label files (`training.agreement`).

Kappa is 1 for full agreement and 0 for what chance alone would give. With weights a near miss (high for critical)
counts less than a far one (low for critical): for labels that have an order. `table` is (labels, labels): the first
person's labels as rows, the second's as columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from nlp.bootstrap import Figure, with_intervals
from nlp.quality import Floats, Ints, confusion
from nlp.scorer import LABELS, SENTIMENT, URGENCY

Weighting = Literal["plain", "linear", "quadratic"]
ORDERED: Final = (SENTIMENT, URGENCY)
_POWERS: Final[dict[Weighting, int]] = {"linear": 1, "quadratic": 2}


def raw_agreement(table: Ints) -> float:
    """Return the share of texts with the same label; nan without texts."""
    return float(np.trace(table) / table.sum()) if table.sum() else float("nan")


def kappa(table: Ints, weighting: Weighting = "plain") -> float:
    """Return Cohen's kappa; nan where chance alone would agree on all (one label, or no texts)."""
    count = table.sum()
    if count == 0:
        return float("nan")
    costs = _costs(len(table), weighting)
    chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / count
    expected = float((costs * chance).sum())
    return 1 - float((costs * table).sum()) / expected if expected > 0 else float("nan")


def _costs(labels: int, weighting: Weighting) -> Floats:
    """Return what each cell of a table costs: nothing on the diagonal."""
    apart = np.abs(np.arange(labels)[:, None] - np.arange(labels)[None, :]).astype(np.float64)
    costs: Floats = (apart > 0).astype(np.float64) if weighting == "plain" else apart ** _POWERS[weighting]
    return costs


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two people said of the same texts in one task. `figures` are raw, plain and, with an order, weighted."""

    task: str
    texts: int
    figures: dict[str, Figure]
    confusions: list[tuple[str, str, int]]
    """(the first's label, the second's, how often), the most frequent first."""


def agreement(task: str, first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Return the agreement on texts in the same order; raise ValueError for a label that the task does not have."""
    labels = LABELS[task]
    left, right = (np.array([labels.index(label) for label in given], dtype=np.int64) for given in (first, second))
    weightings: tuple[Weighting, ...] = ("plain", "linear", "quadratic") if task in ORDERED else ("plain",)

    def figures(weights: Ints) -> dict[str, float]:
        table = confusion(left, right, len(labels), weights)
        return {"raw": raw_agreement(table), **{name: kappa(table, name) for name in weightings}}

    table = confusion(left, right, len(labels))
    apart = [
        (labels[row], labels[column], int(table[row, column]))
        for row in range(len(labels))
        for column in range(len(labels))
        if row != column and table[row, column]
    ]
    return Agreement(task, len(left), with_intervals(figures, len(left)), sorted(apart, key=lambda cell: -cell[2]))
