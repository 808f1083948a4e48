"""The Scorer on torch: the shipped model or a checkpoint of ours, on CUDA in half precision or on a CPU in float32.

Owns opening either folder and running the network. Does not own the network (`network`), how the shipped file is read
(`torch_shipped`), devices and their errors (`torch_device`) or foreign models (`torch_classifier`). Imported only when
it was chosen: it needs the extra `gpu`.

What follows the graph (adapter, calibration, doubt) is the same code as on the CPU. The answers differ by rounding:
`onnx_cpu` rounds what goes into an int8 product, this backend does not; see tests/nlp/test_parity.py for how far.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nlp import answers, grouping, manifest, torch_shipped
from nlp.calibration import Calibrator
from nlp.network import MAX_TOKENS, MODEL_ID, Network, load_checkpoint, prefix_of
from nlp.onnx_cpu import SHIPPED
from nlp.scorer import LABELS, Closed, ModelFilesDamaged, Prepared, Scorer, Unscorable
from nlp.tokens import TextEncoder, read_tokenizer
from nlp.torch_device import batch_tokens, best_device, in_parts, precision, sent
from streams.records import Score

Array = NDArray[np.floating[Any]]
_PAD: Final = 1


@dataclass(frozen=True, slots=True)
class _Model:
    """What a folder holds beside its network: all that goes before and after it."""

    tasks: Mapping[str, Sequence[str]]
    prefix: str
    max_tokens: int
    identity: tuple[str, str]
    calibrator: Calibrator | None = None


def _shipped(folder: Path) -> tuple[Network, _Model]:
    """Open a folder that `nlp.training.export` or `warroom model adapt` made."""
    described = manifest.read(folder)
    network = torch_shipped.load(folder / "model.onnx", described.tasks, described.embedding)
    if described.max_tokens > (most := network.encoder.config.max_position_embeddings):
        reason = f"the graph cannot take max_tokens {described.max_tokens}, only {most}"
        raise ModelFilesDamaged(f"{folder / manifest.NAME}: {reason}: restore the folder, or export the model again")
    return network, _Model(
        described.tasks,
        described.prefix,
        described.max_tokens,
        (described.model_id, described.revision),
        manifest.calibrator(folder, described),
    )


def _checkpoint(folder: Path) -> tuple[Network, _Model]:
    network = load_checkpoint(folder)
    tasks = {task: network.labels[task] for task in LABELS}
    revision = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]
    return network, _Model(tasks, prefix_of(folder), MAX_TOKENS, (MODEL_ID, revision))


def padded(batch: Sequence[Prepared]) -> tuple[Tensor, Tensor]:
    """Return ids and mask (count, longest), int64 on the CPU."""
    ids = np.full((len(batch), max(len(entry.ids) for entry in batch)), _PAD, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, entry in enumerate(batch):
        ids[row, : len(entry.ids)] = entry.ids
        mask[row, : len(entry.ids)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


class TorchScorer(Scorer):
    """A folder of ours, opened for scoring: shipped (it has a manifest) or a checkpoint, as calibrated as that is."""

    def __init__(
        self, folder: Path = SHIPPED, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Open `folder` on `device` (default: CUDA if there is one) in `dtype` (default: `torch_device.precision`).

        Raise ModelFilesDamaged naming a bad file, or the node of a graph that is not understood.
        """
        self._device = device or best_device()
        network, self._model = _shipped(folder) if (folder / manifest.NAME).exists() else _checkpoint(folder)
        self._encoder = TextEncoder(read_tokenizer(folder), self._model.prefix, self._model.max_tokens)
        network.encoder.to(self._device, dtype or precision(self._device))
        network.heads.to(self._device, torch.float32)  # they read the mean of the states, which is float32
        self._network: Network | None = network
        self._batch_tokens = batch_tokens(self._device)

    @property
    def model_id(self) -> str:
        """Name of the model."""
        return self._model.identity[0]

    @property
    def model_revision(self) -> str:
        """Revision of the model: the manifest's, or of a checkpoint the start of its checksum."""
        return self._model.identity[1]

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens."""
        return self._model.max_tokens

    @property
    def batch_tokens(self) -> int:
        """As many as keep the device busy."""
        return self._batch_tokens

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        """Return each text ready to run, or why it cannot be scored."""
        return self._encoder.prepare(texts)

    def _rows(self, batch: Sequence[Prepared]) -> Tensor:
        """Return the probabilities of all tasks and the unit vectors side by side, so that one copy fetches them."""
        if self._network is None:
            raise Closed("the scorer was closed")
        ids, mask = (sent(values, self._device) for values in padded(batch))
        pooled, logits = self._network(ids, mask, tuple(LABELS))
        found = [*(logits[task].softmax(-1) for task in LABELS), functional.normalize(pooled, dim=-1)]
        return torch.cat(found, dim=-1).cpu()

    def outputs(self, batch: Sequence[Prepared]) -> tuple[dict[str, Array], Array]:
        """Return what the network gives for one padded batch, before adapter and calibration.

        That is the probabilities of each task (count, classes) and the unit vectors (count, size). A batch too large
        for the device is run in halves; raise ScorerError, Closed or DeviceLost.
        """
        widths = [len(self._model.tasks[task]) for task in LABELS]
        *found, vectors = np.split(in_parts(self._rows, batch).numpy(), np.cumsum(widths), axis=1)
        return dict(zip(LABELS, found, strict=True)), vectors

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        """Score one padded batch."""
        if self._network is None:
            raise Closed("the scorer was closed")
        if not batch:
            return []
        outputs, vectors = self.outputs(batch)
        texts = [entry.text for entry in batch]
        model = self._model
        return answers.scores(outputs, model.tasks, vectors, model.identity, texts=texts, calibrator=model.calibrator)

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Score all texts; raise for the first that has no score."""
        return grouping.all_scores(grouping.score_each(self, texts))

    def close(self) -> None:
        """Free the weights."""
        self._network = None
