"""Linear layers in int8: each input channel has a fixed step of its own, and each weight column a scale.

Owns the form that a linear layer takes in the shipped graph. Does not own how loud channels get (`loudness`) or reading
the form back (`nlp.onnx_graph`).

ONNX Runtime's own dynamic quantisation gives all tokens of a batch one scale, so the answers for a text hang on the
texts that happen to be scored with it. Steps that are fixed here make a score a property of its text, and leave nothing
to be measured while a text is scored: no scales of tokens, and the bias is added by the product itself.

- A step is at least what the loudest value seen needs, with a margin for texts that are louder. Where channels differ
  much, the quiet ones get longer steps, so that their weights are not lost beside those of the loud ones (the trade of
  SmoothQuant, Xiao et al. 2023).
- What a GELU gives is hardly negative: its zero lies at 16, not in the middle, so that nearly all 255 steps serve it.
  The loudest channels there, which answer the first and the last token with 70 where others reach 5, are multiplied in
  float beside the product (LLM.int8, Dettmers et al. 2022).
- A processor without VNNI (AMD's before Zen 4, many of Intel's) adds the products of two neighbours in 16 bits and
  cuts what does not fit, silently: 255 * 127 * 2 does not. The weights of two neighbours are so small together that
  nothing ever overflows: such a machine gets the same products as all others.
- In the first layers, whose rounding all later ones carry on, a second int8 number takes what the first leaves over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

MICROSOFT: Final = "com.microsoft"
"""The domain of the product with scales, which every ONNX Runtime has."""
STEPS: Final = 127
"""The largest int8 weight, and the largest int8 value to each side of a zero in the middle."""
PAIR: Final = 128
"""What the magnitudes of two neighbours in a weight column may add up to."""
_MIDDLE: Final = 128
_LOW: Final = 16
"""The zero of what a GELU gives."""
_TOP: Final = 255
_GELU_DEPTH: Final = 0.17
"""How far below zero a GELU reaches: 0.16997."""
_MARGIN: Final = 1.3
"""How much louder than anything seen a channel may get before it is cut."""
_STRENGTH: Final = {True: 0.75, False: 1.0}
"""From 0 (weights alone decide how steps differ) to 1 (activations alone), for layers with a second int8 number, which
lose nothing by longer steps, and without one. Measured: 0.75 without one doubles what rounding moves."""
_LOUD: Final = 16
"""Channels behind a GELU that stay float; a multiplication of this width costs next to nothing."""
_PARTS: Final = 254
"""Parts of a step that the second number counts: the remainder lies within half a step."""
_LEAST: Final = 1e-6
_SHARED: Final[dict[str, NDArray[Any]]] = {
    "int8.one": np.array(1, np.float32),
    "int8.part": np.array(1 / _PARTS, np.float32),
    f"int8.zero.{_MIDDLE}": np.array(_MIDDLE, np.uint8),
    f"int8.zero.{_LOW}": np.array(_LOW, np.uint8),
}

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Input:
    """What the products of one input share: its `steps` (inputs), its zero, and the channels that stay float."""

    steps: Floats
    zero: int
    loud: NDArray[np.int64]
    fine: bool


def rounded(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return `weight` (inputs, outputs) as int8 and the scale of each output, float32.

    No two neighbours of a column (inputs 2k and 2k + 1) have magnitudes of more than `PAIR` together.
    """
    size = np.abs(np.pad(weight, ((0, len(weight) % 2), (0, 0))))
    scales = (size[::2] + size[1::2]).max(0) / (PAIR - 1)  # each of two may be rounded up by half
    scales[scales == 0] = 1.0
    return np.round(weight / scales).astype(np.int8), scales.astype(np.float32)


def steps_of(peaks: Floats, weights: Floats, zero: int, loud: NDArray[np.int64], strength: float) -> Floats:
    """Return the step of each input channel, float32.

    `peaks` and `weights` (inputs) are the largest magnitudes of the channel and of its weights; `loud` channels count
    for nothing; `strength` is how far `peaks` decide.
    """
    least = np.maximum(peaks * _MARGIN, _LEAST) / (STEPS if zero == _MIDDLE else _TOP - zero)
    if zero != _MIDDLE:
        least = np.maximum(least, _GELU_DEPTH / zero)
    balanced = least**strength / np.maximum(weights, _LEAST) ** (1 - strength)
    short = least / balanced
    short[loud] = 0
    return np.asarray(balanced * short.max(), np.float32)


