"""Which scorer a process uses: ONNX on the CPU, or torch where CUDA is or where it was asked for.

Owns the choice and `warroom score`. Does not own either scorer. Torch is imported only when it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from app.settings import Settings
from nlp.batch_command import score_lines
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import Scorer


def scorer_maker(settings: Settings, folder: Path | None = None) -> Callable[[], Scorer]:
    """Return what opens the scorer that the settings choose; opening may raise ModelFilesDamaged or ScorerError."""
    path = folder or settings.model or SHIPPED
    if settings.scorer == "torch" or (settings.scorer == "auto" and _cuda() and (path / "model.safetensors").is_file()):
        from nlp.torch_gpu import TorchScorer  # noqa: PLC0415  the default install has no torch

        return lambda: TorchScorer(path)
    return lambda: OnnxScorer(path, settings.scorer_threads or None)


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
