"""The Scorer port: texts in, scores out; its tasks, its labels and its errors.

Owns the contract that the ONNX and the torch backend keep. Does not own batching, queueing or caching (`nlp.batching`),
nor which model is loaded. A scorer is used by one owner at a time; `nlp.batching` sees to that.

Errors:
    ScorerError                 the model failed on these texts
    ├── Overloaded              the queue is full: slow down and offer the texts again
    ├── Closed                  the scorer was closed before the texts were scored
    └── ScorerDied              the scorer answers no more, whatever the text: only a new process helps
    Unscorable (ValueError)     nothing in the text can be read; no model would help
    ModelFilesDamaged           a model file is missing, or is not the one the manifest names: the start stops
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from streams.records import Score

SENTIMENT: Final = "sentiment"
URGENCY: Final = "urgency"
INTENT: Final = "intent"
LABELS: Final[dict[str, tuple[str, ...]]] = {
    SENTIMENT: ("negative", "neutral", "positive"),
    URGENCY: ("low", "normal", "high", "critical"),
    INTENT: ("complaint", "question", "praise", "idea", "purchase", "distress", "other"),
}
"""The tasks and the labels that the rest of the product knows. A model may have an order of its own, which its graph
tells (`nlp.label_order`)."""

BATCH_TOKENS: Final = 512
"""Padded tokens of one batch: small enough to stay in one core's cache. Measured on 400 mentions and two cores: 512
tokens on one thread a core is 1.45 times as fast as 2,048 on two threads."""


class ScorerError(RuntimeError):
    """The model failed: the text stays unscored and the caller decides on retry or dead letter."""


class Overloaded(ScorerError):
    """The queue is full. Nothing was taken; offer the same texts again after a pause."""


class Closed(ScorerError):
    """The scorer was closed before these texts were scored."""


class ScorerDied(ScorerError):
    """The thread that owns the model has ended, and no text is to blame: retrying or dead-lettering one is no use.

    Its cause is what ended the thread.
    """


class Unscorable(ValueError):
    """The text holds nothing that a model could read; the message says why."""


class ModelFilesDamaged(RuntimeError):
    """A file of the model is missing or has another checksum than its manifest says; the message names both."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text as one model will read it: cleaned, and as ids with prefix and special tokens."""

    text: str
    ids: list[int]


class Scorer(Protocol):
    """What a model backend offers.

    All methods block. One thread at a time may use an instance, save that `run` may be called from `lanes` at once.

    `prepare` tokenises and never fails as a whole: a text in which nothing can be read comes back as Unscorable.
    `run` scores one padded batch (the caller bounds it) and gives one Score per entry in its order; it raises
    ScorerError where the model fails or answers with something that is not a probability. `score` does both for any
    number of texts, in batches sorted by length, and raises the first error.
    """

    @property
    def model_id(self) -> str:
        """Name of the model, without its revision."""

    @property
    def model_revision(self) -> str:
        """Revision of the model: scores of one id and revision are comparable."""

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens; longer texts keep their head and their tail."""

    @property
    def lanes(self) -> int:
        """How many batches may run at once."""
        return 1

    @property
    def batch_tokens(self) -> int:
        """How many padded tokens a batch should have at most."""
        return BATCH_TOKENS

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        """Return each text ready to run, or why it cannot be scored."""

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        """Score one batch; its cost is its longest entry times its size."""

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Score all texts; raise Unscorable or ScorerError for the first that has no score."""

    def close(self) -> None:
        """Free the model. Running it afterwards raises Closed."""
