"""What comes after the graph: adapter, calibration by language family, and the doubt about what is left.

Owns the shapes that a manifest stores of them and their use on a batch. Does not own fitting (`calibration_fit`,
`adapt`), families (`families`) or the manifest (`manifest`). A model without any of it is used as it is: its
probabilities stay what the graph gave.

For each task, with p the graph's probabilities, e its unit embedding and f the family of the text:

    z = -(max log p - log p) ^ g       the curve: one power g for the task, 1 where the model has none
    z *= softmax(z) s                  the slopes: one s per class, their mean by how likely each is; else 1
    z += U e + b                       the adapter, fitted on people's labels; left out where there is none
    q = softmax(z / T_f + c_f)         temperature T_f and, where it held up, a bias c_f per class
    uncertain if max q < t_f           so that what is not uncertain reaches a stated precision

Two kinds of answers are uncertain whatever t_f says, of any model (`always_doubted`): one whose best probability is
under even odds, which is more likely wrong than right by its own account, and a low or normal urgency beside the intent
distress, for of the two answers one must be wrong and the harmless one costs more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from nlp.families import EVERY, FAMILIES, WIDER, Family, family
from nlp.logistic import Floats, Ints, logs, softmax
from streams.records import Opinion, Score

Entry = TypeVar("Entry")
"""A correction or a threshold."""
Array = NDArray[np.floating[Any]]
Doubted = Literal["sentiment", "urgency"]
DOUBTED: Final[tuple[Doubted, ...]] = get_args(Doubted)
"""The tasks in which a score can be uncertain."""

EVEN_ODDS: Final = 0.5
_CALM: Final = frozenset({"low", "normal"})
_DISTRESS: Final = "distress"
_INDEX: Final = {name: at for at, name in enumerate(FAMILIES)}


class Correction(BaseModel):
    """Temperature and bias of one task and family; `texts` held-out ones of the family were there to fit it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(gt=0)
    bias: tuple[float, ...] = ()
    texts: int = Field(default=0, ge=0)


class Threshold(BaseModel):
    """Below which best probability a task is uncertain.

    `stated` is the precision (share of right answers) that the rest should reach, `precision` what it reached on
    held-out texts that had no part in the choice (None: nothing was left to measure), `coverage` the share that is not
    uncertain there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    least: float = Field(ge=0, le=1)
    stated: float = Field(gt=0, le=1)
    precision: float | None = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)
    texts: int = Field(ge=0)


Corrections = Mapping[str, Correction]
"""Family to its correction; one without its own goes by the wider family's, and that by the one of EVERY."""
Thresholds = Mapping[str, Threshold]
"""The same for thresholds."""


@dataclass(frozen=True, slots=True)
class Shift:
    """The adapter of one task: `weights` (classes, size) are U, `bias` (classes) is b."""

    weights: Floats
    bias: Floats


class Bend(NamedTuple):
    """What is done to a task's logits before all else; neither changes their order.

    `power`: to which each row's distances from its best logit are raised. Smoothed labels teach a network never to be
    quite sure, so its distances are too small where it is right and too large in the middle; no temperature mends both.
    `slopes`: one for each class, or none. A network that learned urgency where half of the texts are urgent is too sure
    of "high", and in a stream of calm ones not sure enough of "low".
    """

    power: float = 1.0
    slopes: tuple[float, ...] = ()


STRAIGHT: Final = Bend()


def bent(logits: Floats, bend: Bend) -> Floats:
    """Return the logits bent, shape (count, classes); as far as numbers can tell: powers above 1 squeeze near ties."""
    if bend.power != 1:
        logits = -((logits.max(axis=1, keepdims=True) - logits) ** bend.power)
    return sloped(logits, np.array(bend.slopes)) if bend.slopes else logits


def sloped(logits: Floats, slopes: Floats) -> Floats:
    """Return each row times the mean of `slopes` (classes), weighed by its probabilities: no jump where two tie."""
    found: Floats = logits * (softmax(logits) @ slopes)[:, None]
    return found


def adapted(probabilities: Array, vectors: Array | None, shift: Shift | None, bend: Bend = STRAIGHT) -> Floats:
    """Return the logits z, shape (count, classes); `vectors` (count, size) need not be of unit length."""
    logits = bent(logs(probabilities), bend)
    if shift is None:
        return logits
    if vectors is None:
        raise ValueError("an adapter needs the embedding, which the model does not give")
    return logits + unit(vectors) @ shift.weights.T + shift.bias


def unit(vectors: Array) -> Floats:
    """Return each row as float64 of length 1; a row without a direction becomes nan, which is refused later."""
    rows = vectors.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def corrected(logits: Floats, families: Ints, corrections: Corrections) -> Floats:
    """Return the calibrated probabilities of `logits` (count, classes); `families` (count) index FAMILIES."""
    return _scaled(logits, families, *_per_family(corrections))


