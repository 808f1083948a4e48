"""Fitting of calibration and thresholds on held-out texts, and the honest measure of both.

Owns the bend of a task, temperature and bias per language family, the choice of a threshold, and cross-fitting. Does
not own their use (`calibration`) nor where the texts come from (`training.recalibrate`, `adapt`).

A family's temperature is drawn towards that of the family it is a part of, or of all languages, as strongly as about a
thousand texts would pull: behind the curve of a task languages differ little, and few texts say little. A bias per
class is fitted only where it lowers the loss on texts that had no part in it, in every set: the shares of classes
differ between sets (one has no neutral texts at all), and a bias learns the share of its set. Whatever is said of how
good a fit is comes from cross-fitting: each fold is answered by what the other folds taught (its temperature from their
texts as bent by slopes in which it had a fifth).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlp.calibration import EVEN_ODDS, Bend, Correction, Corrections, Threshold, bent, corrected, sloped
from nlp.families import EVERY, FAMILIES, WIDER, Family
from nlp.logistic import TINY, Floats, Ints, losses, minimise, softmax
from nlp.quality import calibration_error

Bools = NDArray[np.bool_]

FOLDS: Final = 5
STATED: Final = {"sentiment": 0.80, "urgency": 0.85}
"""The precision that the answers which are not uncertain should reach."""
FEWEST: Final = 100
"""Texts of a family below which it has no threshold of its own."""

_PULLS: Final = (30.0, 60.0)
"""How strongly inverse temperature (a normal prior of deviation 0.18) and bias are drawn to what held before."""
_KIN: Final = (300.0, 60.0)
"""How strongly those of a family are drawn to the wider one (deviation 0.06). Of 10, 30, 100, 300, 600, 1,500 and
100,000 the loss of cross-fitted answers, summed over the tasks, was lowest and alike from 300 to 1,500."""
_SLOPE_PULL: Final = 20.0
"""How strongly the slope of a class is drawn to the mean of them (a normal prior of deviation 0.22)."""
_MEAN_PULL: Final = 1.0
"""How strongly each is drawn to 1: the temperatures, which come after, are there for what all have in common."""
_ROUNDS: Final = 40
"""Steps after which slopes are near enough: the loss has a kink where two answers tie, and no end of small gains."""
_LET_GO: Final = 25.0
"""One over the squared distance (0.2) from which an inverse temperature is hardly drawn back."""
_FREE: Final = (1e-6, 1.0)
_COARSE: Final = np.geomspace(0.25, 4.0, 21)
_FINE: Final = np.geomspace(0.9, 1 / 0.9, 9)
_BIAS_GAIN: Final = 0.005
"""By how much a bias must lower the mean loss over the sets, while raising it in none, to be worth its risk."""
_SLOPES: Final = (0.2, 5.0)
_CURVES: Final = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
_LEAST_KEPT: Final = 30
"""Texts that must be left above a threshold for the precision there to be worth anything."""
_NEARLY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Texts of one task: `logits` (count, classes) before calibration, `truth`, `families` (index into FAMILIES).

    `sets` names where each came from: what is worth having must be worth it in each. `folds` (0..FOLDS-1) are the same
    for equal texts.
    """

    logits: Floats
    truth: Ints
    families: Ints
    sets: tuple[str, ...]
    folds: Ints

    def picked(self, rows: Bools) -> HeldOut:
        """Return the rows where the mask is true."""
        sets = tuple(name for name, wanted in zip(self.sets, rows, strict=True) if wanted)
        return HeldOut(self.logits[rows], self.truth[rows], self.families[rows], sets, self.folds[rows])


def fold_of(text: str) -> int:
    """Return the fold of a text: the same on each machine and in each run, whatever its case."""
    return zlib.crc32(text.casefold().encode("utf-8", "replace")) % FOLDS


def _with_bias(held: HeldOut, prior: Floats, pulls: tuple[float, float]) -> Floats:
    """Return the point with the least penalised log loss of the true classes."""
    strength = np.array([pulls[0], *[pulls[1]] * (len(prior) - 1)])
    rows = np.arange(len(held.truth))

    def objective(point: Floats) -> tuple[float, Floats]:
        found = softmax(point[0] * held.logits + point[1:])
        loss = float(losses(found, held.truth).sum() + (strength * (point - prior) ** 2).sum() / 2)
        found[rows, held.truth] -= 1
        gradient = np.concatenate([[(found * held.logits).sum()], found.sum(axis=0)])
        return loss, gradient + strength * (point - prior)

    return minimise(objective, prior)


