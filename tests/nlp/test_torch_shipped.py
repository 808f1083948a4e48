"""The shipped file read back by torch: every form of a linear layer, and the refusal of what is not understood."""

from __future__ import annotations

import copy
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
from nlp.training.smooth import smooth  # noqa: E402 - as above
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


def evened(network: Network, base: Path) -> Network:
    """The same function with factors in front of its layers and loud channels in float."""
    encoder = TextEncoder(Tokenizer.from_file(str(base / "tokenizer.json")), PREFIX, 128)
    made = copy.deepcopy(network)
    smooth(made, encoder, [Example(f"{text} {c}", {}, "en") for text in TEXTS for c in LETTERS[:4]])
    return made


@pytest.fixture(scope="module", params=["plain", "evened"])
def shipped(request: pytest.FixtureRequest, network: Network, base: Path, tmp_path_factory: Any) -> Path:
    """The folder that the export writes, in both forms of its graph."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    export.write_model(network if request.param == "plain" else evened(network, base), base, folder)
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
        # Half a step of int8: the largest of an output channel is 127 steps; a factor of the input stretches it.
        step = value.abs().amax() / 127 if value.ndim == 2 else torch.tensor(1e-6)
        assert (after[name] - value).abs().max() <= 3 * step, name
    words = "encoder.embeddings.word_embeddings.weight"
    assert after[words].dtype == torch.float16
    assert torch.equal(after[words], before[words].half())


def test_both_backends_answer_alike_through_calibration_and_doubt(shipped: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    plain = manifest.read(shipped)
    calibration = {"sentiment": {"all": Correction(temperature=0.2, bias=(0.5, -0.5, 1.0))}}
    thresholds = {"urgency": {"all": Threshold(least=0.9999, stated=0.9, precision=None, coverage=0.1, texts=9)}}
    manifest.write(tmp_path, plain.model_copy(update={"calibration": calibration, "thresholds": thresholds}))
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
    """Three layers: four products of them read signed states and two, behind the GELU, raised or loud ones."""
    export.write_model(evened(network, base), base, tmp_path)
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    products = [node.name for node in nodes if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 3 * 6
    zeros = [node.input[0] for node in nodes if node.op_type == "Expand" and node.input[0].startswith("int8.")]
    assert Counter(zeros) == {"int8.signed.zero": 3 * 3, "int8.raised.zero": 3}
    assert sum(node.op_type == "MatMul" and "/loud/" in node.name for node in nodes) == 3
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


def scales_from_elsewhere(model: Any) -> str:
    node = next(made for made in model.graph.node if "layer.1/intermediate" in made.name and "scaled" in made.name)
    node.input[1] = named(model, "Unsqueeze").output[0]
    return str(node.name)


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
        scales_from_elsewhere,
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
