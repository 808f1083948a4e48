"""The export on a tiny network: the shipped format, its checks, and ONNX beside torch on the same texts."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS

MISSES = "misses the tests of training and export: torch, transformers or onnx is not installed (extra gpu)"
torch = pytest.importorskip("torch", reason=MISSES)
transformers = pytest.importorskip("transformers", reason=MISSES)
pytest.importorskip("onnx", reason=MISSES)
pytest.importorskip("sentencepiece", reason=MISSES)
from tokenizers import Tokenizer  # noqa: E402 - only where the extra is

from nlp.network import PREFIX, from_base, load_checkpoint, save_checkpoint  # noqa: E402 - as above
from nlp.tokens import TextEncoder  # noqa: E402 - as above
from nlp.torch_gpu import TorchScorer  # noqa: E402 - as above
from nlp.training import export  # noqa: E402 - as above
from nlp.training.base_weights import Blocks  # noqa: E402 - as above
from nlp.training.batches import Item, class_weights, event_rounds, mixed, tokenise  # noqa: E402 - as above
from nlp.training.calibrate import best_temperature, features  # noqa: E402 - as above
from nlp.training.corpora import EVENT, TASKS, Corpus, Example  # noqa: E402 - as above
from nlp.training.distil import soft_targets, student_of  # noqa: E402 - as above
from nlp.training.early_stop import EarlyStop, held_out_macro_f1  # noqa: E402 - as above
from nlp.training.loudness import loudest  # noqa: E402 - as above
from nlp.training.probe import fit_heads  # noqa: E402 - as above
from nlp.training.train import meaning_loss  # noqa: E402 - as above
from nlp.training.vocabulary import SPECIALS, readable, tokenizer_content  # noqa: E402 - as above

pytestmark = pytest.mark.filterwarnings("default")

LETTERS = "abcdefghijklmnopqrstuvwxyz"
GOOD, BAD = "good day", "bad zoo"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model with a 4-bit embedding, made into an untrained checkpoint."""
    base = tmp_path_factory.mktemp("base")
    pieces = [*SPECIALS, *(f"\u2581{c}" for c in LETTERS), *LETTERS, "\u2581", ":"]
    content = tokenizer_content([(piece, -1.0 - at / 100) for at, piece in enumerate(pieces)])
    (base / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    chance = np.random.default_rng(5)
    nibbles = chance.integers(0, 16, (len(pieces), 2, 32), dtype=np.uint8)
    blocks = Blocks(nibbles, chance.uniform(0.01, 0.05, (len(pieces), 2)).astype(np.float16))
    np.savez(base / "words.npz", nibbles=blocks.nibbles, scales=blocks.scales)
    config = transformers.BertConfig(
        vocab_size=len(pieces),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=160,
        pad_token_id=1,
    )
    config.save_pretrained(base)
    torch.manual_seed(5)
    encoder = transformers.BertModel(config, add_pooling_layer=False).state_dict()
    encoder["embeddings.word_embeddings.weight"] = torch.from_numpy(blocks.dense())
    export_file = {name: value.contiguous() for name, value in encoder.items() if "position_ids" not in name}
    from safetensors.torch import save_file  # noqa: PLC0415 - only where the extra is

    save_file(export_file, base / "model.safetensors")
    network = from_base(base, TASKS)
    for head in network.heads.values():
        torch.nn.init.normal_(head.weight, std=1.0)
    save_checkpoint(network, base, base / "checkpoint")
    return base / "checkpoint"


def corpora() -> list[Corpus]:
    found = []
    for task, labels in LABELS.items():
        examples = [Example(f"{GOOD} {c}", {task: 0}, "en") for c in LETTERS]
        examples += [Example(f"{BAD} {c}", {task: len(labels) - 1}, "en") for c in LETTERS]
        found.append(Corpus(task, 1.0, examples[::2], examples[1::2]))
    return found


def peaks_of(network: Any, checkpoint: Path) -> dict[str, Any]:
    encoder = TextEncoder(Tokenizer.from_file(str(checkpoint / "tokenizer.json")), PREFIX, 128)
    return loudest(network, encoder, [example for corpus in corpora() for example in corpus.train])


@pytest.fixture(scope="module")
def shipped_tiny(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped") / "tiny"
    network = load_checkpoint(checkpoint, attention="eager")
    export.write_model(network, checkpoint, folder, peaks_of(network, checkpoint), fine=1)
    export.describe(folder, dict.fromkeys(LABELS, 1.0), {})
    return folder


def test_onnx_and_torch_agree(checkpoint: Path, shipped_tiny: Path) -> None:
    texts = ["a", "good day", "bad zoo so bad", "z" * 3000, "one two three four five six seven"]
    ours, theirs = OnnxScorer(shipped_tiny, threads=1), TorchScorer(checkpoint, torch.device("cpu"))
    for mine, other in zip(ours.score(texts), theirs.score(texts), strict=True):
        for task in LABELS:
            for label, value in getattr(mine, task).probabilities.items():
                assert value == pytest.approx(getattr(other, task).probabilities[label], abs=0.03)
    assert ours.model_revision != theirs.model_revision


def test_the_written_file_tells_the_checkpoints_own_order_of_labels(checkpoint: Path, tmp_path: Path) -> None:
    network = load_checkpoint(checkpoint, attention="eager")
    network.labels = {**network.labels, "urgency": LABELS["urgency"][::-1]}
    export.write_model(network, checkpoint, tmp_path, peaks_of(network, checkpoint), fine=0)
    described = export.describe(tmp_path, dict.fromkeys(LABELS, 1.0), {})
    assert described.tasks == {**LABELS, "urgency": LABELS["urgency"][::-1]}
    (score,) = OnnxScorer(tmp_path, threads=1).score([GOOD])
    (other,) = TorchScorer(tmp_path, torch.device("cpu")).score([GOOD])
    assert score.urgency.label == other.urgency.label


def test_a_checkpoint_that_counts_its_labels_otherwise_is_not_exported(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    heads = json.loads((folder / "heads.json").read_text())
    heads["sentiment"].reverse()
    (folder / "heads.json").write_text(json.dumps(heads))
    with pytest.raises(SystemExit, match="the labels of sentiment are positive, neutral, negative"):
        export.export(folder, tmp_path / "out", tmp_path, refit=False, fine=0)
    assert not (tmp_path / "out").exists()


def test_loudness_is_the_largest_of_each_channel_of_each_layer(checkpoint: Path) -> None:
    network = load_checkpoint(checkpoint, attention="eager")
    found = peaks_of(network, checkpoint)
    dense = {name for name, part in network.named_modules() if isinstance(part, torch.nn.Linear)}
    assert found.keys() == {name for name in dense if not name.startswith("heads.")}
    seen: list[Any] = []
    layer = network.encoder.encoder.layer[1].output.dense
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].abs().amax((0, 1)).float()))
    encoder = TextEncoder(Tokenizer.from_file(str(checkpoint / "tokenizer.json")), PREFIX, 128)
    features(network, encoder, corpora()[0].train[:3])
    hook.remove()
    assert (found["encoder.encoder.layer.1.output.dense"] >= torch.stack(seen).amax(0).numpy()).all()
    assert found["encoder.encoder.layer.1.output.dense"].shape == (128,)


