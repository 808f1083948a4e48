"""Any Hugging Face sequence classifier of a local folder, in the place of one of our heads.

Owns loading it and mapping its labels; `ReplacedHead` is a Scorer again, whose other tasks and embedding stay with the
model behind it. Imported only when it was chosen: it needs the extra `gpu`. Nothing is fetched from a network, and no
code of the folder is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from nlp import answers, grouping
from nlp.labels import LabelsRefused, label_map
from nlp.scorer import LABELS, SENTIMENT, Prepared, Scorer, ScorerError, Unscorable
from nlp.torch_gpu import best_device, precision
from streams.records import Opinion, Score

_MOST_TOKENS: Final = 512


class TorchClassifier:
    """One task's answers from a foreign model."""

    def __init__(
        self,
        folder: Path,
        task: str = SENTIMENT,
        stated: Mapping[str, str] | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Open `folder` for `task`; `stated` maps its labels where their names do not tell.

        Raise LabelsRefused if the labels cannot be mapped, and FileNotFoundError if the folder holds no model.
        """
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no Hugging Face model: there is no config.json in it")
        self.task, self.name = task, folder.name
        self._device = device or best_device()
        model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
        if model.config.problem_type not in {None, "single_label_classification"}:
            raise LabelsRefused(
                f"{folder}: a model of type {model.config.problem_type} gives no distribution of labels"
            )
        mapped = label_map(model.config.id2label, task, stated)
        self._columns = [LABELS[task].index(label) for label in mapped]
        self._model = model.to(self._device, precision(self._device)).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        positions = getattr(model.config, "max_position_embeddings", _MOST_TOKENS)
        # RoBERTa and its kin count positions from 2 on, so two of them are not there to use.
        self._max_tokens = min(positions - 2, self._tokenizer.model_max_length, _MOST_TOKENS)

    def opinions(self, texts: Sequence[str]) -> list[Opinion]:
        """Return one Opinion per text in our labels; probabilities of classes that share a label are summed."""
        try:
            with torch.inference_mode():
                encoded = self._tokenizer(
                    list(texts), truncation=True, max_length=self._max_tokens, padding=True, return_tensors="pt"
                )
                logits = self._model(**encoded.to(self._device)).logits.float()
        except RuntimeError as error:  # out of memory is one too
            raise ScorerError(f"{self.name} failed on {len(texts)} texts: {error}") from error
        return answers.opinions(LABELS[self.task], self._folded(logits.softmax(-1).cpu().numpy()))

    def _folded(self, values: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        folded = np.zeros((len(values), len(LABELS[self.task])), dtype=np.float64)
        for column, target in enumerate(self._columns):
            folded[:, target] += values[:, column]
        return folded


class ReplacedHead(Scorer):
    """A Scorer whose answer to one task comes from a foreign classifier; its id and revision name both models."""

    def __init__(self, behind: Scorer, classifier: TorchClassifier) -> None:
        """Put `classifier` in front of `behind`."""
        self._behind, self._classifier = behind, classifier

    @property
    def model_id(self) -> str:
        """Names of both models."""
        return f"{self._behind.model_id}+{self._classifier.task}:{self._classifier.name}"

    @property
    def model_revision(self) -> str:
        """Revision of the model behind."""
        return self._behind.model_revision

    @property
    def max_tokens(self) -> int:
        """Longest input of the model behind; the classifier truncates for itself."""
        return self._behind.max_tokens

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        """Return each text ready to run, or why it cannot be scored."""
        return self._behind.prepare(texts)

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        """Score one padded batch with both models."""
        if not batch:
            return []
        found = self._classifier.opinions([entry.text for entry in batch])
        replaced = {"model_id": self.model_id}
        return [
            score.model_copy(update={**replaced, self._classifier.task: opinion})
            for score, opinion in zip(self._behind.run(batch), found, strict=True)
        ]

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Score all texts; raise for the first that has no score."""
        return grouping.all_scores(grouping.score_each(self, texts))

    def close(self) -> None:
        """Free the model behind; the classifier goes with this object."""
        self._behind.close()
