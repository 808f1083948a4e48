"""Products in int8 with a scale for each token, run by ONNX Runtime and compared with the product in float."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

MISSES = "misses the int8 form of the export: torch or onnx is not installed (extra gpu)"
pytest.importorskip("torch", reason=MISSES)
onnx = pytest.importorskip("onnx", reason=MISSES)
import onnxruntime  # noqa: E402 - only where the extra is
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - as above

from nlp.training.token_int8 import in_int8, rounded  # noqa: E402 - as above

pytestmark = pytest.mark.filterwarnings("default")
WIDTH, OUT = 48, 20
CHANCE = np.random.default_rng(5)
WEIGHT = CHANCE.normal(size=(WIDTH, OUT)).astype(np.float32)


def model(name: str, maker: str) -> Any:
    """Two products of one input, behind an Identity named `maker`."""
    nodes = [
        helper.make_node("Identity", ["x"], ["states"], name=maker),
        helper.make_node("MatMul", ["states", "w"], ["y"], name=name),
        helper.make_node("MatMul", ["states", "w2"], ["z"], name=f"{name}2"),
    ]
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*shape, WIDTH])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, [*shape, OUT]) for out in "yz"],
        [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(-WEIGHT, "w2")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    in_int8(made)
    return made


def run(made: Any, states: Any) -> Any:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    y, z = session.run(None, {"x": states.astype(np.float32)})
    assert np.array_equal(y, -z)
    return y


def test_a_token_gets_the_same_answer_beside_any_other() -> None:
    made = model("layer/dense/MatMul", "norm")
    states = CHANCE.normal(size=(3, 5, WIDTH))
    states[0, 0] *= 1000
    together = run(made, states)
    for at in range(3):
        assert np.array_equal(run(made, states[at : at + 1])[0], together[at])
    gaps = np.abs(together - states.astype(np.float32) @ WEIGHT).max(-1) / np.abs(states).max(-1)
    assert gaps.max() < 0.15  # half a step of 127 on each of 48 channels, and half a step of the weight
    assert gaps.max() > 1e-4


def test_values_above_zero_use_both_halves_of_the_steps() -> None:
    states = np.abs(CHANCE.normal(size=(2, 7, WIDTH)))
    exact = states.astype(np.float32) @ WEIGHT
    weights, scales = rounded(WEIGHT)
    of_weights = states.astype(np.float32) @ (weights * scales)
    signed, raised = (run(model("layer/dense/MatMul", maker), states) for maker in ("norm", "dense/raised/Add"))
    assert np.abs(raised - of_weights).mean() < 0.6 * np.abs(signed - of_weights).mean()
    assert np.abs(raised - exact).max() < 0.2


def test_a_token_of_zeros_is_zero_and_one_loud_value_is_kept() -> None:
    states = np.zeros((1, 2, WIDTH))
    states[0, 1, 3] = 1e6
    found = run(model("layer/dense/MatMul", "norm"), states)
    assert not found[0, 0].any()
    weights, scales = rounded(WEIGHT)
    assert found[0, 1] == pytest.approx(1e6 * weights[3] * scales, rel=1e-5)


def test_loud_channels_stay_in_float() -> None:
    states = CHANCE.normal(size=(2, 3, WIDTH))
    made = model("/network/output/dense/loud/MatMul", "norm")
    assert {node.op_type for node in made.graph.node} == {"Identity", "MatMul"}
    assert run(made, states) == pytest.approx(states.astype(np.float32) @ WEIGHT, abs=1e-4)


def test_a_weight_of_zeros_stays_zero() -> None:
    weights, scales = rounded(np.zeros((4, 2), np.float32))
    assert not weights.any()
    assert (scales == 1).all()