def test_parity_is_measured_on_the_written_file(checkpoint: Path, shipped_tiny: Path) -> None:
    network = load_checkpoint(checkpoint, attention="eager")
    encoder = TextEncoder(Tokenizer.from_file(str(checkpoint / "tokenizer.json")), PREFIX, 128)
    gaps = export.parity(network, shipped_tiny, encoder, ["good day", "bad zoo"])
    assert gaps.keys() == {*LABELS, "embedding"}
    assert all(mean <= worst < 0.1 for mean, worst in gaps.values())


def test_a_refitted_head_learns_and_is_calibrated(checkpoint: Path) -> None:
    network = load_checkpoint(checkpoint, attention="eager")
    encoder = TextEncoder(Tokenizer.from_file(str(checkpoint / "tokenizer.json")), PREFIX, 128)
    fit_heads(network, encoder, corpora(), tuple(LABELS))
    for corpus in corpora():
        pooled, known = features(network, encoder, corpus.dev)
        predicted = network.heads[corpus.name](pooled).argmax(1).tolist()
        assert predicted == [labels[corpus.name] for labels in known]
    temperatures = export.calibrate(network, encoder, corpora())
    assert temperatures.keys() == LABELS.keys()
    assert all(0.25 <= value <= 4 for value in temperatures.values())


def test_the_best_temperature_is_the_one_that_logits_were_multiplied_by() -> None:
    chance = np.random.default_rng(3)
    logits = chance.normal(size=(4000, 3)) * 2
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (honest.cumsum(axis=1) > chance.random((4000, 1))).argmax(axis=1)
    assert best_temperature(logits * 2, truth) == pytest.approx(2, rel=0.1)
    assert best_temperature(logits[:0], truth[:0]) == 1


