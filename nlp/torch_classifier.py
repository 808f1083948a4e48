"""Any Hugging Face sequence classifier, of a local folder or a hub id, in the place of one of our heads.

Owns loading it and mapping its labels; `ReplacedHead` is a Scorer again, whose other tasks and embedding stay with the
model behind it. Imported only when it was chosen: it needs the extra `gpu`. Of a local folder nothing is fetched; a hub
id is fetched once into the cache of huggingface_hub. No code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import cached_file

from nlp import answers, grouping, manifest
from nlp.calibration import replaced
from nlp.labels import LabelsRefused, label_map
from nlp.scorer import LABELS, SENTIMENT, ModelFilesDamaged, Prepared, Scorer, ScorerError, Unscorable
from nlp.tokens import head_and_tail
from nlp.torch_device import best_device, in_parts, precision
from streams.records import Opinion, Score

_MOST_TOKENS: Final = 512
_TAKEN: Final = 2
"""RoBERTa and its kin count positions from 2 on, so two of them are not there to use; XLNet and T5 tell no limit."""
_FEWEST_PIECES: Final = 2
"""Pieces of a vocabulary beside control tokens; a tokenizer that was made up has none, or the word boundary alone."""
_SHOWN: Final = 5
_LOADING_ERRORS: Final = (
    OSError,
    ValueError,
    RuntimeError,
    AttributeError,
    TypeError,
    SafetensorError,
    UnpicklingError,
)
"""A broken config, an unknown architecture, weights of other shapes, damaged files of either form."""
_FILES: Final = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")
"""Weights, configuration and the tokenizer's files of all kinds."""
_PROBES: Final = ("good", "a longer text, so that the short one beside it is padded: is it as good as before?")
_SAME: Final = 0.05
"""By how much padding may move a probability; in float16 it moves the third digit."""
_UNANSWERED: Final = (ScorerError, TypeError, AttributeError, KeyError, OverflowError)
_HUB_ID: Final = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")


