"""The word embedding in front of the graph: 4-bit numbers, looked up and unpacked for the tokens of a batch alone.

Owns the table's form in the file. Does not own where it comes from (`base_weights`, `vocabulary`) or reading it back
(`nlp.torch_shipped`).

A word's channels are numbers from 0 to 15, worth (number - 8) * the scale of their block of 32. The first half of them
lies in the low halves of the bytes and the second half in the high ones, so that two operators part them. ONNX
Runtime's own operator for such tables (GatherBlockQuantized) took nine microseconds of the 64 that `fast` needed for a
token; with these it needs 54.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nlp.training.base_weights import BLOCK

_IDS: Final = "input_ids"
_MIDDLE: Final = 8
_HALF: Final = 4
"""Bits of a number."""


def packed(nibbles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return numbers of 0 to 15 (words, channels) as bytes (words, channels / 2)."""
    half = nibbles.shape[1] // 2
    return np.asarray(nibbles[:, :half] | (nibbles[:, half:] << _HALF), np.uint8)


def prepend(model: Any, words_file: Path, states: str = "words") -> None:
    """Put the table of `words_file` in front of `model`, in place, so that it takes token ids instead of `states`."""
    stored = np.load(words_file)
    nibbles = stored["nibbles"].reshape(len(stored["nibbles"]), -1).astype(np.uint8)
    graph = model.graph
    constants: dict[str, NDArray[Any]] = {
        "words.packed": packed(nibbles),
        "words.scales": stored["scales"],
        "words.half": np.array(_HALF, np.uint8),
        "words.upper": np.array(1 << _HALF, np.float32),
        "words.middle": np.array(_MIDDLE, np.float32),
        "words.blocks": np.array([0, 0, -1, BLOCK], np.int64),
        "words.channels": np.array([0, 0, nibbles.shape[1]], np.int64),
        "words.last": np.array([-1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    for at, node in enumerate(_nodes(states)):
        graph.node.insert(at, node)
    kept = [value for value in graph.input if value.name != states]
    ids = helper.make_tensor_value_info(_IDS, TensorProto.INT64, ["batch", "tokens"])
    del graph.input[:]
    graph.input.extend([ids, *kept])


def _nodes(states: str) -> list[Any]:
    """Return the nodes that turn ids (batch, tokens) into `states` (batch, tokens, channels)."""

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(operator, inputs, [output], f"/{output}", **attributes)

    return [
        node("Gather", ["words.packed", _IDS], "words.bytes"),
        node("BitShift", ["words.bytes", "words.half"], "words.high", direction="RIGHT"),
        node("Cast", ["words.high"], "words.high.number", to=TensorProto.FLOAT),
        node("Cast", ["words.bytes"], "words.byte.number", to=TensorProto.FLOAT),
        node("Mul", ["words.high.number", "words.upper"], "words.high.part"),
        node("Sub", ["words.byte.number", "words.high.part"], "words.low.number"),
        node("Concat", ["words.low.number", "words.high.number"], "words.numbers", axis=-1),
        node("Sub", ["words.numbers", "words.middle"], "words.signed"),
        node("Reshape", ["words.signed", "words.blocks"], "words.in_blocks"),
        node("Gather", ["words.scales", _IDS], "words.scale.half"),
        node("Cast", ["words.scale.half"], "words.scale", to=TensorProto.FLOAT),
        node("Unsqueeze", ["words.scale", "words.last"], "words.scale.each"),
        node("Mul", ["words.in_blocks", "words.scale.each"], "words.scaled"),
        node("Reshape", ["words.scaled", "words.channels"], states),
    ]
