"""Bootstrap intervals: how far a figure would move on another sample of as many texts.

Owns the resampling. Does not own figures (`quality`). Resamples are weights (how often each text was drawn), so that
sorting and thresholds are done once, and so that two models are compared on the very same draws (paired).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from nlp.quality import Ints

ROUNDS: Final = 1000
_LEAST_ROUNDS: Final = 200
_DRAWS: Final = 20_000_000
"""Draws of all rounds together: beyond 20,000 texts fewer rounds do, because the interval is narrow by then."""
_PERCENTILES: Final = (2.5, 97.5)
FEWEST: Final = 10
"""Texts below which an interval would only pretend to know."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval; `low` and `high` are nan where there are too few texts to tell."""

    value: float
    low: float
    high: float


def resamples(count: int, rounds: int | None = None, seed: int = 0) -> Iterator[Ints]:
    """Yield for each round how often each of `count` texts was drawn with replacement."""
    chance = np.random.default_rng(seed)
    for _ in range(rounds or max(_LEAST_ROUNDS, min(ROUNDS, _DRAWS // max(1, count)))):
        yield np.bincount(chance.integers(0, count, count), minlength=count).astype(np.int64)


def with_intervals(
    figures: Callable[[Ints], Mapping[str, float]],
    count: int,
    *,
    rounds: int | None = None,
    seed: int = 0,
    biased: Collection[str] = (),
) -> dict[str, Figure]:
    """Return each of `figures(weights)` for all texts, with the interval that its resamples span.

    For a paired comparison let `figures` return differences: both models see the same weights. `biased` names figures
    that resampling raises by itself (an error that repeated texts feed): their interval is mirrored at the value, as
    the basic bootstrap does, and ends at 0.
    """
    whole = figures(np.ones(count, dtype=np.int64))
    if count < FEWEST:
        return {name: Figure(value, np.nan, np.nan) for name, value in whole.items()}
    drawn = [figures(weights) for weights in resamples(count, rounds, seed)]
    return {name: _figure(value, [one[name] for one in drawn], name in biased) for name, value in whole.items()}


def _figure(value: float, drawn: list[float], biased: bool) -> Figure:
    known = np.array(drawn)[np.isfinite(drawn)]
    if not np.isfinite(value) or len(known) == 0:
        return Figure(value, np.nan, np.nan)
    low, high = np.percentile(known, _PERCENTILES)
    if biased:
        low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
    return Figure(value, float(low), float(high))
