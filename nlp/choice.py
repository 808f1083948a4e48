"""Which backend scores: the one place that decides, so that nothing falls back silently later.

Owns the choice and the lazy import of torch. Does not own settings (the app's) or the backends.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from nlp import manifest
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import Scorer

Backend = Literal["auto", "onnx", "torch"]
CHECKPOINT: Final = "heads.json"
"""What tells a checkpoint of our own training from a Hugging Face classifier."""
_EXTRA: Final = ("torch", "transformers", "onnx")
"""What the torch backend needs beside the CPU's; the last one reads the shipped file."""


class BackendMissing(RuntimeError):
    """The chosen backend is not installed; the message says how to install it."""


def is_ours(folder: Path) -> bool:
    """Return whether the folder holds a model of ours, shipped or a checkpoint, and no foreign classifier."""
    return (folder / manifest.NAME).exists() or (folder / CHECKPOINT).exists()


def chosen(backend: Backend, folder: Path) -> Literal["onnx", "torch"]:
    """Return the backend that scores: what is asked for, or of "auto" torch where it and CUDA are, else ONNX Runtime.

    A checkpoint, which only torch can read, is torch's on any machine.
    """
    if backend != "auto":
        return backend
    if not (folder / manifest.NAME).exists() and (folder / CHECKPOINT).exists():
        return "torch"
    return "torch" if has_cuda() else "onnx"


def has_cuda() -> bool:
    """Return whether torch, all that its backend needs, and a CUDA device are there."""
    if any(importlib.util.find_spec(name) is None for name in _EXTRA):
        return False
    import torch  # noqa: PLC0415 - torch is loaded only where it is installed

    return bool(torch.cuda.is_available())


def _need_torch(what: str) -> None:
    if missing := [name for name in _EXTRA if importlib.util.find_spec(name) is None]:
        raise BackendMissing(f"{what} needs {' and '.join(missing)}: pip install 'warroom[gpu]'")


def open_scorer(
    folder: Path = SHIPPED,
    *,
    backend: Backend = "onnx",
    threads: int | None = None,
    sentiment_model: str | Path | None = None,
    sentiment_labels: Mapping[str, str] | None = None,
) -> Scorer:
    """Open a model and return its Scorer.

    `folder` holds a shipped model for "onnx" (on the CPU, with `threads` threads, default all cores), or one or a
    checkpoint for "torch" (on CUDA if there is one); "auto" is `chosen`. `sentiment_model`, a local folder or a hub id,
    puts a Hugging Face classifier in the place of the sentiment head; `sentiment_labels` maps its labels where their
    names do not tell. Raise ModelFilesDamaged, BackendMissing, LabelsRefused or OSError; each says what to change.
    """
    if chosen(backend, folder) == "torch":
        _need_torch("the torch backend")
        from nlp.torch_gpu import TorchScorer  # noqa: PLC0415 - torch is loaded only where it was chosen

        scorer: Scorer = TorchScorer(folder)
    else:
        scorer = OnnxScorer(folder, threads)
    if sentiment_model is None:
        return scorer
    _need_torch("a Hugging Face classifier")
    from nlp.torch_classifier import ReplacedHead, TorchClassifier  # noqa: PLC0415 - as above

    return ReplacedHead(scorer, TorchClassifier(sentiment_model, stated=sentiment_labels))
