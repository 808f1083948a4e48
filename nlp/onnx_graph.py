"""Reads an exported ONNX graph back: its constants, its sums, and its linear layers in float, whatever they became.

Owns the forms that a linear layer takes on its way through export and quantisation. Does not own the architecture
(`torch_shipped`), nor running a graph (`onnx_cpu`). Imported only where torch loads a shipped model: it needs the
extra `gpu`.

A linear layer of the shipped file is a sum of products and a bias. A product is int8 with a step per input channel and
a scale per output channel, perhaps with a second one for what the steps leave over, or float (the loud channels, all
of `training.channel_int8`); its input may have been multiplied by a vector, have a vector added, or be a selection of
channels. All of it is folded into one float matrix and a bias, so that only the rounding of activations, which no file
holds, is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore] # no stubs
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from nlp.scorer import ModelFilesDamaged

Array = NDArray[np.floating[Any]]
_LAST: Final = {-1, 2}
"""How the axis of the channels is written in a tensor of (batch, tokens, channels)."""


class GraphRefused(ModelFilesDamaged):
    """A graph whose meaning is not known; the message names the node."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`weight` (outputs, inputs) and `bias` (outputs) in float32, and the name of the tensor it reads."""

    weight: Array
    bias: Array
    source: str


@dataclass(frozen=True, slots=True)
class Sum:
    """What a chain of additions adds: at most one linear layer, and the names of all other terms."""

    linear: Linear | None
    rest: tuple[str, ...]


@dataclass(slots=True)
class _Product:
    """One product: `weight` (inputs, outputs); with `channels` its inputs are those of `source` alone.

    In int8, `steps` is the name of the input in whole steps, and with `rest` the product is of what those leave over.
    """

    weight: Array
    source: str
    channels: NDArray[np.integer[Any]] | None = None
    steps: str | None = None
    rest: bool = False


