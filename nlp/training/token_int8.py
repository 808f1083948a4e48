"""Linear layers in int8: each weight column with a scale of its own, and each token of each text too.

Owns the form that a product of states and stored weights takes in the shipped graph. Does not own which products stay
in float (`smooth`), or reading the form back (`nlp.onnx_graph`).

ONNX Runtime's own dynamic quantisation gives one scale to all tokens of a batch, so the answers for a text hang on the
texts that happen to be scored with it: probabilities moved by 0.004 on average and by up to 0.2. A scale per token
makes a score a property of its text, rounds less, and takes hardly longer (`docs/model-card.md`). The operator
QuantizeLinear knows scales along one axis; so states (batch, tokens, channels) become rows (batch * tokens, channels).
States that are known to be positive (`smooth.RAISED`) use all 255 steps, others 127 on each side of zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from nlp.training.smooth import LOUD_PRODUCT, RAISED, STEPS

MICROSOFT: Final = "com.microsoft"
"""The domain of the product with scales, which every ONNX Runtime has."""
_FLOAT_PRODUCT: Final = f"/{LOUD_PRODUCT}/"
"""Part of the names of products that stay in float. The heads do too: of one row a text, the exporter makes a Gemm."""
_LEAST: Final = 1e-6
"""Smallest largest value of a token; a token of zeros would be divided by zero."""
_SHARED: Final[dict[str, NDArray[Any]]] = {
    "int8.signed.step": np.array(1 / STEPS, np.float32),
    "int8.signed.zero": np.array(STEPS + 1, np.uint8),
    "int8.raised.step": np.array(1 / (2 * STEPS + 1), np.float32),
    "int8.raised.zero": np.array(0, np.uint8),
    "int8.least": np.array(_LEAST, np.float32),
    "int8.one": np.array(1, np.float32),
    "int8.first": np.array([0], np.int64),
    "int8.second": np.array([2], np.int64),
    "int8.last": np.array([-1], np.int64),
}


def rounded(weight: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return `weight` (inputs, outputs) as int8 and the scale of each output, float32."""
    scales = np.abs(weight).max(0) / STEPS
    scales[scales == 0] = 1.0
    return np.clip(np.round(weight / scales), -STEPS, STEPS).astype(np.int8), scales.astype(np.float32)


class _Rewriting:
    """One graph on its way: the new nodes in order, and the constants they read."""

    def __init__(self, graph: Any) -> None:
        self._stored = {entry.name: entry for entry in graph.initializer}
        self._makers = {name: node.name for node in graph.node for name in node.output}
        self._inputs: dict[str, str] = {}
        self.constants: dict[str, NDArray[Any]] = dict(_SHARED)
        self.replaced: set[str] = set()

    def wanted(self, node: Any) -> bool:
        """Return whether the node is a product of states and stored weights that becomes int8."""
        product = node.op_type == "MatMul" and node.input[1] in self._stored
        return product and _FLOAT_PRODUCT not in node.name

    def input_of(self, states: str, width: int) -> Iterator[Any]:
        """Yield the nodes that turn `states` into int8 rows, once for all products that read them."""
        if states in self._inputs:
            return
        kind = "raised" if f"/{RAISED}/" in self._makers.get(states, "") else "signed"
        self._inputs[states] = kind
        own = f"{states}.int8"
        self.constants[f"int8.rows.{width}"] = np.array([-1, width], np.int64)
        yield helper.make_node("Reshape", [states, f"int8.rows.{width}"], [f"{own}.rows"])
        size = f"{own}.rows"
        if kind == "signed":
            size = f"{own}.size"
            yield helper.make_node("Abs", [f"{own}.rows"], [size])
        yield helper.make_node("ReduceMax", [size], [f"{own}.most"], axes=[-1], keepdims=0)
        yield helper.make_node("Max", [f"{own}.most", "int8.least"], [f"{own}.some"])
        yield helper.make_node("Mul", [f"{own}.some", f"int8.{kind}.step"], [f"{own}.scale"])
        yield helper.make_node("Shape", [f"{own}.scale"], [f"{own}.count"])
        yield helper.make_node("Expand", [f"int8.{kind}.zero", f"{own}.count"], [f"{own}.zero"])
        quantised = [f"{own}.rows", f"{own}.scale", f"{own}.zero"]
        yield helper.make_node("QuantizeLinear", quantised, [f"{own}.quantised"], axis=0)
        yield helper.make_node("Unsqueeze", [f"{own}.scale", "int8.last"], [f"{own}.scales"])
        yield helper.make_node("Shape", [states], [f"{own}.shape"])
        yield helper.make_node("Slice", [f"{own}.shape", "int8.first", "int8.second"], [f"{own}.tokens"])

    def product(self, node: Any) -> Iterator[Any]:
        """Yield the nodes of one product in int8."""
        states, weight = node.input
        value = numpy_helper.to_array(self._stored[weight])
        self.replaced.add(weight)
        yield from self.input_of(states, value.shape[0])
        own, given = f"{node.output[0]}.int8", f"{states}.int8"
        self.constants[own], self.constants[f"{own}.scales"] = rounded(value)
        self.constants[f"{own}.zeros"] = np.zeros(value.shape[1], np.int8)
        self.constants[f"int8.width.{value.shape[1]}"] = np.array([value.shape[1]], np.int64)
        zero = f"int8.{self._inputs[states]}.zero"
        operands = [f"{given}.quantised", own, "int8.one", f"{own}.scales", zero, f"{own}.zeros"]
        yield helper.make_node(
            "MatMulIntegerToFloat", operands, [f"{own}.product"], domain=MICROSOFT, name=f"{node.name}/int8"
        )
        scaled = [f"{own}.product", f"{given}.scales"]
        yield helper.make_node("Mul", scaled, [f"{own}.scaled"], name=f"{node.name}/scaled")
        yield helper.make_node("Concat", [f"{given}.tokens", f"int8.width.{value.shape[1]}"], [f"{own}.shape"], axis=0)
        yield helper.make_node("Reshape", [f"{own}.scaled", f"{own}.shape"], list(node.output), name=node.name)


def in_int8(model: Any) -> None:
    """Turn the products of a float ONNX model by stored weights into int8 ones, in place; each weight has one reader.

    The model is of an opset before 18, where ReduceMax has its axes as an attribute.
    """
    graph = model.graph
    rewriting = _Rewriting(graph)
    nodes = [new for node in graph.node for new in (rewriting.product(node) if rewriting.wanted(node) else [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [entry for entry in graph.initializer if entry.name not in rewriting.replaced]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    used = {name for node in nodes for name in node.input}
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in rewriting.constants.items() if name in used
    )
    if not any(entry.domain == MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
