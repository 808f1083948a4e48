"""The Scorer on ONNX Runtime: the shipped model on a CPU, with no network and without torch.

Owns the session, its threads and the mapping of the runtime's errors. Does not own the file format (`training.export`)
or the checksums (`manifest`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from nlp import answers, grouping, label_order, manifest
from nlp.scorer import LABELS, Closed, ModelFilesDamaged, Prepared, Scorer, ScorerError, Unscorable
from nlp.shipped import folder_of
from nlp.tokens import TextEncoder, read_tokenizer
from streams.records import Score

SHIPPED: Final = folder_of(None)
"""The folder of the model that is used unless another is chosen."""

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class GraphAnswers:
    """What the graph alone says of texts, for fitting what comes after it.

    `kept` are the indices of the texts that could be read, in order; `texts` are those as they were read; the arrays
    have a row for each: `probabilities` per task (count, classes), unit `vectors` (count, size) or None.
    """

    kept: list[int]
    texts: list[str]
    probabilities: dict[str, Array]
    vectors: Array | None


_PAD: Final = 1
_SLOWER_FUSIONS: Final = ["SkipLayerNormFusion"]
"""Add and LayerNormalization in one kernel, which on a CPU takes three times as long as the two: a third of a batch."""
_RUN_ERRORS: Final = (
    runtime_errors.Fail,
    runtime_errors.RuntimeException,
    runtime_errors.InvalidArgument,
    runtime_errors.EPFail,
    runtime_errors.NotImplemented,
)
_FILE_ERRORS: Final = (*_RUN_ERRORS, runtime_errors.InvalidGraph, runtime_errors.InvalidProtobuf)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session on one core of the graph in `path`, as texts are served with it.

    Raise ModelFilesDamaged if the file holds none.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a batch for each core is faster than all cores for a batch
    options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=providers, disabled_optimizers=_SLOWER_FUSIONS
        )
    except _FILE_ERRORS as error:
        raise ModelFilesDamaged(f"{path} is not a graph that ONNX Runtime can open: {error}") from error


class OnnxScorer(Scorer):
    """A model folder that `nlp.training.export` made, opened for scoring."""

    def __init__(self, folder: Path = SHIPPED, threads: int | None = None) -> None:
        """Open `folder` with `threads` threads (default: all cores); raise ModelFilesDamaged naming a bad file."""
        described = manifest.read(folder)
        opened = session(folder / "model.onnx")
        label_order.check(folder / "model.onnx", described.tasks, opened.get_modelmeta().custom_metadata_map)
        self._manifest = described
        self._calibrator = manifest.calibrator(folder, described)
        self._encoder = TextEncoder(read_tokenizer(folder), described.prefix, described.max_tokens)
        self._outputs = [*LABELS] + ([described.embedding] if described.embedding else [])
        self._session: onnxruntime.InferenceSession | None = opened
        self._lanes = threads or cores()
        self._check(folder / manifest.NAME, [output.name for output in opened.get_outputs()])

    def _check(self, path: Path, given: Sequence[str]) -> None:
        """Raise ModelFilesDamaged unless the graph has the outputs that the manifest names, at its longest input."""
        if missing := [name for name in self._outputs if name not in given]:
            raise ModelFilesDamaged(f"{path}: the graph has no output {missing[0]!r}, only {', '.join(given)}")
        try:
            self.outputs([Prepared("", [_PAD] * self.max_tokens)])
        except ScorerError as error:
            reason = f"{path}: the graph cannot take max_tokens {self.max_tokens}: restore the folder ({error})"
            raise ModelFilesDamaged(reason) from error

    @property
    def model_id(self) -> str:
        """Name of the model."""
        return self._manifest.model_id

    @property
    def model_revision(self) -> str:
        """Revision of the model."""
        return self._manifest.revision

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens."""
        return self._manifest.max_tokens

    @property
    def lanes(self) -> int:
        """One batch for each thread."""
        return self._lanes

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        """Return each text ready to run, or why it cannot be scored."""
        return self._encoder.prepare(texts)

    def outputs(self, batch: Sequence[Prepared]) -> tuple[dict[str, Array], Array | None]:
        """Return what the graph gives for one padded batch, before adapter and calibration.

        That is the probabilities of each task (count, classes) and the unit vectors (count, size), None without them.
        """
        if self._session is None:
            raise Closed("the scorer was closed")
        ids = np.full((len(batch), max(len(entry.ids) for entry in batch)), _PAD, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, entry in enumerate(batch):
            ids[row, : len(entry.ids)] = entry.ids
            mask[row, : len(entry.ids)] = 1
        try:
            found = self._session.run(self._outputs, {"input_ids": ids, "attention_mask": mask})
        except _RUN_ERRORS as error:
            raise ScorerError(f"ONNX Runtime failed on a batch of shape {ids.shape}: {error}") from error
        outputs = dict(zip(self._outputs, found, strict=True))
        return outputs, outputs.pop(self._manifest.embedding, None) if self._manifest.embedding else None

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        """Score one padded batch."""
        if not batch:
            if self._session is None:
                raise Closed("the scorer was closed")
            return []
        outputs, vectors = self.outputs(batch)
        return answers.scores(
            outputs,
            self._manifest.tasks,
            vectors,
            (self.model_id, self.model_revision),
            texts=[entry.text for entry in batch],
            calibrator=self._calibrator,
        )

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Score all texts; raise for the first that has no score."""
        return grouping.all_scores(grouping.score_each(self, texts))

    def graph_answers(self, texts: Sequence[str]) -> GraphAnswers:
        """Return what the graph gives for all texts that can be read, before adapter and calibration."""
        prepared = self.prepare(texts)
        kept = [at for at, entry in enumerate(prepared) if isinstance(entry, Prepared)]
        entries = [entry for entry in prepared if isinstance(entry, Prepared)]
        found: list[tuple[list[int], dict[str, Array], Array | None]] = [
            (rows, *self.outputs([entries[at] for at in rows]))
            for rows in grouping.groups([len(entry.ids) for entry in entries])
        ]
        back = np.argsort([at for rows, _, _ in found for at in rows])
        probabilities = {
            task: np.concatenate([np.empty((0, len(labels))), *(outputs[task] for _, outputs, _ in found)])[back]
            for task, labels in self._manifest.tasks.items()
            if task in LABELS
        }
        vectors = [values for _, _, values in found if values is not None]
        stacked = np.concatenate(vectors)[back] if vectors else None
        return GraphAnswers(kept, [entry.text for entry in entries], probabilities, stacked)

    def close(self) -> None:
        """Free the session."""
        self._session = None