def _located(source: str | Path) -> tuple[str, dict[str, Any]]:
    """Return what transformers should load, and how: a folder, or a hub id at a revision ("owner/name@revision")."""
    folder = Path(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no Hugging Face model: there is no config.json in it")
        return str(folder), {"local_files_only": True}
    if match := _HUB_ID.fullmatch(str(source)):
        return match["name"], {"revision": match["revision"] or "main"}
    raise FileNotFoundError(f"{source} is neither a folder nor a hub id like owner/name or owner/name@revision")


def _revision(source: str | Path, revision: str | None, mapped: Sequence[str], *, stated: bool) -> str:
    """Return twelve digits that name what answers: weights, tokenizer, configuration and what the labels mean.

    They are those of the hub's commit, unless the labels were `stated`, which no commit knows, or over the files of a
    folder. A hub's `revision` may be a branch, which moves; the cache keeps each commit in a folder of its name.
    """
    if revision is not None:
        commit = Path(str(cached_file(str(source), "config.json", revision=revision))).parent.name
        if not stated:
            return commit[:12]
        parts = [commit]
    else:
        files = sorted(path for pattern in _FILES for path in Path(source).glob(pattern))
        parts = [f"{path.name} {manifest.checksum(path).sha256}" for path in files]
    return hashlib.sha256("\n".join([*parts, *mapped]).encode()).hexdigest()[:12]


def _pad(source: str | Path, model: Any, tokenizer: Any) -> None:
    """Give tokenizer and model one token to pad with where they name none; raise ModelFilesDamaged without any."""
    if tokenizer.pad_token_id is None:
        known = tokenizer.eos_token_id if model.config.pad_token_id is None else model.config.pad_token_id
        if known is None or not 0 <= known < len(tokenizer):
            raise ModelFilesDamaged(f"{source}: its tokenizer has no pad token: name one in tokenizer_config.json")
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(known)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def _loaded(source: str | Path, place: str, how: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return model and tokenizer; transformers makes up what a model lacks, with a mere warning: that is refused."""
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(place, output_loading_info=True, **how)
        tokenizer = AutoTokenizer.from_pretrained(place, **how)
    except _LOADING_ERRORS as error:
        raise OSError(f"the classifier {source} cannot be loaded: {error}") from error
    if missing := sorted(found["missing_keys"]):
        raise ModelFilesDamaged(
            f"{source}: its files have no weights for {', '.join(missing[:_SHOWN])}, so its answers would be random: "
            "an encoder without a trained classification head cannot score, name a fine-tuned classifier"
        )
    if len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < _FEWEST_PIECES:
        raise ModelFilesDamaged(f"{source}: its tokenizer has no vocabulary: tokenizer.json or the like is missing")
    return model, tokenizer


class TorchClassifier:
    """One task's answers from a foreign model."""

    def __init__(
        self,
        source: str | Path,
        task: str = SENTIMENT,
        stated: Mapping[str, str] | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Open `source`, a folder or a hub id, for `task`; `stated` maps its labels where their names do not tell.

        Raise LabelsRefused if the labels cannot be mapped, ModelFilesDamaged if a part of the model is not there or the
        parts do not work together, and OSError if it cannot be loaded at all.
        """
        place, how = _located(source)
        model, self._tokenizer = _loaded(source, place, how)
        if model.config.problem_type not in {None, "single_label_classification"}:
            raise LabelsRefused(
                f"{source}: a model of type {model.config.problem_type} gives no distribution of labels"
            )
        try:
            mapped = label_map(model.config.id2label, task, stated)
        except LabelsRefused as error:
            raise LabelsRefused(f"{source}: {error}") from error
        self.task, self.name = task, Path(place).name if Path(source).is_dir() else place
        self.revision = _revision(place, how.get("revision"), mapped, stated=bool(stated))
        self._columns = [LABELS[task].index(label) for label in mapped]
        self._device = device or best_device()
        self._model = model.to(self._device, precision(self._device)).eval()
        positions = getattr(model.config, "max_position_embeddings", None) or 0
        room = positions - _TAKEN if positions > _TAKEN else _MOST_TOKENS
        self._max_tokens = min(room, self._tokenizer.model_max_length, _MOST_TOKENS)
        _pad(source, model, self._tokenizer)
        self._probe(source)

    def _probe(self, source: str | Path) -> None:
        """Raise ModelFilesDamaged where two texts of unlike length are not answered, or not as each of them alone."""
        try:
            together = in_parts(self._rows, _PROBES)
            alone = torch.cat([in_parts(self._rows, [text]) for text in _PROBES])
        except _UNANSWERED as error:
            if isinstance(error.__cause__, torch.OutOfMemoryError):
                raise
            raise ModelFilesDamaged(f"{source}: its model and its tokenizer do not work together: {error}") from error
        if not bool(together.isfinite().all()):
            raise ModelFilesDamaged(f"{source}: its answers are no numbers: its weights are damaged")
        if float((together - alone).abs().max()) > _SAME:
            raise ModelFilesDamaged(
                f"{source}: padding changes its answers: compare the pad token in config.json and its tokenizer"
            )

    def opinions(self, texts: Sequence[str]) -> list[Opinion]:
        """Return one Opinion per text in our labels; probabilities of classes that share a label are summed.

        Long texts keep their head and their tail.
        """
        return answers.opinions(LABELS[self.task], self._folded(in_parts(self._rows, texts).numpy()))

    def _rows(self, texts: Sequence[str]) -> Tensor:
        encoded = self._tokenizer(list(texts), truncation=False, verbose=False)
        cut = {name: [head_and_tail(row, self._max_tokens) for row in rows] for name, rows in encoded.items()}
        padded = self._tokenizer.pad(cut, return_tensors="pt", verbose=False)
        logits: Tensor = self._model(**padded.to(self._device)).logits
        return logits.float().softmax(-1).cpu()

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
        """Revisions of both models."""
        return f"{self._behind.model_revision}+{self._classifier.revision}"

    @property
    def max_tokens(self) -> int:
        """Longest input of the model behind; the classifier truncates for itself."""
        return self._behind.max_tokens

    @property
    def batch_tokens(self) -> int:
        """What suits the model behind."""
        return self._behind.batch_tokens

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        """Return each text ready to run, or why it cannot be scored."""
        return self._behind.prepare(texts)

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        """Score one padded batch with both models."""
        if not batch:
            return []
        found = self._classifier.opinions([entry.text for entry in batch])
        task = self._classifier.task
        names = {"model_id": self.model_id, "model_revision": self.model_revision}
        return [
            replaced(score, task, opinion).model_copy(update=names)
            for score, opinion in zip(self._behind.run(batch), found, strict=True)
        ]

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Score all texts; raise for the first that has no score."""
        return grouping.all_scores(grouping.score_each(self, texts))

    def close(self) -> None:
        """Free the model behind; the classifier goes with this object."""
        self._behind.close()