def test_batches_carry_all_labels_of_one_corpus(checkpoint: Path) -> None:
    encoder = TextEncoder(Tokenizer.from_file(str(checkpoint / "tokenizer.json")), PREFIX, 16)
    both = Corpus("both", 1.0, [Example(f"a {c}", {"urgency": 1, "intent": 2}, "en") for c in LETTERS])
    stream = mixed([both, Corpus("empty", 1.0)], encoder, 8, seed=1)
    sizes = []
    for _ in range(4):
        batch = next(stream)
        sizes.append(len(batch.ids))
        assert batch.name == "both"
        assert batch.labels.keys() == {"urgency", "intent"}
        assert batch.ids.shape == batch.mask.shape
        assert (batch.ids[batch.mask == 0] == 1).all()
    assert sum(sizes) == len(LETTERS)


def test_rare_classes_weigh_more() -> None:
    examples = [Example("a", {"urgency": 0}, "en")] * 9 + [Example("b", {"urgency": 3}, "en")]
    weights = class_weights(Corpus("c", 1.0, examples), 0.5)["urgency"]
    assert weights[3] > weights[0]
    assert float((weights[0] * 9 + weights[3]) / 10) == pytest.approx(1)


@pytest.mark.parametrize("piece", ["\u2581hello", "שלום", "می\u200cخواهم", "پژو", "é", "ñ", "😀", "7", "٣", "…"])
def test_the_vocabulary_keeps_our_scripts(piece: str) -> None:
    assert readable(piece)


@pytest.mark.parametrize("piece", ["漢", "привет", "नमस्ते", "한", "aб"])
def test_the_vocabulary_drops_other_scripts(piece: str) -> None:
    assert not readable(piece)


def test_an_event_stays_together_in_a_batch() -> None:
    items = [Item([0, 2], {EVENT: event}) for event in range(9) for _ in range(4)]
    rounds = event_rounds(items, 12, random.Random(1))
    for group in (next(rounds) for _ in range(20)):
        assert set(Counter(item.labels[EVENT] for item in group).values()) == {4}
        assert len(group) == 12


def test_texts_of_one_event_are_drawn_together() -> None:
    events = torch.tensor([1, 1, 2, 2])
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]])
    together = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert meaning_loss(together, events) < 0.1
    assert meaning_loss(apart, events) > 1.0


def test_a_student_starts_near_its_teacher(checkpoint: Path) -> None:
    teacher = load_checkpoint(checkpoint)
    whole = student_of(teacher, layers=2, inner=128).eval()
    ids, mask = torch.tensor([[0, 4, 5, 6, 2]]), torch.ones(1, 5, dtype=torch.long)
    with torch.inference_mode():
        assert torch.allclose(whole.pooled(ids, mask), teacher.pooled(ids, mask), atol=1e-5)
    thin = student_of(teacher, layers=2, inner=64)
    assert sum(p.numel() for p in thin.parameters()) < sum(p.numel() for p in whole.parameters())


def test_soft_targets_are_the_exported_teachers_answers(checkpoint: Path, shipped_tiny: Path) -> None:
    encoder = TextEncoder(Tokenizer.from_file(str(checkpoint / "tokenizer.json")), PREFIX, 128)
    texts = ["good day", "bad zoo so bad", "a"]
    items = tokenise(encoder, [Example(text, {}, "en") for text in texts])
    found = soft_targets(shipped_tiny, items)
    scores = OnnxScorer(shipped_tiny, threads=1).score(texts)
    for row, score in enumerate(scores):
        for task, labels in LABELS.items():
            wanted = [getattr(score, task).probabilities[label] for label in labels]
            assert found[task][row].tolist() == pytest.approx(wanted, abs=0.05)


def test_the_best_state_is_kept_and_patience_ends(checkpoint: Path) -> None:
    encoder = TextEncoder(Tokenizer.from_file(str(checkpoint / "tokenizer.json")), PREFIX, 128)
    network = load_checkpoint(checkpoint)
    fit_heads(network, encoder, corpora(), tuple(LABELS))
    watch = EarlyStop(corpora(), encoder, every=60.0, patience=2)
    assert watch.due(0.0)
    assert not watch.look(network, 0.0)
    assert watch.best > 0.9
    assert not watch.due(59.0)
    good = network.heads["urgency"].weight.detach().clone()
    with torch.no_grad():
        for head in network.heads.values():
            head.weight.neg_()
            head.bias.neg_()
    assert not watch.look(network, 60.0)
    assert watch.look(network, 120.0)
    watch.restore(network)
    assert torch.equal(network.heads["urgency"].weight, good)
    assert held_out_macro_f1(network, encoder, corpora()) == watch.best