def _answer_losses(probabilities: Floats, truth: Ints) -> Floats:
    """Return each row's log loss of the confidence: how well the best probability says whether the answer is right."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    found: Floats = -np.log(np.maximum(np.where(right, confidence, 1 - confidence), TINY))
    return found


def _answer_loss(logits: Floats, truth: Ints) -> float:
    return float(_answer_losses(softmax(logits), truth).sum())


def _fitted(held: HeldOut, prior: Floats, pulls: tuple[float, float], *, bias: bool) -> Floats:
    """Return the point (1 / temperature, *bias) that fits the texts and is not far from `prior`.

    The temperature makes the confidence of the answer honest: that is what calibration error, thresholds and readers
    look at. Fitting it to all classes would let the shares of the other classes in a set move it.
    """
    start = _with_bias(held, prior, pulls) if bias else prior
    logits = start[0] * held.logits + start[1:]
    best = 1.0
    for turns in (_COARSE, _FINE):
        tried = [best * turn for turn in turns.tolist()]
        best = min(tried, key=lambda turn: _answer_loss(turn * logits, held.truth) + _pull(turn, start[0], pulls[0]))
    found: Floats = start * best
    return found


def _pull(turn: float, start: float, strength: float) -> float:
    """Return the cost of an inverse temperature `turn` times `start`: a normal prior's near it, far less far away.

    A family that differs much, with texts enough to show it, is let go (the prior has Student's long tails).
    """
    return strength * float(np.log1p(_LET_GO * (start * (turn - 1)) ** 2)) / (2 * _LET_GO)


def _correction(point: Floats, texts: int) -> Correction:
    shifts = tuple(np.round(point[1:] - point[1:].mean(), 4).tolist()) if point[1:].any() else ()
    return Correction(temperature=round(1 / float(np.clip(point[0], *_SLOPES)), 4), bias=shifts, texts=texts)


def _point(entry: Correction, classes: int) -> Floats:
    return np.array([1 / entry.temperature, *(entry.bias or (0.0,) * classes)])


def fit(held: HeldOut, *, bias: bool, prior: Corrections | None = None) -> dict[str, Correction]:
    """Return the corrections of EVERY and of each family that has texts.

    `prior` is what holds already: then each family that it has, and EVERY, is drawn towards its own old correction.
    """
    classes = held.logits.shape[1]
    old = {name: _point(entry, classes) for name, entry in (prior or {}).items()}
    start = old.get(EVERY, _point(Correction(temperature=1), classes))
    points: dict[str, Floats] = {EVERY: _fitted(held, start, _PULLS if prior else _FREE, bias=bias)}
    found = {EVERY: _correction(points[EVERY], len(held.truth))}
    for name in FAMILIES:
        rows = _within(held.families, name)
        if rows.any():
            before = old.get(name, points[WIDER.get(name, EVERY)])
            points[name] = _fitted(held.picked(rows), before, _PULLS if prior else _KIN, bias=bias)
            found[name] = _correction(points[name], int(rows.sum()))
    return {**(prior or {}), **found}


def _within(families: Ints, name: Family) -> Bools:
    """Return which texts are of a family or of one within it; FAMILIES has the wider one first."""
    parts = [at for at, other in enumerate(FAMILIES) if name in {other, WIDER.get(other)}]
    return np.isin(families, parts)


def cross_fitted(held: HeldOut, *, bias: bool, prior: Corrections | None = None) -> Floats:
    """Return the calibrated probabilities of each text by a fit on the other folds, shape (count, classes)."""
    found = np.empty_like(held.logits)
    for fold in range(FOLDS):
        rows = held.folds == fold
        if rows.any():
            rest = held.picked(~rows)
            corrections = fit(rest, bias=bias, prior=prior) if len(rest.truth) else (prior or {})
            part = held.picked(rows)
            found[rows] = corrected(part.logits, part.families, corrections)
    return found


def bias_pays(held: HeldOut) -> bool:
    """Return whether a bias per class lowers the loss on unseen texts, on average and in no set raising it."""
    plain, biased = (losses(cross_fitted(held, bias=bias), held.truth) for bias in (False, True))
    names = np.array(held.sets)
    gains = [float((plain - biased)[names == name].mean()) for name in sorted(set(held.sets))]
    return min(gains) >= 0 and float(np.mean(gains)) >= _BIAS_GAIN


@dataclass(frozen=True, slots=True)
class _Bent:
    """A bend, the texts bent by it (each by the slopes that the other folds taught) and what their answers lose."""

    bend: Bend
    held: HeldOut
    lost: Floats


def straightened(held: HeldOut) -> tuple[Bend, HeldOut]:
    """Return the bend for the most honest cross-fitted answers, and the texts bent, with cross-fitted slopes.

    The power is 1 and there are no slopes unless others lower the loss by more than a standard error: few texts like
    any. Both are of a task, of all its languages and sets together: with thousands of texts they flatter hardly.
    """
    plain, steeper = (_best([_bent(held, power, slopes=slopes) for power in _CURVES]) for slopes in (False, True))
    chosen = steeper if _surely_less(steeper, plain) else plain
    return chosen.bend, chosen.held


def _best(tried: list[_Bent]) -> _Bent:
    """Return the one that loses least, or the first if it is not surely better."""
    best = min(tried, key=lambda one: float(one.lost.sum()))
    return best if _surely_less(best, tried[0]) else tried[0]


def _surely_less(one: _Bent, other: _Bent) -> bool:
    gains = other.lost - one.lost
    return bool(gains.mean() > gains.std() / len(gains) ** 0.5)


def _bent(held: HeldOut, power: float, *, slopes: bool) -> _Bent:
    bowed = replace(held, logits=bent(held.logits, Bend(power)))
    bend, tilted = Bend(power), bowed
    if slopes:
        bend = Bend(power, tuple(np.round(answer_slopes(bowed), 4).tolist()))
        tilted = replace(bowed, logits=bowed.logits.copy())
        for fold in range(FOLDS):
            rows = held.folds == fold
            if rows.any() and not rows.all():
                tilted.logits[rows] = sloped(bowed.logits[rows], answer_slopes(bowed.picked(~rows)))
    return _Bent(bend, tilted, _answer_losses(cross_fitted(tilted, bias=False), held.truth))


def answer_slopes(held: HeldOut) -> Floats:
    """Return the slope of each class (classes) that makes the confidence of its answers honest, near the others'."""
    shares = softmax(held.logits)
    best = held.logits.max(axis=1, keepdims=True)
    right = held.logits.argmax(axis=1) == held.truth

    def objective(slopes: Floats) -> tuple[float, Floats]:
        found = softmax(sloped(held.logits, slopes))
        confidence = found.max(axis=1)
        off, apart = slopes - 1, slopes - slopes.mean()
        pulled = float(_SLOPE_PULL * apart @ apart + _MEAN_PULL * off @ off) / 2
        steeper = (found * (held.logits - best)).sum(axis=1)
        gradient = np.where(right, steeper, -steeper * confidence / np.maximum(1 - confidence, TINY))
        drawn = _SLOPE_PULL * apart + _MEAN_PULL * off
        return float(_answer_losses(found, held.truth).sum()) + pulled, gradient @ shares + drawn

    return np.clip(minimise(objective, np.ones(held.logits.shape[1]), rounds=_ROUNDS), *_SLOPES)


def calibrate(held: HeldOut) -> tuple[dict[str, Correction], Floats]:
    """Return the corrections fitted on all texts, and the cross-fitted probabilities that say how good they are."""
    bias = bias_pays(held)
    return fit(held, bias=bias), cross_fitted(held, bias=bias)


def least_confidence(probabilities: Floats, truth: Ints, stated: float) -> float:
    """Return the lowest threshold on the best probability above which the share of right answers reaches `stated`.

    It must reach it with a standard error to spare, so that other texts reach it too. Where none does, return the
    threshold whose share comes closest. At least _LEAST_KEPT texts stay above it, where there are as many.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    kept = np.arange(1, len(order) + 1)
    share = np.cumsum((probabilities.argmax(axis=1) == truth)[order]) / kept
    spare = share - stated - np.sqrt(stated * (1 - stated) / kept)
    # Texts of equal confidence are kept or left together.
    cuts = np.nonzero(np.append(falling[1:] < falling[:-1], True))[0]
    cuts = cuts[kept[cuts] >= min(_LEAST_KEPT, len(order))]
    good = cuts[spare[cuts] >= -_NEARLY]
    at = good[-1] if len(good) else cuts[np.argmax(spare[cuts])]
    return 0.0 if at == len(order) - 1 else float(falling[at])


def _threshold(probabilities: Floats, held: HeldOut, stated: float) -> Threshold:
    """Return the threshold of these texts, of even odds at least; precision and coverage are cross-fitted."""
    kept = np.zeros(len(held.truth), dtype=np.bool_)
    for fold in range(FOLDS):
        rows = held.folds == fold
        if rows.any() and not rows.all():
            limit = max(EVEN_ODDS, least_confidence(probabilities[~rows], held.truth[~rows], stated))
            kept[rows] = probabilities[rows].max(axis=1) >= limit
    right = (probabilities.argmax(axis=1) == held.truth)[kept]
    return Threshold(
        least=round(max(EVEN_ODDS, least_confidence(probabilities, held.truth, stated)), 6),
        stated=stated,
        precision=round(float(right.mean()), 4) if len(right) else None,
        coverage=round(float(kept.mean()), 4),
        texts=len(held.truth),
    )


def thresholds(probabilities: Floats, held: HeldOut, stated: float) -> dict[str, Threshold]:
    """Return the threshold of EVERY, and of each family with at least FEWEST texts, those of its parts among them.

    `probabilities` are cross-fitted ones: a threshold must fit the confidence of texts that nobody has seen.
    """
    found: dict[str, Threshold] = {EVERY: _threshold(probabilities, held, stated)}
    for name in FAMILIES:
        rows = _within(held.families, name)
        if rows.sum() >= FEWEST:
            found[name] = _threshold(probabilities[rows], held.picked(rows), stated)
    return found


def chance_error(probabilities: Floats, rounds: int = 100, seed: int = 0) -> float:
    """Return the mean calibration error that these probabilities would show if they were perfect.

    With few texts it is far from 0 (about 0.05 for 300): an error under it proves nothing, one near it is no fault.
    """
    chance = np.random.default_rng(seed)
    steps = probabilities.cumsum(axis=1)
    drawn = (
        np.minimum((steps < chance.random((len(steps), 1))).sum(axis=1), steps.shape[1] - 1) for _ in range(rounds)
    )
    return float(np.mean([calibration_error(truth.astype(np.int64), probabilities) for truth in drawn]))