class _Rewriting:
    """One graph on its way: the new nodes in order, and the constants they read."""

    def __init__(self, graph: Any, peaks: Mapping[str, Floats], fine: int) -> None:
        self._stored = {entry.name: entry for entry in graph.initializer}
        for node in graph.node:  # the exporter stores equal tensors once
            if node.op_type == "Identity" and node.input[0] in self._stored:
                self._stored[node.output[0]] = self._stored[node.input[0]]
        self._peaks, self._fine = peaks, fine
        self._products = [node for node in graph.node if self._layer(node) in peaks and self._is_product(node)]
        if missing := set(peaks) - {self._layer(node) for node in self._products}:
            raise ValueError(f"the graph has no product of the layer {min(missing)}, so it would stay in float")
        added = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
        self._biases = {node.name: added[node.output[0]] for node in self._products}
        self._merged = {node.name for node in self._biases.values()}
        self._inputs: dict[str, _Input] = {}
        self.constants: dict[str, NDArray[Any]] = dict(_SHARED)

    @staticmethod
    def _layer(node: Any) -> str:
        """Return the name of the module that the exporter made the node of, as the network names it."""
        return str(node.name.removeprefix("/").removesuffix("/MatMul").replace("/", "."))

    def _is_product(self, node: Any) -> bool:
        return node.op_type == "MatMul" and node.input[1] in self._stored

    def nodes(self, node: Any) -> Iterator[Any]:
        """Yield what takes the place of a node: itself, or the nodes of a layer in int8 where its product was."""
        if node.name in self._biases:
            states = node.input[0]
            if states not in self._inputs:
                self._inputs[states] = self._input(states)
                yield from self._quantising(states, self._inputs[states])
            yield from self._product(node, self._biases[node.name], self._inputs[states])
        elif node.name not in self._merged:
            yield node

    def _input(self, states: str) -> _Input:
        """Return how `states` are quantised; the products that read them agree on it."""
        readers = [node for node in self._products if node.input[0] == states]
        name = self._layer(readers[0])
        behind_gelu = name.endswith(".output.dense") and ".attention." not in name
        peaks = self._peaks[name]
        loud = np.sort(np.argsort(peaks)[-min(_LOUD, len(peaks) // 2) :]) if behind_gelu else np.array([], np.int64)
        weights = np.max([np.abs(self._weight(node)).max(1) for node in readers], axis=0)
        zero = _LOW if behind_gelu else _MIDDLE
        fine = int(name.split(".layer.")[1].split(".")[0]) < self._fine
        return _Input(steps_of(peaks, weights, zero, loud, _STRENGTH[fine]), zero, loud, fine)

    def _weight(self, node: Any) -> Floats:
        return np.asarray(numpy_helper.to_array(self._stored[node.input[1]]), np.float32)

    def _quantising(self, states: str, given: _Input) -> Iterator[Any]:
        own, zero = f"{states}.int8", f"int8.zero.{given.zero}"
        inverse = 1 / given.steps
        inverse[given.loud] = 0
        self.constants[f"{own}.inverse"] = inverse
        yield helper.make_node("Mul", [states, f"{own}.inverse"], [f"{own}.in_steps"])
        yield helper.make_node("QuantizeLinear", [f"{own}.in_steps", "int8.one", zero], [own])
        if given.fine:
            yield helper.make_node("DequantizeLinear", [own, "int8.one", zero], [f"{own}.whole"])
            yield helper.make_node("Sub", [f"{own}.in_steps", f"{own}.whole"], [f"{own}.rest"])
            rest = [f"{own}.rest", "int8.part", f"int8.zero.{_MIDDLE}"]
            yield helper.make_node("QuantizeLinear", rest, [f"{own}.parts"])

    def _product(self, node: Any, bias: Any, given: _Input) -> Iterator[Any]:
        """Yield the nodes of one layer in int8, which ends in what its bias gave."""
        own, quantised, weight = f"{node.name}/int8", f"{node.input[0]}.int8", self._weight(node)
        stepped = weight * given.steps[:, None]
        stepped[given.loud] = 0
        self.constants[f"{own}.weight"], self.constants[f"{own}.scales"] = rounded(stepped)
        self.constants[f"{own}.zeros"] = np.zeros(weight.shape[1], np.int8)
        (added,) = (name for name in bias.input if name in self._stored)
        self.constants[f"{own}.bias"] = np.asarray(numpy_helper.to_array(self._stored[added]))
        scales, middle = [f"{own}.scales"], f"int8.zero.{_MIDDLE}"
        weights = [f"{own}.weight", "int8.one", *scales, f"int8.zero.{given.zero}", f"{own}.zeros", f"{own}.bias"]
        terms = [helper.make_node("MatMulIntegerToFloat", [quantised, *weights], [own], own, domain=MICROSOFT)]
        if given.fine:
            parts = [f"{quantised}.parts", f"{own}.weight", "int8.part", *scales, middle, f"{own}.zeros"]
            made = f"{own}/parts"
            terms.append(helper.make_node("MatMulIntegerToFloat", parts, [made], made, domain=MICROSOFT))
        if len(given.loud):
            self.constants[f"{own}.loud"], self.constants[f"{own}.loud.weight"] = given.loud, weight[given.loud]
            yield helper.make_node("Gather", [node.input[0], f"{own}.loud"], [f"{own}.loud.states"], axis=-1)
            loud = [f"{own}.loud.states", f"{own}.loud.weight"]
            terms.append(helper.make_node("MatMul", loud, [f"{own}/loud"], f"{own}/loud"))
        yield from _summed(terms, bias)


def _summed(terms: list[Any], bias: Any) -> Iterator[Any]:
    """Yield the nodes and the additions that end in the output of `bias`, the node whose place they take."""
    so_far = terms[0]
    yield so_far
    for at, term in enumerate(terms[1:]):
        yield term
        name = f"{bias.name}/{at}"
        so_far = helper.make_node("Add", [so_far.output[0], term.output[0]], [name], name)
        yield so_far
    so_far.output[0] = bias.output[0]


def in_int8(model: Any, peaks: Mapping[str, Floats], fine: int) -> None:
    """Turn the linear layers that `peaks` names in a float ONNX model into int8 ones, in place.

    `peaks` maps a layer's name in the network to the largest magnitude of each input channel (inputs); the first `fine`
    layers of the encoder get a second int8 number. Heads, of one row a text, stay float: the exporter makes them Gemm.
    """
    graph = model.graph
    rewriting = _Rewriting(graph, peaks, fine)
    nodes = [new for node in graph.node for new in rewriting.nodes(node)]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [entry for entry in graph.initializer if entry.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in rewriting.constants.items() if name in used
    )
    if not any(entry.domain == MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
