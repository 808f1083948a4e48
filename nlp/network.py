"""The network: one encoder, mean pooling, one linear head per task.

Owns the forward pass and the layout of a checkpoint folder. Does not own losses, data or export.

A checkpoint folder holds `config.json` (Hugging Face), `model.safetensors` (encoder and heads), `tokenizer.json`,
`words.npz` (the 4-bit word embedding), `heads.json` (task -> labels in order) and `reading.json` (the prefix of its
training). `nlp.torch_gpu` reads the same.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Final

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MODEL_ID: Final = "warroom-small"
PREFIX: Final = ""
"""What training puts before every text. The base model knows "query: ", three tokens of the 28 that a mention has; the
model card says what leaving them out cost."""
_FORMER_PREFIX: Final = "query: "
"""That of checkpoints without `reading.json`."""
_READING: Final = "reading.json"
MAX_TOKENS: Final = 128
"""Longest input that the model is served with; training cuts at fewer, positions allow twice as many."""


class Network(nn.Module):  # type: ignore[misc, unused-ignore] # without the extra `gpu` its base is unknown
    """Token ids and mask (batch, tokens) in; pooled states (batch, hidden) and logits per task out."""

    def __init__(self, config: BertConfig, heads: Mapping[str, Sequence[str]]) -> None:
        """Build an untrained network; `heads` maps each task to its labels in order."""
        super().__init__()
        self.labels = {task: tuple(labels) for task, labels in heads.items()}
        self.encoder = BertModel(config, add_pooling_layer=False)
        sizes = {task: len(labels) for task, labels in self.labels.items()}
        self.heads = nn.ModuleDict({task: nn.Linear(config.hidden_size, size) for task, size in sizes.items()})

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the mean of the last states over the real tokens, float32, shape (batch, hidden)."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).float()
        return (states * weights).sum(1) / weights.sum(1)

    def forward(self, ids: Tensor, mask: Tensor, tasks: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return pooled states and the logits of `tasks`."""
        pooled = self.pooled(ids, mask)
        return pooled, {task: self.heads[task](pooled) for task in tasks}

    def freeze_words(self) -> None:
        """Keep the word embedding as it is: the export ships its 4-bit original."""
        self.encoder.embeddings.word_embeddings.requires_grad_(requires_grad=False)


def from_base(folder: Path, heads: Mapping[str, Sequence[str]], attention: str = "sdpa") -> Network:
    """Return a network with the trimmed base encoder of `folder` and fresh heads; `attention` as in load_checkpoint."""
    network = Network(BertConfig.from_pretrained(folder, attn_implementation=attention), heads)
    missing = network.encoder.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    if missing.unexpected_keys or any("position_ids" not in key for key in missing.missing_keys):
        raise ValueError(f"{folder}: not the base encoder: {missing}")
    return network


def prefix_of(folder: Path) -> str:
    """Return what stands before every text that the checkpoint in `folder` is given."""
    path = folder / _READING
    return str(json.loads(path.read_text(encoding="utf-8"))["prefix"]) if path.exists() else _FORMER_PREFIX


def save_checkpoint(network: Network, base: Path, folder: Path, prefix: str = PREFIX) -> None:
    """Write a checkpoint folder; tokenizer and word embedding are copied from `base`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / "model.safetensors")
    for name in ("config.json", "tokenizer.json", "words.npz"):
        shutil.copyfile(base / name, folder / name)
    (folder / "heads.json").write_text(json.dumps(network.labels, indent=1), encoding="utf-8")
    (folder / _READING).write_text(json.dumps({"prefix": prefix}), encoding="utf-8")


def load_checkpoint(folder: Path, attention: str = "sdpa") -> Network:
    """Return the network of a checkpoint folder in evaluation mode, float32.

    `attention` is transformers' name of the implementation: the ONNX export needs "eager", and training in bfloat16 on
    a CPU is half as fast again with it, since the backward pass of the fused one takes 40 % of a step there.
    """
    heads = json.loads((folder / "heads.json").read_text(encoding="utf-8"))
    network = Network(BertConfig.from_pretrained(folder, attn_implementation=attention), heads)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    network.eval()
    return network
