"""Linear layers in int8 with a step for each channel, run by ONNX Runtime and compared with the layers in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nlp.shipped import SIZES, folder_of
from nlp.training.channel_int8 import PAIR, in_int8, rounded, steps_of
from nlp.training.word_table import packed, prepend

pytestmark = pytest.mark.filterwarnings("default")
WIDTH, OUT = 48, 20
CHANCE = np.random.default_rng(5)
WEIGHT = CHANCE.normal(size=(WIDTH, OUT)).astype(np.float32)
BIAS = CHANCE.normal(size=OUT).astype(np.float32)
SIGNED, BEHIND_GELU = "encoder.layer.0.intermediate.dense", "encoder.layer.0.output.dense"


def model(layer: str, peaks: Any, fine: int = 0) -> Any:
    """Two layers of one input, the second with the weights of the first turned round."""
    shape, path = ["batch", "tokens"], "/" + layer.replace(".", "/").replace("layer/", "layer.")
    nodes = [helper.make_node("Identity", ["x"], ["states"], name="states")]
    for out, weight in (("y", "w"), ("z", "w2")):
        name = path if out == "y" else path.replace("/dense", "/second/output/dense")
        nodes.append(helper.make_node("MatMul", ["states", weight], [f"{out}.product"], name=f"{name}/MatMul"))
        nodes.append(helper.make_node("Add", ["b" + weight, f"{out}.product"], [out], name=f"{name}/Add"))
    stored = {"w": WEIGHT, "w2": -WEIGHT, "bw": BIAS, "bw2": -BIAS}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*shape, WIDTH])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, [*shape, OUT]) for out in "yz"],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    in_int8(made, {layer: peaks, layer.replace(".dense", ".second.output.dense"): peaks}, fine)
    return made


def run(made: Any, states: Any) -> Any:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    y, z = session.run(None, {"x": states.astype(np.float32)})
    assert y == pytest.approx(-z, abs=1e-4)
    return y


def exact(states: Any) -> Any:
    return states.astype(np.float32) @ WEIGHT + BIAS


def peaks_of(states: Any) -> Any:
    return np.abs(states).reshape(-1, WIDTH).max(0).astype(np.float32)


def test_a_token_gets_the_same_answer_beside_any_other() -> None:
    states = CHANCE.normal(size=(3, 5, WIDTH))
    made = model(SIGNED, peaks_of(states))
    louder = np.concatenate([states, states[:1] * 1000])
    together = run(made, louder)
    for at in range(3):
        assert np.array_equal(run(made, states[at : at + 1])[0], together[at])
    gaps = np.abs(together[:3] - exact(states))
    assert 1e-4 < gaps.max() < 0.5


def test_a_second_number_leaves_only_the_rounding_of_the_weights() -> None:
    states = CHANCE.normal(size=(2, 7, WIDTH)) * np.geomspace(0.01, 20, WIDTH)
    peaks = peaks_of(states)
    coarse, fine = (run(model(SIGNED, peaks, layers), states) for layers in (0, 1))
    weights = np.abs(WEIGHT).max(1)
    steps = steps_of(peaks, weights, 128, np.array([], np.int64), 0.75)
    stored, scales = rounded(WEIGHT * steps[:, None])
    of_weights = (states / steps).astype(np.float32) @ (stored * scales) + BIAS
    assert np.abs(fine - of_weights).max() < 0.02 * np.abs(coarse - exact(states)).max()
    assert np.abs(fine - exact(states)).mean() < np.abs(coarse - exact(states)).mean()


@pytest.mark.parametrize("fine", [0, 1])
def test_what_a_gelu_gives_keeps_its_small_negatives_and_its_loudest_channels(fine: int) -> None:
    states = np.maximum(CHANCE.normal(size=(2, 9, WIDTH)) * 2, -0.16)
    states[..., 11] *= 500
    made = model(BEHIND_GELU, peaks_of(states), fine)
    found = run(made, states)
    assert np.abs(found - exact(states)).max() < 0.4  # 500 steps of the loud channel would be far more
    gathers = [node for node in made.graph.node if node.op_type == "Gather"]
    stored = {entry.name: numpy_helper.to_array(entry) for entry in made.graph.initializer}
    assert all(11 in stored[node.input[1]] and len(stored[node.input[1]]) == 16 for node in gathers)
    assert len(gathers) == 2
    silent = np.full((1, 1, WIDTH), -0.16)
    assert run(made, silent) == pytest.approx(exact(silent), abs=0.15)


def test_a_value_louder_than_its_margin_is_cut_and_not_wrapped() -> None:
    states = CHANCE.normal(size=(1, 4, WIDTH))
    made = model(SIGNED, peaks_of(states))
    loud = np.zeros((1, 1, WIDTH))
    loud[0, 0, 3] = 1e6
    cut = loud.copy()
    cut[0, 0, 3] = peaks_of(states)[3] * 1.3
    assert run(made, loud) == pytest.approx(exact(cut), abs=0.1)


def test_no_channel_is_cut_at_what_was_seen_of_it() -> None:
    peaks = CHANCE.uniform(0.01, 50, WIDTH).astype(np.float32)
    weights = CHANCE.uniform(0.001, 3, WIDTH).astype(np.float32)
    for strength in (0.0, 0.5, 1.0):
        assert (steps_of(peaks, weights, 128, np.array([], np.int64), strength) * 127 >= peaks * 1.299).all()
        behind = steps_of(peaks, weights, 16, np.argsort(peaks)[-5:], strength)
        quiet = np.argsort(peaks)[:-5]
        assert (behind[quiet] * 239 >= peaks[quiet] * 1.299).all()
        assert (behind[quiet] * 16 >= 0.1699).all()


@pytest.mark.parametrize("count", [6, 7])
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])
def test_two_neighbours_of_a_column_stay_small_together(count: int, spread: float) -> None:
    """A processor without VNNI adds 255 times the one and 255 times the other in 16 bits."""
    chance = np.random.default_rng(9)
    weight = (np.exp(chance.normal(size=(count, 200)) * spread) * chance.choice([-1, 1], (count, 200))).astype("f4")
    stored, scales = rounded(weight)
    size = np.abs(np.pad(stored.astype(int), ((0, count % 2), (0, 0))))
    sums = size[::2] + size[1::2]
    assert 255 * sums.max() < 2**15
    assert (sums.max(0) > PAIR - 4).all()  # nothing of the range is given away
    assert np.abs(stored * scales - weight).max() <= scales.max() * 0.5001


def test_the_loudest_values_on_the_largest_weights_do_not_overflow() -> None:
    """Where a processor adds in 16 bits, nothing is cut with channels near their ends; elsewhere this can't fail."""
    peaks = np.full(WIDTH, 3, np.float32)
    ends = np.sign(WEIGHT.T) * peaks * 1.3
    for fine in (0, 1):
        made = run(model(SIGNED, peaks, fine), ends[None])
        assert made[0].diagonal() == pytest.approx(exact(ends).diagonal(), rel=0.01)


