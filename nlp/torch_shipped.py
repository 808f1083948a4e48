"""The shipped model file as a torch network: an encoder of the BERT kind is read out of `model.onnx`, layer by layer.

Owns what the graph must look like, from its outputs back to the token ids, and the names that its weights get in
`nlp.network`. Does not own the forms of a linear layer (`onnx_graph`) or running the network (`torch_gpu`).

The number of layers, heads and labels, all widths and the vocabulary come from the graph. A node in a place where
another belongs is refused by its name: a graph that is read wrongly would answer, and its answers would be invented.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertConfig

from nlp import label_order
from nlp.network import Network
from nlp.onnx_graph import Array, Graph, Linear

_MASK: Final = "attention_mask"
_IDS: Final = "input_ids"
_WORDS: Final = "encoder.embeddings.word_embeddings.weight"
_APART: Final = [0, 2, 1, 3]
"""Tokens and heads change places."""
_TURNED: Final = [0, 2, 3, 1]
"""The same for keys, which are transposed as well."""
_ROUNDING: Final = 1e-3
_HALF: Final = 4
"""Bits of a number in a packed table."""


@dataclass(slots=True)
class Found:
    """The parts of a graph: tensors by their names in `Network`, except the word vectors (words, width)."""

    words: Tensor
    tensors: dict[str, Array] = field(default_factory=dict)
    layers: int = 0
    head_widths: set[int] = field(default_factory=set)
    epsilons: set[float] = field(default_factory=set)


def load(path: Path, tasks: Mapping[str, Sequence[str]], embedding: str | None) -> Network:
    """Return the network of a shipped graph in evaluation mode on the CPU, in float32; words as they are stored.

    `tasks` and `embedding` are the manifest's. Raise ModelFilesDamaged where the graph has its labels in another order,
    GraphRefused naming the node where it is not understood.
    """
    graph = Graph(path)
    label_order.check(path, tasks, graph.metadata)
    found = _read(graph, tasks, embedding)
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        network = Network(_config(graph, found), tasks)
    tensors = {name: torch.from_numpy(np.array(value, dtype=np.float32)) for name, value in found.tensors.items()}
    try:
        network.load_state_dict(tensors | {_WORDS: found.words}, assign=True)
    except RuntimeError as error:  # a missing tensor or one of another shape
        raise graph.refused(graph.outputs[0], f"the end of an encoder of the BERT kind: {error}") from error
    embeddings = network.encoder.embeddings
    embeddings.position_ids = torch.arange(network.encoder.config.max_position_embeddings)[None]
    embeddings.token_type_ids = torch.zeros_like(embeddings.position_ids)
    network.eval()
    return network


def _config(graph: Graph, found: Found) -> BertConfig:
    width = found.words.shape[1]
    if len(found.head_widths) != 1 or len(found.epsilons) != 1 or width % min(found.head_widths):
        said = f"head widths {sorted(found.head_widths)}, epsilons {sorted(found.epsilons)}, width {width}"
        raise graph.refused(graph.outputs[0], f"the end of layers of one kind ({said})")
    return BertConfig(
        vocab_size=len(found.words),
        pad_token_id=0,
        hidden_size=width,
        num_hidden_layers=found.layers,
        num_attention_heads=width // found.head_widths.pop(),
        intermediate_size=len(found.tensors["encoder.encoder.layer.0.intermediate.dense.weight"]),
        max_position_embeddings=len(found.tensors["encoder.embeddings.position_embeddings.weight"]),
        type_vocab_size=len(found.tensors["encoder.embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=found.epsilons.pop(),
        hidden_act="gelu",
    )


def _read(graph: Graph, tasks: Mapping[str, Sequence[str]], embedding: str | None) -> Found:
    """Walk back from the outputs to the token ids."""
    wanted = [*tasks, *([embedding] if embedding else [])]
    if missing := [name for name in wanted if name not in graph.outputs]:
        raise graph.refused(missing[0], f"an output of the graph, which has {', '.join(graph.outputs)}")
    heads = {task: _head(graph, task, len(labels)) for task, labels in tasks.items()}
    pooled = next(iter(heads.values())).source
    for task, head in heads.items():
        if head.source != pooled:
            raise graph.refused(head.source, f"what the other heads read, in front of {task}")
    if embedding:
        _check_unit(graph, embedding, pooled)
    layers, embedded = [], _states(graph, pooled)
    while graph.sum(_norm(graph, embedded).input[0]).linear is not None:
        tensors, embedded = _layer(graph, embedded)
        layers.append(tensors)
    found = _embeddings(graph, embedded)
    found.layers = len(layers)
    for at, layer in enumerate(reversed(layers)):
        found.head_widths.add(layer.head_width)
        found.epsilons |= layer.epsilons
        found.tensors |= {f"encoder.encoder.layer.{at}.{name}": value for name, value in layer.tensors.items()}
    for task, head in heads.items():
        found.tensors |= _named(f"heads.{task}", head)
    return found


def _named(name: str, linear: Linear) -> dict[str, Array]:
    return {f"{name}.weight": linear.weight, f"{name}.bias": linear.bias}


def _head(graph: Graph, task: str, labels: int) -> Linear:
    softmax = graph.expect(task, "Softmax", "the softmax of a head")
    head = graph.linear(softmax.input[0])
    if len(head.bias) != labels:
        raise graph.refused(task, f"a head of {labels} labels, as the manifest says: it has {len(head.bias)}")
    return head


def _check_unit(graph: Graph, embedding: str, pooled: str) -> None:
    wanted = "the pooled state divided by its length"
    division = graph.expect(embedding, "Div", wanted)
    length = graph.expect(division.input[1], "ReduceL2", wanted)
    if division.input[0] != pooled or length.input[0] != pooled:
        raise graph.refused(embedding, wanted)


def _states(graph: Graph, pooled: str) -> str:
    """Return the last states behind mean pooling by the mask."""
    wanted = "the mean of the states over the real tokens"
    division = graph.expect(pooled, "Div", wanted)
    total, count = (graph.expect(name, "ReduceSum", wanted) for name in division.input)
    masked = graph.expect(total.input[0], "Mul", wanted)
    if not graph.reaches(count.input[0], _MASK):
        raise graph.refused(count.output[0], wanted)
    states = [name for name in masked.input if graph.is_(name, "LayerNormalization")]
    if len(states) != 1:
        raise graph.refused(masked.output[0], wanted)
    return str(states[0])


def _norm(graph: Graph, name: str) -> Any:
    node = graph.expect(name, "LayerNormalization", "a normalisation at the end of half a layer")
    if graph.attribute(node, "axis", -1) not in {-1, 2}:
        raise graph.refused(name, "a normalisation over the channels")
    return node


def _norm_tensors(graph: Graph, node: Any) -> Iterator[tuple[str, Array]]:
    for part, name in zip(("weight", "bias"), node.input[1:], strict=True):
        yield part, graph.stored(name, "the stored weight of a normalisation")


@dataclass(slots=True)
class _Layer:
    """The tensors of one layer, by their names in it."""

    tensors: dict[str, Array] = field(default_factory=dict)
    head_width: int = 0
    epsilons: set[float] = field(default_factory=set)

    def norm(self, graph: Graph, name: str, node: Any) -> None:
        """Add a normalisation."""
        self.epsilons.add(_epsilon(graph, node))
        self.tensors |= {f"{name}.{part}": value for part, value in _norm_tensors(graph, node)}


def _epsilon(graph: Graph, node: Any) -> float:
    return float(f"{graph.attribute(node, 'epsilon', 1e-5):.6g}")  # stored as float32


def _half(graph: Graph, node: Any) -> tuple[Linear, str]:
    """Return the linear layer and the residual that a normalisation adds up."""
    found = graph.sum(node.input[0])
    if found.linear is None or len(found.rest) != 1:
        raise graph.refused(node.input[0], "the sum of one linear layer and what the half layer began with")
    _norm(graph, found.rest[0])
    return found.linear, found.rest[0]


def _layer(graph: Graph, name: str) -> tuple[_Layer, str]:
    """Return the layer that ends in the tensor `name`, and the tensor it begins with."""
    layer = _Layer()
    end = _norm(graph, name)
    output, middle = _half(graph, end)
    inner = graph.linear(_gelu_input(graph, output.source))
    node = _norm(graph, middle)
    attended, start = _half(graph, node)
    if inner.source != middle:
        raise graph.refused(inner.source, "what the attention of this layer ends in")
    layer.norm(graph, "output.LayerNorm", end)
    layer.norm(graph, "attention.output.LayerNorm", node)
    layer.tensors |= _named("output.dense", output) | _named("intermediate.dense", inner)
    layer.tensors |= _named("attention.output.dense", attended)
    for part, linear in _attention(graph, attended.source, layer).items():
        if linear.source != start:
            raise graph.refused(linear.source, f"what the layer begins with, in front of its {part}")
        layer.tensors |= _named(f"attention.self.{part}", linear)
    return layer, start


def _gelu_input(graph: Graph, name: str) -> str:
    """Return x of the exact GELU, x * (1 + erf(x / sqrt 2)) * 0.5, or of the operator of that name."""
    wanted = "the exact GELU"
    if graph.is_(name, "Gelu"):
        node = graph.maker(name)
        if graph.attribute(node, "approximate", b"none") != b"none":
            raise graph.refused(name, wanted)
        return str(node.input[0])
    half, product = graph.split(graph.expect(name, "Mul", wanted), wanted)
    factors = graph.expect(product, "Mul", wanted).input
    one, error = graph.split(graph.expect(factors[1], "Add", wanted), wanted)
    share = graph.expect(graph.expect(error, "Erf", wanted).input[0], "Div", wanted)
    root, inside = graph.split(share, wanted)
    if inside != factors[0] or not np.allclose([half, one, root], [0.5, 1, math.sqrt(2)], atol=_ROUNDING):
        raise graph.refused(name, wanted)
    return str(inside)


def _attention(graph: Graph, name: str, layer: _Layer) -> dict[str, Linear]:
    """Return query, key and value of scaled dot-product attention with the mask; note the width of a head."""
    wanted = "the heads of the attention, put together"
    turned = graph.expect(graph.expect(name, "Reshape", wanted).input[0], "Transpose", wanted)
    mixed = graph.expect(turned.input[0], "MatMul", "the attention's product with its values")
    if graph.attribute(turned, "perm") != _APART:
        raise graph.refused(name, wanted)
    softmax = graph.expect(mixed.input[0], "Softmax", "the softmax of the attention")
    scaled, mask = _masked(graph, softmax.input[0])
    scale, product = graph.split(scaled, "attention scores times a stored scale")
    factor = float(scale) if scaled.op_type == "Mul" else 1 / float(scale)
    layer.head_width = round(factor**-2)
    if not graph.reaches(mask, _MASK) or abs(factor * math.sqrt(layer.head_width) - 1) > _ROUNDING:
        raise graph.refused(softmax.input[0], "attention scores divided by the root of a head's width, and the mask")
    scores = graph.expect(product, "MatMul", "the product of queries and keys")
    return {
        "query": _apart(graph, scores.input[0], _APART),
        "key": _apart(graph, scores.input[1], _TURNED),
        "value": _apart(graph, mixed.input[1], _APART),
    }


def _masked(graph: Graph, name: str) -> tuple[Any, str]:
    """Return the node that scales the scores, and the name of the mask that is added."""
    terms = graph.expect(name, "Add", "attention scores and their mask").input
    for scores, mask in (terms, tuple(reversed(terms))):
        node = graph.maker(scores)
        if node is not None and node.op_type in {"Mul", "Div"} and graph.is_(node.input[0], "MatMul"):
            return node, str(mask)
    raise graph.refused(name, "scaled attention scores and their mask")


def _apart(graph: Graph, name: str, order: list[int]) -> Linear:
    wanted = "a linear layer cut into heads"
    turned = graph.expect(name, "Transpose", wanted)
    if graph.attribute(turned, "perm") != order:
        raise graph.refused(name, wanted)
    return graph.linear(graph.expect(turned.input[0], "Reshape", wanted).input[0])


def _embeddings(graph: Graph, name: str) -> Found:
    """Return the word vectors, and positions, kinds and normalisation as tensors."""
    node = _norm(graph, name)
    terms = graph.sum(node.input[0]).rest
    tables: dict[str, Array] = {}
    words = []
    for term in terms:
        maker = graph.maker(term)
        kind = next((kind for kind in ("position", "token_type") if maker is not None and kind in maker.name), None)
        if kind is None:
            words.append(term)
            continue
        gather = graph.expect(term, "Gather", "a look-up of positions or kinds")
        tables[f"encoder.embeddings.{kind}_embeddings.weight"] = graph.stored(gather.input[0], "a stored table")
    if len(words) != 1 or len(tables) != 2:  # noqa: PLR2004 - positions and kinds
        raise graph.refused(node.input[0], "the sum of words, positions and kinds")
    found = Found(_word_vectors(graph, words[0]), tables, epsilons={_epsilon(graph, node)})
    found.tensors |= {f"encoder.embeddings.LayerNorm.{part}": value for part, value in _norm_tensors(graph, node)}
    return found


def _word_vectors(graph: Graph, name: str) -> Tensor:
    """Return the table of words: in half precision from 4-bit numbers with their scales, or as it is stored."""
    wanted = "a look-up of words by the token ids"
    if graph.is_(name, "Gather"):
        return torch.from_numpy(np.array(graph.stored(_looked_up(graph, name, wanted), wanted)))
    blocks, scale = graph.expect(graph.expect(name, "Reshape", wanted).input[0], "Mul", wanted).input
    scale = graph.expect(graph.expect(scale, "Unsqueeze", wanted).input[0], "Cast", wanted).input[0]
    signed = graph.expect(graph.expect(blocks, "Reshape", wanted).input[0], "Sub", wanted)
    low, high = graph.expect(signed.input[0], "Concat", wanted).input
    middle, table = graph.constant(signed.input[1]), _halves(graph, low, high)
    scales = torch.from_numpy(np.array(graph.stored(_looked_up(graph, scale, wanted), "stored scales")))
    if middle is None or len(table) != len(scales) or table.shape[1] % scales.shape[1] or table.dtype != np.uint8:
        raise graph.refused(name, "4-bit numbers about a middle, with a scale for each block of them")
    return _unpacked(torch.from_numpy(table.copy()), scales, int(middle))


def _looked_up(graph: Graph, name: str, wanted: str) -> str:
    """Return the name of the table whose rows are taken by the token ids."""
    node = graph.expect(name, "Gather", wanted)
    if node.input[1] != _IDS or graph.attribute(node, "axis", 0) != 0:
        raise graph.refused(name, wanted)
    return str(node.input[0])


def _halves(graph: Graph, low: str, high: str) -> NDArray[np.uint8]:
    """Return the bytes (words, channels / 2) of which `low` and `high` are the halves of four bits, as numbers."""
    wanted = "the low and the high halves of the bytes of words"
    shift = graph.expect(graph.expect(high, "Cast", wanted).input[0], "BitShift", wanted)
    rest = graph.expect(low, "Sub", wanted)
    whole = graph.expect(rest.input[0], "Cast", wanted).input[0]
    part = graph.expect(rest.input[1], "Mul", wanted)
    by, upper = graph.constant(shift.input[1]), graph.constant(part.input[1])
    right = graph.attribute(shift, "direction", b"") == b"RIGHT" and by == _HALF and upper == 1 << _HALF
    if not right or part.input[0] != high or shift.input[0] != whole:
        raise graph.refused(low, wanted)
    return graph.stored(_looked_up(graph, whole, wanted), "the stored bytes of words")


def _unpacked(table: Tensor, scales: Tensor, middle: int) -> Tensor:
    """Return the word vectors (words, channels) in the precision of `scales` (words, blocks)."""
    numbers = torch.cat((table & ((1 << _HALF) - 1), table >> _HALF), dim=1).view(torch.int8) - middle
    blocks = numbers.view(*scales.shape, -1).to(scales.dtype)
    return (blocks * scales[..., None]).view(len(scales), -1)
