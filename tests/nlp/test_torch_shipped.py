"""The shipped file read back by torch: every form of a linear layer, and the refusal of what is not understood."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlp.calibration import Correction, Threshold
from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS, URGENCY, ModelFilesDamaged
from tests.nlp.stated_orders import relabelled

MISSES = "misses how torch reads the shipped file: torch, transformers or onnx is not installed (extra gpu)"
torch = pytest.importorskip("torch", reason=MISSES)
transformers = pytest.importorskip("transformers", reason=MISSES)
onnx = pytest.importorskip("onnx", reason=MISSES)
pytest.importorskip("sentencepiece", reason=MISSES)
from tokenizers import Tokenizer  # noqa: E402 - beside torch

from nlp import manifest, torch_shipped  # noqa: E402 - only where the extra is
from nlp.network import PREFIX, Network  # noqa: E402 - as above
from nlp.onnx_graph import Graph, GraphRefused  # noqa: E402 - as above
from nlp.tokens import TextEncoder  # noqa: E402 - as above
from nlp.torch_gpu import TorchScorer  # noqa: E402 - as above
from nlp.training import export  # noqa: E402 - as above
from nlp.training.base_weights import Blocks  # noqa: E402 - as above
from nlp.training.corpora import Example  # noqa: E402 - as above
from nlp.training.loudness import loudest  # noqa: E402 - as above
from nlp.training.vocabulary import SPECIALS, tokenizer_content  # noqa: E402 - as above

pytestmark = pytest.mark.filterwarnings("default")

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXTS = ["a", "good day", "bad zoo so bad", "z" * 3000, "one two three four five six seven"]
EMBEDDING = "embedding"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer and 4-bit words of a tiny model."""
    folder = tmp_path_factory.mktemp("base")
    pieces = [*SPECIALS, *(f"\u2581{c}" for c in LETTERS), *LETTERS, "\u2581", ":"]
    content = tokenizer_content([(piece, -1.0 - at / 100) for at, piece in enumerate(pieces)])
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    chance = np.random.default_rng(7)
    nibbles = chance.integers(0, 16, (len(pieces), 2, 32), dtype=np.uint8)
    np.savez(folder / "words.npz", nibbles=nibbles, scales=chance.uniform(0.01, 0.05, (len(pieces), 2)).astype("f2"))
    return folder


@pytest.fixture(scope="module")
def network(base: Path) -> Network:
    """Three layers, four heads, and not one weight or bias that is zero or one."""
    with np.load(base / "words.npz") as stored:
        words = torch.from_numpy(Blocks(stored["nibbles"], stored["scales"]).dense())
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=160,
        layer_norm_eps=1e-7,
        attn_implementation="eager",
    )
    torch.manual_seed(11)
    made = Network(config, LABELS)
    made.eval()
    chance = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for value in made.parameters():
            value.add_(torch.randn(value.shape, generator=chance) * 0.1)
        made.encoder.embeddings.word_embeddings.weight.copy_(words)
        made.heads[URGENCY].bias[-1] += 5.0  # sure of its urgency, so that only a threshold can put it in doubt
    return made


def written(network: Network, base: Path, folder: Path, fine: int) -> None:
    encoder = TextEncoder(Tokenizer.from_file(str(base / "tokenizer.json")), PREFIX, 128)
    peaks = loudest(network, encoder, [Example(f"{text} {c}", {}, "en") for text in TEXTS for c in LETTERS[:4]])
    export.write_model(network, base, folder, peaks, fine)


@pytest.fixture(scope="module", params=[0, 2], ids=["whole", "fine"])
def shipped(request: pytest.FixtureRequest, network: Network, base: Path, tmp_path_factory: Any) -> Path:
    """The folder that the export writes: all layers with one int8 number, or two of three with a second."""
    folder: Path = tmp_path_factory.mktemp("written")
    written(network, base, folder, request.param)
    export.describe(folder, dict.fromkeys(LABELS, 1.0), {})
    return folder


def test_weights_come_back_as_they_were_before_quantisation(shipped: Path, network: Network) -> None:
    read = torch_shipped.load(shipped / "model.onnx", LABELS, EMBEDDING)
    config = read.encoder.config
    assert (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) == (3, 4, 96)
    assert config.layer_norm_eps == pytest.approx(1e-7)
    before, after = network.state_dict(), read.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        # Half a step of int8: two neighbours of an output are 127 steps together; the steps of the input stretch it.
        step = value.abs().amax() / 127 if value.ndim == 2 else torch.tensor(1e-6)
        assert (after[name] - value).abs().max() <= 4 * step, name
    words = "encoder.embeddings.word_embeddings.weight"
    assert after[words].dtype == torch.float16
    assert torch.equal(after[words], before[words].half())


