"""The Scorer on torch: a checkpoint folder of ours on CUDA in half precision, or on a CPU in float32.

Owns device and precision. Does not own the network (`network`) or foreign models (`torch_classifier`). Imported only
when it was chosen: it needs the extra `gpu`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer

from nlp import answers, grouping
from nlp.network import MAX_TOKENS, MODEL_ID, PREFIX, Network, load_checkpoint
from nlp.scorer import LABELS, Closed, Prepared, Scorer, ScorerError, Unscorable
from nlp.tokens import TextEncoder
from streams.records import Score

_PAD: Final = 1


def best_device() -> torch.device:
    """Return the first CUDA device, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device computes in it, float16 on older CUDA devices, float32 on a CPU."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def padded(batch: Sequence[Prepared], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask (count, longest) on the device."""
    longest = max(len(entry.ids) for entry in batch)
    ids = torch.tensor([entry.ids + [_PAD] * (longest - len(entry.ids)) for entry in batch], device=device)
    mask = torch.tensor([[1] * len(entry.ids) + [0] * (longest - len(entry.ids)) for entry in batch], device=device)
    return ids, mask


class TorchScorer(Scorer):
    """A checkpoint folder of `nlp.network`, opened for scoring. Probabilities are as calibrated as the checkpoint's."""

    def __init__(self, folder: Path, device: torch.device | None = None) -> None:
        """Open `folder` on `device` (default: CUDA if there is one)."""
        self._device = device or best_device()
        network = load_checkpoint(folder)
        self._network: Network | None = network.to(self._device, precision(self._device))
        self._labels = {task: network.labels[task] for task in LABELS}
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._encoder = TextEncoder(tokenizer, PREFIX, MAX_TOKENS)
        self._revision = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]

    @property
    def model_id(self) -> str:
        """Name of the model."""
        return MODEL_ID

    @property
    def model_revision(self) -> str:
        """Start of the checksum of the weights."""
        return self._revision

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens."""
        return MAX_TOKENS

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        """Return each text ready to run, or why it cannot be scored."""
        return self._encoder.prepare(texts)

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        """Score one padded batch."""
        if self._network is None:
            raise Closed("the scorer was closed")
        if not batch:
            return []
        try:
            with torch.inference_mode():
                pooled, logits = self._network(*padded(batch, self._device), tuple(LABELS))
        except RuntimeError as error:  # out of memory is one too
            raise ScorerError(f"torch failed on {len(batch)} texts: {error}") from error
        outputs = {task: values.float().softmax(-1).cpu().numpy() for task, values in logits.items()}
        return answers.scores(outputs, self._labels, pooled.float().cpu().numpy(), (self.model_id, self._revision))

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Score all texts; raise for the first that has no score."""
        return grouping.all_scores(grouping.score_each(self, texts))

    def close(self) -> None:
        """Free the weights."""
        self._network = None
