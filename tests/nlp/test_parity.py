"""The shipped model on both backends, on our own mentions in seven languages.

What ONNX Runtime and torch compute differs by one thing: ONNX rounds the input of each int8 product to steps, and in
the first layers to parts of a step. Torch gives the answers that the weights of the file stand for. Imitating the
rounding would not bring them together: a value next to a step's edge falls to either side by the last digit of a float,
and twelve layers on, that is as much as the rounding itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nlp.grouping import groups
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import LABELS, Prepared

MISSES = "misses the parity of ONNX and torch on the shipped model: torch or onnx is not installed (extra gpu)"
torch = pytest.importorskip("torch", reason=MISSES)
pytest.importorskip("transformers", reason=MISSES)
pytest.importorskip("onnx", reason=MISSES)
from nlp.torch_gpu import TorchScorer  # noqa: E402 - only where the extra is

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(1200)]  # six passes of the whole model

LANGUAGES = ("he", "fa", "ar", "en", "es", "fr", "de")
EACH = 6
OWN = Path(__file__).parents[2] / "nlp" / "training" / "data"
ODD = (
    "😀",
    "🔥" * 8,
    "a",
    "!" * 20,
    "https://example.com/a/b?c=1&d=2",
    "x" * 5000,
    "1234567890 " * 40,
    "א" * 300,
    "ﷺ ﷺ ﷺ",
    "שלום hello سلام bonjour 😀 123",
    "\u202eabc\u202c def",
    "HELP " * 200,
    "q w e r t y " * 30,
    "@user @user @user",
    "…………",
    "Zażółć gęślą jaźń",
)
"""Louder or stranger than the texts that the steps of int8 were read off."""
Array = NDArray[np.floating[Any]]
Outputs = Callable[[list[Prepared]], tuple[dict[str, Array], Any]]


@pytest.fixture(scope="module")
def prepared(shipped: OnnxScorer) -> list[Prepared]:
    texts = []
    for language in LANGUAGES:
        rows = (OWN / f"mentions.{language}.jsonl").read_text(encoding="utf-8").splitlines()
        texts += [json.loads(row)["text"] for row in rows[:: len(rows) // EACH][:EACH]]
    return [entry for entry in shipped.prepare(texts) if isinstance(entry, Prepared)]


@pytest.fixture(scope="module")
def whole() -> TorchScorer:
    return TorchScorer(SHIPPED, torch.device("cpu"))


def alone(outputs: Outputs, entries: list[Prepared]) -> Array:
    """Probabilities of all tasks side by side, each text in a batch of its own."""
    rows = [outputs([entry])[0] for entry in entries]
    return np.concatenate([np.concatenate([row[task] for task in LABELS], axis=1) for row in rows])


def in_batches(outputs: Outputs, entries: list[Prepared]) -> Array:
    """The same in batches of like length."""
    found = np.zeros((len(entries), sum(map(len, LABELS.values()))))
    for group in groups([len(entry.ids) for entry in entries], 512):
        batch = outputs([entries[at] for at in group])[0]
        found[group] = np.concatenate([batch[task] for task in LABELS], axis=1)
    return found


@pytest.fixture(scope="module")
def truth(whole: TorchScorer, prepared: list[Prepared]) -> Array:
    return alone(whole.outputs, prepared)


@pytest.fixture(scope="module")
def by_onnx(shipped: OnnxScorer, prepared: list[Prepared]) -> Array:
    return alone(shipped.outputs, prepared)


def test_a_score_is_of_its_text_alone(shipped: OnnxScorer, prepared: list[Prepared], by_onnx: Array) -> None:
    assert np.abs(in_batches(shipped.outputs, prepared) - by_onnx).max() < 0.001


def test_both_backends_agree(truth: Array, by_onnx: Array) -> None:
    """Within 0.02 of each probability, and on which answer is best."""
    gaps = np.abs(truth - by_onnx)
    assert gaps.mean() < 0.0015
    assert gaps.max() < 0.02
    assert (truth[:, :3].argmax(1) == by_onnx[:, :3].argmax(1)).mean() > 0.95


def test_both_backends_agree_on_odd_texts(shipped: OnnxScorer, whole: TorchScorer) -> None:
    entries = [entry for entry in shipped.prepare(ODD) if isinstance(entry, Prepared)]
    assert len(entries) == len(ODD)
    assert np.abs(alone(whole.outputs, entries) - alone(shipped.outputs, entries)).max() < 0.02


def test_torch_gives_a_text_the_same_answer_in_any_batch(
    whole: TorchScorer, prepared: list[Prepared], truth: Array
) -> None:
    assert np.abs(in_batches(whole.outputs, prepared) - truth).max() < 1e-4


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 0.005), (torch.bfloat16, 0.04)])
def test_half_precision_stays_near(prepared: list[Prepared], truth: Array, dtype: Any, bound: float) -> None:
    scorer = TorchScorer(SHIPPED, torch.device("cpu"), dtype)
    assert np.abs(in_batches(scorer.outputs, prepared) - truth).max() < bound
