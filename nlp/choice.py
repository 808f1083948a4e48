"""Which backend scores: the one place that decides, so that nothing falls back silently later.

Owns the choice and the lazy import of torch. Does not own settings (the app's) or the backends.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import Scorer

Backend = Literal["onnx", "torch"]


class BackendMissing(RuntimeError):
    """The chosen backend is not installed; the message says how to install it."""


def _need_torch(what: str) -> None:
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise BackendMissing(f"{what} needs torch and transformers: pip install 'warroom[gpu]'")


def open_scorer(
    folder: Path = SHIPPED,
    *,
    backend: Backend = "onnx",
    threads: int | None = None,
    sentiment_folder: Path | None = None,
    sentiment_labels: Mapping[str, str] | None = None,
) -> Scorer:
    """Open a model and return its Scorer.

    `folder` holds a shipped model for "onnx" (on the CPU, with `threads` threads, default all cores) or a checkpoint
    for "torch" (on CUDA if there is one). `sentiment_folder` puts a local Hugging Face classifier in the place of the
    sentiment head; `sentiment_labels` maps its labels where their names do not tell. Raise ModelFilesDamaged,
    BackendMissing, LabelsRefused or OSError; each says what to change.
    """
    if backend == "torch":
        _need_torch("the torch backend")
        from nlp.torch_gpu import TorchScorer  # noqa: PLC0415 - torch is loaded only where it was chosen

        scorer: Scorer = TorchScorer(folder)
    else:
        scorer = OnnxScorer(folder, threads)
    if sentiment_folder is None:
        return scorer
    _need_torch("a Hugging Face classifier")
    from nlp.torch_classifier import ReplacedHead, TorchClassifier  # noqa: PLC0415 - as above

    return ReplacedHead(scorer, TorchClassifier(sentiment_folder, stated=sentiment_labels))