@pytest.mark.parametrize("size", SIZES)
def test_no_processor_overflows_in_a_product_of_the_shipped_file(size: str) -> None:
    """Without VNNI two neighbours' products are added in 16 bits: 255 times their weights must fit."""
    graph = onnx.load(folder_of(Path(size)) / "model.onnx").graph
    stored = {entry.name: entry for entry in graph.initializer}
    names = {node.input[1] for node in graph.node if node.op_type == "MatMulIntegerToFloat"}
    assert len(names) >= 6 * 7
    for name in names:
        weight = np.abs(numpy_helper.to_array(stored[name]).astype(int))
        assert 255 * (weight[::2] + weight[1::2]).max() < 2**15, name


def test_a_weight_of_zeros_stays_zero() -> None:
    weights, scales = rounded(np.zeros((4, 2), np.float32))
    assert not weights.any()
    assert (scales == 1).all()


def test_a_layer_that_the_graph_does_not_have_is_refused() -> None:
    peaks = np.ones(WIDTH, np.float32)
    with pytest.raises(ValueError, match=r"no product of the layer encoder\.layer\.0\.other\.dense"):
        in_int8(model(SIGNED, peaks), {"encoder.layer.0.other.dense": peaks}, 0)


def test_words_are_unpacked_as_they_were_packed(tmp_path: Any) -> None:
    nibbles = CHANCE.integers(0, 16, (50, 2, 32), dtype=np.uint8)
    scales = CHANCE.uniform(0.01, 0.5, (50, 2)).astype(np.float16)
    np.savez(tmp_path / "words.npz", nibbles=nibbles, scales=scales)
    assert packed(nibbles.reshape(50, 64)).shape == (50, 32)
    shape: list[str | int | None] = ["batch", "tokens", 64]
    node = helper.make_node("Identity", ["words"], ["y"])
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("words", "y"))
    graph = helper.make_model(
        helper.make_graph([node], "g", [given], [made]), opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    prepend(graph, tmp_path / "words.npz")
    ids = CHANCE.integers(0, 50, (3, 7))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input_ids": ids})
    expected = (nibbles.astype(np.float32) - 8) * scales.astype(np.float32)[..., None]
    assert np.array_equal(found, expected.reshape(50, 64)[ids])