def family_indices(texts: Sequence[str]) -> Ints:
    """Return for each text the index of its family in FAMILIES, shape (count)."""
    return np.fromiter((_INDEX[family(text)] for text in texts), dtype=np.int64, count=len(texts))


def _of(entries: Mapping[str, Entry], name: Family) -> Entry | None:
    """Return what holds for a family: its own entry, the wider family's or that of all."""
    return entries.get(name) or entries.get(WIDER.get(name, EVERY)) or entries.get(EVERY)


def _per_family(corrections: Corrections) -> tuple[Floats, Floats | None]:
    """Return 1 / temperature per family (families, 1) and the biases (families, classes), None where all are zero."""
    found = [_of(corrections, name) or Correction(temperature=1) for name in FAMILIES]
    size = max(len(entry.bias) for entry in found)
    slopes = np.array([[1 / entry.temperature] for entry in found])
    biases = np.array([entry.bias or (0.0,) * size for entry in found])
    return slopes, biases if size else None


def family_slopes(corrections: Corrections, families: Ints, classes: int) -> tuple[Floats, Floats]:
    """Return for each text what its logits are multiplied by, shape (count, 1), and what is added (count, classes)."""
    slopes, biases = _per_family(corrections)
    return slopes[families], np.zeros((len(families), classes)) if biases is None else biases[families]


def _scaled(logits: Floats, families: Ints, slopes: Floats, biases: Floats | None) -> Floats:
    scaled = logits * slopes[families]
    return softmax(scaled if biases is None else scaled + biases[families])


class Calibrator:
    """The part of a model that follows its graph, ready for batches. Immutable.

    Costs 10 to 25 microseconds a text, most of them for the family.
    """

    def __init__(
        self,
        tasks: Mapping[str, Sequence[str]],
        corrections: Mapping[str, Corrections],
        thresholds: Mapping[str, Thresholds],
        shifts: Mapping[str, Shift] | None = None,
        bends: Mapping[str, Bend] | None = None,
    ) -> None:
        """Take what the manifest says of each of `tasks`; a task that a mapping leaves out is not touched by it."""
        self._shifts = dict(shifts or {})
        self._bends = {task: bend for task, bend in (bends or {}).items() if bend != STRAIGHT}
        self._corrections = {task: _per_family(corrections[task]) for task in tasks if corrections.get(task)}
        self._least = {
            task: np.array([limit.least if (limit := _of(found, name)) else 0 for name in FAMILIES])
            for task in DOUBTED
            if (found := thresholds.get(task))
        }

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do: the graph's own probabilities are the answer."""
        return not (self._shifts or self._bends or self._corrections or self._least)

    def probabilities(self, task: str, values: Floats, vectors: Array | None, families: Ints) -> Floats:
        """Return the calibrated form of the distributions `values` (count, classes) that the graph gave."""
        if not any(task in known for known in (self._shifts, self._bends, self._corrections)):
            return values
        logits = adapted(values, vectors, self._shifts.get(task), self._bends.get(task, STRAIGHT))
        found = self._corrections.get(task)
        return _scaled(logits, families, *found) if found else softmax(logits)

    def uncertain(self, found: Mapping[str, Floats], families: Ints) -> list[tuple[Doubted, ...]]:
        """Return for each row the tasks whose best probability in `found` is under the threshold of its family."""
        marks: dict[Doubted, list[bool]] = {
            task: (found[task].max(axis=1) < self._least[task][families]).tolist()
            for task in DOUBTED
            if task in self._least
        }
        return [tuple(task for task, rows in marks.items() if rows[at]) for at in range(len(families))]


def always_doubted(sentiment: Opinion, urgency: Opinion, intent: Opinion) -> frozenset[Doubted]:
    """Return the tasks that are uncertain whatever threshold there is."""
    even: list[tuple[Doubted, Opinion]] = [("sentiment", sentiment), ("urgency", urgency)]
    found = {task for task, opinion in even if opinion.probabilities[opinion.label] < EVEN_ODDS}
    if intent.label == _DISTRESS and urgency.label in _CALM:
        found.add("urgency")
    return frozenset(found)


def replaced(score: Score, task: str, opinion: Opinion) -> Score:
    """Return the score with another model's `opinion` on `task`: our threshold says nothing of it, even odds do."""
    found = score.model_copy(update={task: opinion})
    doubts = always_doubted(found.sentiment, found.urgency, found.intent) | {*score.uncertain} - {task}
    return found.model_copy(update={"uncertain": tuple(name for name in DOUBTED if name in doubts)})
