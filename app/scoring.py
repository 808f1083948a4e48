"""Which scorer a process uses, from its settings, and `warroom score`.

Owns the reading of the settings: which folder is what, and torch where CUDA is. Does not own backends (`nlp.choice`).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from app.settings import Settings
from nlp import manifest
from nlp.batch_command import score_lines
from nlp.choice import Backend, open_scorer
from nlp.onnx_cpu import SHIPPED
from nlp.scorer import Scorer

CHECKPOINT = "heads.json"
"""What tells a checkpoint of our own training from a Hugging Face classifier."""


def scorer_maker(settings: Settings, folder: Path | None = None) -> Callable[[], Scorer]:
    """Return what opens the scorer that the settings choose; opening raises errors that say what to change.

    A folder with a manifest is a shipped model, one with `heads.json` a checkpoint for torch; any other is a Hugging
    Face sequence classifier, which takes the place of the shipped model's sentiment head.
    """
    path = folder or settings.model or SHIPPED
    sentiment = settings.sentiment_model
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}: name a model's folder (WARROOM_MODEL, or `score --model`)")
    if path != SHIPPED and not (path / manifest.NAME).exists() and not (path / CHECKPOINT).exists():
        path, sentiment = SHIPPED, path
    backend = _backend(settings, path)
    return lambda: open_scorer(
        path, backend=backend, threads=settings.scorer_threads or None, sentiment_folder=sentiment
    )


def _backend(settings: Settings, path: Path) -> Backend:
    if settings.scorer != "auto":
        return settings.scorer
    return "torch" if (path / CHECKPOINT).exists() and (_cuda() or not (path / manifest.NAME).exists()) else "onnx"


def _cuda() -> bool:
    if find_spec("torch") is None:
        return False
    import torch  # noqa: PLC0415  only where it is installed

    return bool(torch.cuda.is_available())


def score_stream(settings: Settings, folder: Path | None, source: BinaryIO, sink: BinaryIO) -> int:
    """Score JSON Lines from `source` to `sink`; return the exit code (1 if any line had an error)."""
    scorer = scorer_maker(settings, folder)()
    try:
        return score_lines(source, sink, scorer)
    finally:
        scorer.close()
