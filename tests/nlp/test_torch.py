from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from nlp.labels import LabelsRefused
from nlp.scorer import LABELS, Closed, ModelFilesDamaged, Prepared, Unscorable
from streams.records import Score
from tests.nlp.counting import LetterScorer

MISSES = "misses the tests of the torch backend: torch or transformers is not installed (extra gpu)"
torch = pytest.importorskip("torch", reason=MISSES)
safetensors = pytest.importorskip("safetensors.torch", reason=MISSES)
transformers = pytest.importorskip("transformers", reason=MISSES)
from nlp.network import Network, save_checkpoint  # noqa: E402 - only where torch is
from nlp.torch_classifier import ReplacedHead, TorchClassifier  # noqa: E402 - as above
from nlp.torch_gpu import TorchScorer  # noqa: E402 - as above

pytestmark = pytest.mark.filterwarnings("default")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "so", "fine"]
SHUFFLED = {0: "POSITIVE", 1: "NEGATIVE", 2: "NEUTRAL"}


def config(**more: object) -> object:
    return transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=160,
        **more,
    )


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A tiny classifier whose labels stand in another order than ours and whose bias prefers the first."""
    torch.manual_seed(1)
    folder = tmp_path / "tiny"
    label2id = {name: at for at, name in SHUFFLED.items()}
    model = transformers.BertForSequenceClassification(config(id2label=SHUFFLED, label2id=label2id))
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([4.0, 0.0, 2.0]))
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def relabel(folder: Path, labels: dict[int, str], **more: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"id2label": labels} | more))


def test_a_foreign_classifier_is_read_by_its_own_labels(foreign: Path) -> None:
    scorer = ReplacedHead(LetterScorer(), TorchClassifier(foreign))
    first, second = scorer.score(["good so fine", "bad " * 400])
    for score in (first, second):
        assert score.sentiment.label == "positive"
        values = score.sentiment.probabilities
        assert values["positive"] > values["neutral"] > values["negative"]
        assert math.isclose(sum(values.values()), 1, abs_tol=1e-9)
    assert scorer.model_id == "letters+sentiment:tiny" == first.model_id
    assert scorer.model_revision == first.model_revision != LetterScorer().model_revision
    assert first.urgency == LetterScorer().score(["good so fine"])[0].urgency
    with pytest.raises(Unscorable):
        scorer.score([""])


def test_unknown_labels_are_refused_until_they_are_stated(foreign: Path) -> None:
    relabel(foreign, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})
    with pytest.raises(LabelsRefused, match="LABEL_0"):
        TorchClassifier(foreign)
    stated = {"LABEL_0": "negative", "LABEL_1": "positive", "LABEL_2": "neutral"}
    (opinion,) = TorchClassifier(foreign, stated=stated).opinions(["good"])
    assert opinion.label == "negative"


def test_a_label_order_is_never_assumed(foreign: Path) -> None:
    (named,) = TorchClassifier(foreign).opinions(["good"])
    relabel(foreign, {0: "NEGATIVE", 1: "NEUTRAL", 2: "POSITIVE"})
    (renamed,) = TorchClassifier(foreign).opinions(["good"])
    assert (named.label, renamed.label) == ("positive", "negative")
    assert named.probabilities["positive"] == renamed.probabilities["negative"]


def test_a_doubt_about_our_head_is_not_one_about_the_foreign_one(foreign: Path) -> None:
    class Doubting(LetterScorer):
        def run(self, batch: Sequence[Prepared]) -> list[Score]:
            return [score.model_copy(update={"uncertain": ("sentiment", "urgency")}) for score in super().run(batch)]

    (score,) = ReplacedHead(Doubting(), TorchClassifier(foreign)).score(["good"])
    assert score.uncertain == ("urgency",)


def test_a_hub_id_is_opened_at_its_revision(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of huggingface_hub as a fetch leaves it, and no network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "hub" / "models--acme--tiny-mood"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "v1").write_text(commit)
    shutil.copytree(foreign, place / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    classifier = TorchClassifier("acme/tiny-mood@v1")
    assert (classifier.name, classifier.revision) == ("acme/tiny-mood", commit[:12])
    assert classifier.opinions(["good"])[0].label == "positive"
    assert TorchClassifier("acme/tiny-mood@v1", stated={"NEUTRAL": "positive"}).revision != classifier.revision
    with pytest.raises(OSError, match="acme/other"):
        TorchClassifier("acme/other@v1")


@pytest.mark.parametrize("source", ["nowhere", "/no/such/folder", "a/b/c", "owner/name@", "../owner/name"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(source: str) -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder nor a hub id"):
        TorchClassifier(source)


def test_classes_that_share_a_label_are_summed(foreign: Path) -> None:
    relabel(foreign, {0: "1 star", 1: "5 stars", 2: "2 stars"})
    (opinion,) = TorchClassifier(foreign).opinions(["good"])
    assert opinion.label == "negative"
    assert opinion.probabilities["neutral"] == 0
    assert opinion.probabilities["negative"] > 0.9


def test_a_model_without_a_distribution_is_refused(foreign: Path) -> None:
    relabel(foreign, SHUFFLED, problem_type="multi_label_classification")
    with pytest.raises(LabelsRefused, match="multi_label"):
        TorchClassifier(foreign)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no Hugging Face model"):
        TorchClassifier(tmp_path)


def test_an_encoder_without_a_trained_head_is_refused(foreign: Path) -> None:
    transformers.BertModel(config()).save_pretrained(foreign / "encoder")
    (foreign / "encoder" / "config.json").write_text((foreign / "config.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (foreign / "encoder" / name).write_bytes((foreign / name).read_bytes())
    with pytest.raises(ModelFilesDamaged, match=r"no weights for classifier\.bias, classifier\.weight"):
        TorchClassifier(foreign / "encoder")


def test_a_model_without_a_vocabulary_is_refused(foreign: Path) -> None:
    for path in (*foreign.glob("tokenizer*"), foreign / "vocab.txt"):
        path.unlink()
    with pytest.raises(ModelFilesDamaged, match="its tokenizer has no vocabulary"):
        TorchClassifier(foreign)


def test_what_cannot_be_loaded_is_refused_by_its_name(foreign: Path) -> None:
    relabel(foreign, {at: f"{at + 1} stars" for at in range(5)})
    with pytest.raises(OSError, match="tiny cannot be loaded"):
        TorchClassifier(foreign)
    relabel(foreign, SHUFFLED, model_type="nonesuch")
    with pytest.raises(OSError, match=r"tiny cannot be loaded.*nonesuch"):
        TorchClassifier(foreign)
    relabel(foreign, SHUFFLED, model_type="bert")
    (foreign / "model.safetensors").write_bytes(b"\xff" * 99)
    with pytest.raises(OSError, match="tiny cannot be loaded"):
        TorchClassifier(foreign)


def spoilt(folder: Path, change: Callable[[Any], Any], name: str = "model.safetensors") -> None:
    """Change one file of the folder in place: its JSON, or the tensors."""
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    else:
        tensors = safetensors.load(path.read_bytes())
        change(tensors)
        safetensors.save_file(tensors, path, {"format": "pt"})


def test_a_model_whose_answers_are_no_numbers_is_refused(foreign: Path) -> None:
    spoilt(foreign, lambda tensors: tensors["classifier.bias"].fill_(math.nan))
    with pytest.raises(ModelFilesDamaged, match=r"tiny: its answers are no numbers"):
        TorchClassifier(foreign)


def generative(folder: Path, *, eos: bool) -> Path:
    """A classifier of the GPT kind, whose tokenizer names no pad token."""
    labels = {"id2label": SHUFFLED, "label2id": {name: at for at, name in SHUFFLED.items()}}
    sizes = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 160}
    model = transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(**sizes, **labels, bos_token_id=2, eos_token_id=3)
    )
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    ends = {"eos_token": "[SEP]"} if eos else {}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", **ends).save_pretrained(folder)
    return folder


def test_a_model_that_names_no_pad_token_pads_with_its_end_or_is_refused(tmp_path: Path) -> None:
    classifier = TorchClassifier(generative(tmp_path / "ends", eos=True))
    texts = ["good", "so bad so bad so fine"]
    together, alone = classifier.opinions(texts), [classifier.opinions([text])[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    with pytest.raises(ModelFilesDamaged, match=r"endless: its tokenizer has no pad token"):
        TorchClassifier(generative(tmp_path / "endless", eos=False))


def test_a_model_without_positions_takes_as_many_tokens_as_any(foreign: Path) -> None:
    model = transformers.XLNetForSequenceClassification(
        transformers.XLNetConfig(vocab_size=len(WORDS), d_model=16, n_layer=1, n_head=2, d_inner=32, id2label=SHUFFLED)
    )
    model.save_pretrained(foreign)
    assert TorchClassifier(foreign)._max_tokens == 512
    TorchClassifier(foreign).opinions(["good " * 2000, "bad"])


def test_a_tokenizer_that_does_not_fit_its_model_is_refused(foreign: Path) -> None:
    model = transformers.BertForSequenceClassification(config(id2label=SHUFFLED))
    model.resize_token_embeddings(1)
    model.save_pretrained(foreign)
    with pytest.raises(ModelFilesDamaged, match=r"tiny: its model and its tokenizer do not work together"):
        TorchClassifier(foreign)


@pytest.mark.parametrize("labels", [["NEGATIVE", "POSITIVE", "NEUTRAL"], {"a": "NEGATIVE", "b": "POSITIVE"}])
def test_labels_in_no_order_are_refused(foreign: Path, labels: object) -> None:
    spoilt(foreign, lambda found: {**found, "id2label": labels}, "config.json")
    with pytest.raises((LabelsRefused, OSError), match="tiny"):
        TorchClassifier(foreign)


def test_the_tail_of_a_long_text_counts_and_what_lies_before_it_does_not(foreign: Path) -> None:
    def louder(tensors: dict[str, Any]) -> None:
        for tensor in tensors.values():
            if tensor.ndim > 1:  # so that one word of many moves the answer
                tensor.mul_(20)

    spoilt(foreign, louder)
    classifier = TorchClassifier(foreign)
    texts = ["good " * 400, "good " * 300 + "bad " + "good " * 99, "good " * 390 + "bad " * 10]
    plain, hidden, ended = (one.probabilities for one in classifier.opinions(texts))
    assert hidden == pytest.approx(plain, abs=1e-5)
    assert ended != pytest.approx(plain, abs=1e-3)


def test_whatever_changes_an_answer_changes_the_revision(foreign: Path) -> None:
    found = [TorchClassifier(foreign).revision, TorchClassifier(foreign, stated={"NEUTRAL": "positive"}).revision]
    relabel(foreign, {0: "NEGATIVE", 1: "POSITIVE", 2: "NEUTRAL"})
    found.append(TorchClassifier(foreign).revision)
    spoilt(foreign, lambda known: {**known, "model_max_length": 64}, "tokenizer_config.json")
    found.append(TorchClassifier(foreign).revision)
    assert len(set(found)) == 4


def test_our_own_checkpoint_scores_all_tasks(tmp_path: Path, foreign: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    config().save_pretrained(base)  # type: ignore[attr-defined]
    (base / "tokenizer.json").write_bytes((foreign / "tokenizer.json").read_bytes())
    np.savez(base / "words.npz", nibbles=np.zeros(1), scales=np.zeros(1))
    torch.manual_seed(2)
    heads = {task: tuple(reversed(labels)) for task, labels in LABELS.items()} | {"extra": ("no", "yes")}
    network = Network(config(), heads).eval()
    with torch.no_grad():
        network.heads["urgency"].bias.copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))
    save_checkpoint(network, base, tmp_path / "checkpoint")
    scorer = TorchScorer(tmp_path / "checkpoint", torch.device("cpu"))
    scores = scorer.score(["good", "bad " * 500, "so fine"])
    assert [score.urgency.label for score in scores] == ["critical"] * 3
    for task, labels in LABELS.items():
        assert set(getattr(scores[0], task).probabilities) == set(labels)
    scorer.close()
    with pytest.raises(Closed):
        scorer.score(["good"])
