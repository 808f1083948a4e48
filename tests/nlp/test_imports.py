"""The default install has neither torch nor transformers: serving must not ask for them, nor for anything above it."""

from __future__ import annotations

import subprocess
import sys

SERVING = ("batch_command", "batching", "choice", "evaluate", "labels", "onnx_cpu", "quality", "worker")
FORBIDDEN = ("torch", "transformers", "onnx", "sentencepiece", "sklearn", "app", "alerts", "streams.stream")


def test_serving_imports_no_training_library_and_no_other_room() -> None:
    code = f"import sys\nfor name in {SERVING}: __import__('nlp.' + name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint(FORBIDDEN)