class Graph:
    """An ONNX file, seen from its outputs backwards."""

    def __init__(self, path: Path) -> None:
        """Read `path`; raise GraphRefused if it is not an ONNX file."""
        self.path = path
        try:
            model = onnx.load(path)
        except DecodeError as error:
            raise GraphRefused(f"{path} is not an ONNX file: {error}") from error
        graph = model.graph
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self._stored = {entry.name: entry for entry in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self.inputs = {entry.name for entry in graph.input}
        self.outputs = tuple(entry.name for entry in graph.output)
        self.nodes = tuple(graph.node)

    def refused(self, name: str, wanted: str) -> GraphRefused:
        """Return the error that says what was `wanted` where the tensor `name` is made."""
        node = self._makers.get(name)
        found = f"node {node.name or node.op_type!r} ({node.op_type})" if node is not None else f"tensor {name!r}"
        return GraphRefused(f"{self.path}: {found} is not {wanted}; WARROOM_SCORER=onnx runs any graph, on the CPU")

    def maker(self, name: str) -> Any:
        """Return the node that makes the tensor, or None for inputs and constants."""
        node = self._makers.get(name)
        return self.maker(node.input[0]) if node is not None and node.op_type == "Identity" else node

    def expect(self, name: str, operator: str, wanted: str) -> Any:
        """Return the node that makes `name`; raise GraphRefused unless its operator is the named one."""
        node = self.maker(name)
        if node is None or node.op_type != operator:
            raise self.refused(name, wanted)
        return node

    def is_(self, name: str, operator: str) -> bool:
        """Return whether a node of that operator makes the tensor."""
        node = self.maker(name)
        return node is not None and node.op_type == operator

    def attribute(self, node: Any, name: str, default: Any = None) -> Any:
        """Return the value of a node's attribute."""
        return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the value of a tensor that is stored in the file, or None if it is computed."""
        if name in self._stored:
            return np.asarray(numpy_helper.to_array(self._stored[name]))
        node = self._makers.get(name)
        if node is None or node.op_type not in {"Constant", "Identity"}:
            return None
        if node.op_type == "Identity":
            return self.constant(node.input[0])
        value = self.attribute(node, "value")
        return None if value is None else np.asarray(numpy_helper.to_array(value))

    def stored(self, name: str, wanted: str) -> NDArray[Any]:
        """Return the constant `name`; raise GraphRefused if it is none."""
        value = self.constant(name)
        if value is None:
            raise self.refused(name, wanted)
        return value

    def split(self, node: Any, wanted: str) -> tuple[NDArray[Any], str]:
        """Return the constant and the name of the other operand of a node with two inputs; raise GraphRefused."""
        values = [self.constant(name) for name in node.input]
        if len(values) != 2 or (values[0] is None) == (values[1] is None):  # noqa: PLR2004 - operands
            raise self.refused(node.output[0], wanted)
        first, second = values
        return (first, node.input[1]) if first is not None else (np.asarray(second), node.input[0])

    def reaches(self, name: str, wanted: str) -> bool:
        """Return whether the tensor is computed from `wanted`."""
        seen, waiting = set(), [name]
        while waiting:
            here = waiting.pop()
            if here == wanted:
                return True
            if here not in seen and here in self._makers:
                waiting.extend(self._makers[here].input)
            seen.add(here)
        return False

    def sum(self, name: str) -> Sum:
        """Return what is added up to make the tensor; raise GraphRefused if the products do not share one input."""
        biases: list[Array] = []
        products: list[_Product] = []
        rest: list[str] = []
        waiting = [name]
        while waiting:
            here = waiting.pop(0)
            node = self.maker(here)
            if (value := self.constant(here)) is not None:
                biases.append(value.astype(np.float32))
            elif node is not None and node.op_type == "Add":
                waiting[:0] = node.input
            elif node is not None and (found := self._product(node)) is not None:
                products.append(found[0])
                biases += [*found[1], *self._read_through(found[0])]
            else:
                rest.append(here)
        return Sum(self._joined(name, products, biases) if products else None, tuple(rest))

    def linear(self, name: str) -> Linear:
        """Return the linear layer that makes the tensor; raise GraphRefused if it is none or more than one."""
        found = self.sum(name)
        if found.linear is None or found.rest:
            raise self.refused(found.rest[0] if found.rest else name, "a linear layer with stored weights")
        return found.linear

    def _product(self, node: Any) -> tuple[_Product, list[Array]] | None:
        """Return the product that `node` makes with its biases, or None if it is not a product by stored weights."""
        given = list(node.input)
        if node.op_type == "MatMul" and (weight := self.constant(given[1])) is not None:
            return _Product(weight.astype(np.float32), given[0]), []
        if node.op_type == "Gemm" and self.constant(given[1]) is not None:
            return self._gemm(node)
        if node.op_type == "MatMulIntegerToFloat":
            return self._in_steps(node)
        return None

    def _gemm(self, node: Any) -> tuple[_Product, list[Array]]:
        factors = self.attribute(node, "alpha", 1.0), self.attribute(node, "beta", 1.0)
        if factors != (1.0, 1.0) or self.attribute(node, "transA", 0):
            raise self.refused(node.output[0], "a Gemm without factors and with its input as it is")
        weight = self.stored(node.input[1], "a stored weight").astype(np.float32)
        turned = weight.T if self.attribute(node, "transB", 0) else weight
        return _Product(turned, node.input[0]), self._biases(node.input[2:3])

    def _in_steps(self, node: Any) -> tuple[_Product, list[Array]]:
        """MatMulIntegerToFloat(input in whole steps, or in parts of one, weight) + bias."""
        given, weight = list(node.input), self._dequantised(node)
        quantised = self.expect(given[0], "QuantizeLinear", "an input in steps")
        for mine, theirs in zip(quantised.input[1:3], (given[2], given[4]), strict=True):
            taken, stored = self.constant(theirs), self.constant(mine)
            if stored is None or taken is None or stored.size != 1 or not np.array_equal(stored, taken):
                raise self.refused(node.output[0], "a product with the one step and the zero of its input")
        product = _Product(weight, quantised.input[0], steps=given[0])
        if (rest := self.maker(quantised.input[0])) is not None and rest.op_type == "Sub":
            whole = self.expect(rest.input[1], "DequantizeLinear", "an input in whole steps")
            first = self.expect(whole.input[0], "QuantizeLinear", "an input in steps")
            if list(whole.input[1:]) != list(first.input[1:]) or first.input[0] != rest.input[0]:
                raise self.refused(node.output[0], "a product with what whole steps leave of the same input")
            product = _Product(weight, rest.input[0], steps=whole.input[0], rest=True)
        return product, self._biases(given[6:7])

    def _dequantised(self, node: Any) -> Array:
        """Return (inputs, outputs) in float32; scales are per output channel."""
        weight = self.stored(node.input[1], f"a stored int8 weight, as {node.name!r} needs").astype(np.float32)
        scales = self.stored(node.input[3], "the stored scales of a weight").astype(np.float32)
        if any(np.any(self.stored(name, "a stored zero point")) for name in node.input[5:6]):
            raise self.refused(node.output[0], "a product with a weight that is symmetric about zero")
        return np.asarray(weight * scales)

    def _biases(self, names: Iterable[str]) -> list[Array]:
        return [self.stored(name, "a stored bias").astype(np.float32) for name in names if name]

    def _read_through(self, product: _Product) -> list[Array]:
        """Fold what stands before a product into its weight, and return what that adds to the bias.

        That is a factor or a summand per channel, or a selection of channels.
        """
        biases: list[Array] = []
        while True:
            node = self.maker(product.source)
            if node is None:
                return biases
            if node.op_type in {"Mul", "Add"} and any(self._is_vector(name) for name in node.input):
                vector, product.source = self.split(node, "an input and a stored vector")
                chosen = vector.ravel() if product.channels is None else vector.ravel()[product.channels]
                if len(chosen) != len(product.weight):
                    raise self.refused(node.output[0], f"a number for each of {len(product.weight)} channels")
                if node.op_type == "Mul":
                    product.weight = product.weight * chosen.astype(np.float32)[:, None]
                else:
                    biases.append(np.asarray(chosen.astype(np.float32) @ product.weight))
            elif node.op_type == "Gather" and self.attribute(node, "axis", 0) in _LAST and product.channels is None:
                product.channels = self.stored(node.input[1], "a stored selection of channels").ravel()
                product.source = node.input[0]
            else:
                return biases

    def _without_rests(self, name: str, products: list[_Product]) -> list[_Product]:
        """Return the products but those of a rest, whose input and weight another one already stands for."""
        firsts = {product.steps: product for product in products if not product.rest}
        for product in products:
            if product.rest:
                first = firsts.pop(product.steps, None)
                if first is None or not np.array_equal(first.weight, product.weight):
                    raise self.refused(name, "the sum of a product and the same product with what its steps leave over")
        return [product for product in products if not product.rest]

    def _is_vector(self, name: str) -> bool:
        value = self.constant(name)
        return value is not None and value.size > 1

    def _joined(self, name: str, products: list[_Product], biases: list[Array]) -> Linear:
        """Add products of one input into one matrix."""
        products = self._without_rests(name, products)
        whole = [product.weight for product in products if product.channels is None]
        if not whole or len({product.source for product in products}) != 1:
            raise self.refused(name, "one linear layer: its products read different tensors")
        if any(value.size not in {1, whole[0].shape[1]} for value in biases):
            raise self.refused(name, f"a linear layer with one bias for each of {whole[0].shape[1]} outputs")
        weight = np.asarray(np.sum(whole, axis=0, dtype=np.float32))
        for product in products:
            if product.channels is not None:
                np.add.at(weight, product.channels, product.weight)
        bias = np.asarray(np.sum([np.zeros(weight.shape[1]), *biases], axis=0), dtype=np.float32)
        return Linear(np.ascontiguousarray(weight.T), bias, products[0].source)
