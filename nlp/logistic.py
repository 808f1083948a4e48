"""Multinomial logistic regression on numpy alone: the softmax, its loss, and a minimiser for smooth convex functions.

Owns the numerics that calibration and adapting share. Does not own what is fitted. It exists because the default
install has no library that fits (neither scipy nor torch) and people adapt the model where they run it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Objective = Callable[[Floats], tuple[float, Floats]]
"""A point to its value and its gradient."""

TINY: Final = 1e-12
"""The least probability whose logarithm is taken."""
_MEMORY: Final = 12
_SLOPE_SHARE: Final = 1e-4
_LEAST_STEP: Final = 1e-12


def logs(probabilities: NDArray[np.floating[Any]]) -> Floats:
    """Return the logarithms as float64, of at least TINY each."""
    found: Floats = np.log(np.maximum(probabilities.astype(np.float64), TINY))
    return found


def softmax(logits: Floats) -> Floats:
    """Return the distribution of each row."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = raised / raised.sum(axis=1, keepdims=True)
    return found


def losses(probabilities: Floats, truth: Ints) -> Floats:
    """Return each row's negative log-likelihood of its true class, shape (count)."""
    return -logs(probabilities[np.arange(len(truth)), truth])


def _direction(gradient: Floats, pairs: deque[tuple[Floats, Floats]]) -> Floats:
    """Return minus the gradient times the inverse Hessian that the steps so far suggest (two-loop recursion)."""
    found = -gradient
    shares = []
    for step, change in reversed(pairs):
        shares.append((step @ found) / (step @ change))
        found = found - shares[-1] * change
    if pairs:
        step, change = pairs[-1]
        found = found * ((step @ change) / (change @ change))
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        found = found + step * (share - (change @ found) / (step @ change))
    return found


def minimise(objective: Objective, start: Floats, rounds: int = 200, tolerance: float = 1e-6) -> Floats:
    """Return where the smooth convex `objective` is least, by L-BFGS from `start`.

    Stops when no entry of the gradient exceeds `tolerance` times the larger of 1 and the value at the start, when no
    step lowers the value any more, or after `rounds`.
    """
    point = start.astype(np.float64)
    value, gradient = objective(point)
    enough = tolerance * max(1.0, abs(value))
    pairs: deque[tuple[Floats, Floats]] = deque(maxlen=_MEMORY)
    for _ in range(rounds):
        if np.abs(gradient).max(initial=0) <= enough:
            break
        way = _direction(gradient, pairs)
        slope = float(way @ gradient)
        length = 1.0 if pairs else 1 / max(1.0, float(np.abs(gradient).sum()))
        while True:
            there = point + length * way
            lower, its_gradient = objective(there)
            if lower <= value + _SLOPE_SHARE * length * slope:
                break
            length /= 2
            if length < _LEAST_STEP:
                return point
        if (there - point) @ (its_gradient - gradient) > 0:
            pairs.append((there - point, its_gradient - gradient))
        point, value, gradient = there, lower, its_gradient
    return point
