"""The shipped model on both backends, on our own mentions in seven languages.

What ONNX Runtime and torch compute differs by one thing: ONNX rounds each activation tensor of a batch to 255 steps
between its extremes. It is shown here by doing the same to torch's activations: then both differ no more than torch in
single from torch in double precision. Without it torch gives the answers that the weights of the file stand for, and
ONNX deviates from them as much as it deviates from itself when a text gets other neighbours in its batch.
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
from nlp.onnx_graph import Graph  # noqa: E402 - only where the extra is
from nlp.torch_gpu import TorchScorer  # noqa: E402 - as above

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(1200)]  # six passes of the whole model

LANGUAGES = ("he", "fa", "ar", "en", "es", "fr", "de")
EACH = 6
OWN = Path(__file__).parents[2] / "nlp" / "training" / "data"
STEPS = 255
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


def stepped(values: Any) -> Any:
    """What DynamicQuantizeLinear and the way back make of a tensor."""
    least, most = min(0.0, float(values.min())), max(0.0, float(values.max()))
    step = (most - least) / STEPS or 1.0
    zero = round(-least / step)
    return (torch.clamp(torch.round(values / step) + zero, 0, STEPS) - zero) * step


def rounding(factors: Any) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]:
    """Round the input of a layer as ONNX does: behind its factors; what has factor 0 is multiplied in float beside."""

    def hook(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if factors is None:
            return (stepped(inputs[0]),)
        loud = factors == 0
        return (torch.where(loud, inputs[0], stepped(inputs[0] * factors) / factors.masked_fill(loud, 1)),)

    return hook


def input_factors(graph: Graph) -> list[Any]:
    """The stored vector in front of each quantised input, None where there is none, in the order of the graph."""
    found = []
    for node in graph.nodes:
        if node.op_type == "DynamicQuantizeLinear":
            maker = graph.maker(node.input[0])
            values = [graph.constant(name) for name in maker.input] if maker.op_type == "Mul" else []
            vectors = [torch.from_numpy(value.copy()) for value in values if value is not None and value.size > 1]
            found.append(vectors[0] if vectors else None)
    return found


def quantised_inputs(network: Any) -> list[list[Any]]:
    """The linear layers in the same order; those of one list share their input."""
    found = []
    for layer in network.encoder.encoder.layer:
        own = layer.attention.self
        found += [[own.query, own.key, own.value], [layer.attention.output.dense], [layer.intermediate.dense]]
        found += [[layer.output.dense]]
    return [*found, list(network.heads.values())]


def rounded(dtype: Any, entries: list[Prepared]) -> Array:
    """The answers of torch when it rounds as ONNX does and computes everything else in `dtype`."""
    scorer = TorchScorer(SHIPPED, torch.device("cpu"), dtype)
    factors = input_factors(Graph(SHIPPED / "model.onnx"))
    readers = quantised_inputs(scorer._network)
    assert len(factors) == len(readers)
    for layers, vector in zip(readers, factors, strict=True):
        for layer in layers:
            layer.register_forward_pre_hook(rounding(vector))
    return alone(scorer.outputs, entries)


def test_rounding_activations_as_onnx_does_gives_its_answers(
    prepared: list[Prepared], by_onnx: Array, truth: Array
) -> None:
    """Up to what the last digit changes: a value next to a step's edge falls to either side, and that goes on."""
    single, double = rounded(torch.float32, prepared), rounded(torch.float64, prepared)
    chance = np.abs(single - double).mean()
    gap = np.abs(single - by_onnx).mean()
    assert gap < 2 * chance
    assert gap < np.abs(truth - by_onnx).mean()


def test_onnx_deviates_from_torch_no_more_than_from_itself(
    shipped: OnnxScorer, prepared: list[Prepared], truth: Array, by_onnx: Array
) -> None:
    itself = np.abs(in_batches(shipped.outputs, prepared) - by_onnx)
    between = np.abs(truth - by_onnx)
    assert between.mean() < 0.01
    assert between.mean() < 2 * itself.mean()
    assert (truth[:, :3].argmax(1) == by_onnx[:, :3].argmax(1)).mean() > 0.95


def test_torch_gives_a_text_the_same_answer_in_any_batch(
    whole: TorchScorer, prepared: list[Prepared], truth: Array
) -> None:
    assert np.abs(in_batches(whole.outputs, prepared) - truth).max() < 1e-4


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 0.005), (torch.bfloat16, 0.04)])
def test_half_precision_stays_near(prepared: list[Prepared], truth: Array, dtype: Any, bound: float) -> None:
    scorer = TorchScorer(SHIPPED, torch.device("cpu"), dtype)
    assert np.abs(in_batches(scorer.outputs, prepared) - truth).max() < bound