def test_both_backends_answer_alike_through_calibration_and_doubt(shipped: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    plain = manifest.read(shipped)
    calibration = {"sentiment": {"all": Correction(temperature=0.2, bias=(0.5, -0.5, 1.0))}}
    thresholds = {"urgency": {"all": Threshold(least=0.9999, stated=0.9, precision=None, coverage=0.1, texts=9)}}
    changed = plain.model_copy(update={"calibration": calibration, "thresholds": thresholds})
    manifest.write(tmp_path, changed.model_copy(update={"revision": changed.true_revision}))
    ours, theirs = OnnxScorer(tmp_path, threads=1), TorchScorer(tmp_path, torch.device("cpu"))
    assert (ours.model_id, ours.model_revision) == (theirs.model_id, theirs.model_revision)
    untouched = TorchScorer(shipped, torch.device("cpu")).score(TEXTS)
    for mine, other, raw in zip(ours.score(TEXTS), theirs.score(TEXTS), untouched, strict=True):
        assert mine.uncertain == other.uncertain == ("urgency",)
        assert "urgency" not in raw.uncertain
        assert raw.sentiment.probabilities != other.sentiment.probabilities
        for task in LABELS:
            expected = getattr(other, task).probabilities
            assert getattr(mine, task).probabilities == pytest.approx(
                expected, abs=0.06 if task == "sentiment" else 0.03
            )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_answers_alike(shipped: Path, dtype: Any) -> None:
    whole, half = (TorchScorer(shipped, torch.device("cpu"), kind) for kind in (torch.float32, dtype))
    for mine, other in zip(whole.score(TEXTS), half.score(TEXTS), strict=True):
        for task in LABELS:
            expected = getattr(mine, task).probabilities
            assert getattr(other, task).probabilities == pytest.approx(expected, abs=0.02)


def test_a_wrong_order_of_labels_is_refused(shipped: Path, tmp_path: Path) -> None:
    wrong = {**LABELS, "urgency": LABELS["urgency"][::-1]}
    with pytest.raises(ModelFilesDamaged, match="the manifest names the labels of urgency critical, "):
        torch_shipped.load(shipped / "model.onnx", wrong, EMBEDDING)
    with pytest.raises(ModelFilesDamaged, match="urgency"):
        TorchScorer(relabelled(shipped, tmp_path / "model", wrong), torch.device("cpu"))


def test_the_written_graph_has_every_form_that_the_layers_need(network: Network, base: Path, tmp_path: Path) -> None:
    """Three layers of six products and four inputs; the first has all of it twice."""
    written(network, base, tmp_path, fine=1)
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    products = [node.name for node in nodes if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 3 * 6 + 6
    assert sum("layer.0" in name and name.endswith("/parts") for name in products) == 6
    zeros = Counter(node.input[2] for node in nodes if node.op_type == "QuantizeLinear")
    assert zeros == {"int8.zero.128": 3 * 3 + 4, "int8.zero.16": 3}
    assert sum(node.op_type == "MatMul" and node.name.endswith("/loud") for node in nodes) == 3
    assert sum(node.op_type == "Gemm" for node in nodes) == len(LABELS)


def named(model: Any, operator: str, part: str = "") -> Any:
    return next(node for node in model.graph.node if node.op_type == operator and part in node.name)


def other_activation(model: Any) -> str:
    node = named(model, "Erf", "layer.1")
    node.op_type = "Tanh"
    return str(node.name)


def other_heads(model: Any) -> str:
    node = named(model, "Transpose", "layer.2/attention")
    node.attribute[0].ints[:] = [0, 1, 2, 3]
    return str(node.name)


def other_scale(model: Any) -> str:
    node = named(model, "Mul", "layer.0/attention/self/Mul")
    value = next(made for made in model.graph.node if made.output[0] == node.input[1])
    value.attribute[0].t.raw_data = np.float32(0.3).tobytes()
    return "layer.0/attention/self"


def other_axis(model: Any) -> str:
    node = named(model, "LayerNormalization", "layer.1/output")
    next(entry for entry in node.attribute if entry.name == "axis").i = 1
    return str(node.name)


def no_mask(model: Any) -> str:
    node = named(model, "Add", "layer.1/attention/self/Add")
    node.input[1] = "network.heads.sentiment.bias"
    return "layer.1/attention/self"


def a_weight_from_elsewhere(model: Any) -> str:
    node = named(model, "MatMulIntegerToFloat", "layer.2/intermediate")
    node.input[1] = node.input[0]
    return "layer.2/intermediate"


def another_step(model: Any) -> str:
    node = named(model, "MatMulIntegerToFloat", "layer.1/intermediate")
    node.input[2] = "words.upper"
    return str(node.name)


def another_zero(model: Any) -> str:
    node = named(model, "MatMulIntegerToFloat", "layer.1/output/dense")
    node.input[4] = "int8.zero.128"
    return str(node.name)


def a_weight_off_its_zero(model: Any) -> str:
    node = named(model, "MatMulIntegerToFloat", "layer.2/output/dense")
    stored = next(entry for entry in model.graph.initializer if entry.name == node.input[5])
    stored.CopyFrom(onnx.numpy_helper.from_array(np.ones(64, np.int8), stored.name))
    return "layer.2/output/dense"


def swapped_halves(model: Any) -> str:
    node = next(made for made in model.graph.node if made.op_type == "Concat" and made.output[0] == "words.numbers")
    node.input[:] = list(reversed(node.input))
    return "words."


def other_residual(model: Any) -> str:
    node = named(model, "Add", "layer.2/output/Add")
    at = next(at for at, name in enumerate(node.input) if "LayerNorm" in name)
    node.input[at] = named(model, "LayerNormalization", "layer.0/output").output[0]
    return "layer.2"


@pytest.mark.parametrize(
    "change",
    [
        other_activation,
        other_heads,
        other_scale,
        other_axis,
        no_mask,
        a_weight_from_elsewhere,
        another_step,
        another_zero,
        a_weight_off_its_zero,
        swapped_halves,
        other_residual,
    ],
)
def test_another_graph_is_refused_by_the_name_of_its_node(
    shipped: Path, tmp_path: Path, change: Callable[[Any], str]
) -> None:
    model = onnx.load(shipped / "model.onnx")
    name = change(model)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(GraphRefused) as refusal:
        torch_shipped.load(tmp_path / "model.onnx", LABELS, EMBEDDING)
    assert name in str(refusal.value)
    assert "WARROOM_SCORER=onnx" in str(refusal.value)
    assert isinstance(refusal.value, ModelFilesDamaged)


def rest_of_another_input(model: Any) -> None:
    rests = [node for node in model.graph.node if node.op_type == "Sub" and node.output[0].endswith(".rest")]
    rests[1].input[0] = rests[0].input[0]


def rest_by_another_weight(model: Any) -> None:
    parts = [node for node in model.graph.node if node.name.endswith("/parts")]
    parts[0].input[1] = parts[1].input[1]


def rest_alone(model: Any) -> None:
    whole = next(node for node in model.graph.node if node.name.endswith("query/MatMul/int8"))
    parts = next(node for node in model.graph.node if node.name.endswith("query/MatMul/int8/parts"))
    whole.input[0], whole.input[2], whole.input[4] = parts.input[0], parts.input[2], parts.input[4]


def rest_twice(model: Any) -> None:
    loud = next(node for node in model.graph.node if node.name.endswith("/loud"))
    parts = next(node for node in model.graph.node if node.name == loud.name.replace("/loud", "/parts"))
    added = next(node for node in model.graph.node if node.op_type == "Add" and loud.output[0] in node.input)
    added.input[list(added.input).index(loud.output[0])] = parts.output[0]


@pytest.mark.parametrize("change", [rest_of_another_input, rest_by_another_weight, rest_alone, rest_twice])
def test_a_second_number_that_is_not_the_rest_of_the_first_is_refused(
    network: Network, base: Path, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    written(network, base, tmp_path, fine=1)
    model = onnx.load(tmp_path / "model.onnx")
    change(model)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(GraphRefused, match=r"layer\.0/"):
        torch_shipped.load(tmp_path / "model.onnx", LABELS, EMBEDDING)


def test_a_head_that_does_not_fit_the_manifest_is_refused(shipped: Path) -> None:
    with pytest.raises(ModelFilesDamaged, match="the manifest names the labels of urgency low, high, "):
        torch_shipped.load(shipped / "model.onnx", LABELS | {"urgency": ("low", "high")}, EMBEDDING)
    with pytest.raises(GraphRefused, match="head of 2 labels"):
        torch_shipped._head(Graph(shipped / "model.onnx"), "urgency", 2)
    with pytest.raises(GraphRefused, match="'irony'"):
        torch_shipped.load(shipped / "model.onnx", LABELS | {"irony": ("no", "yes")}, EMBEDDING)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 99)
    with pytest.raises(GraphRefused, match=r"model\.onnx is not an ONNX file"):
        Graph(tmp_path / "model.onnx")
