from __future__ import annotations

import base64
import math
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp import manifest
from nlp.calibration import Correction
from nlp.choice import open_scorer
from nlp.onnx_cpu import SHIPPED, OnnxScorer, session
from nlp.scorer import LABELS, Closed, ModelFilesDamaged, Prepared, Unscorable
from nlp.shipped import SIZES, folder_of
from streams.records import Score

SIXTY_MB = 60_000_000
HOSTILE = [
    "😀",
    "https://example.org/only-a-link",
    "@someone",
    "a" * 100_000,
    "שלום עולם " * 10_000,
    "مرحبا hello שלום سلام bonjour",
    "caf\u0065\u0301 \u202e\u2066bidi\u2069 zero\u200bwidth",
    "\ud83d\ude00 pair and lone \ud83d",
    "nul \x00 inside",
    "?",
    "7",
    "<b>html</b> &lt;script&gt;",
]


def distribution(score: Score) -> None:
    for task, labels in LABELS.items():
        opinion = getattr(score, task)
        assert set(opinion.probabilities) == set(labels)
        assert all(math.isfinite(p) and 0 <= p <= 1 for p in opinion.probabilities.values())
        assert math.isclose(sum(opinion.probabilities.values()), 1, abs_tol=1e-9)
        assert opinion.label == max(opinion.probabilities, key=opinion.probabilities.__getitem__)
    assert score.embedding is not None
    vector = np.frombuffer(base64.b64decode(score.embedding), "<f2").astype(float)
    assert math.isclose(np.linalg.norm(vector), 1, abs_tol=2e-3)


def test_the_shipped_folder_is_small_and_complete(shipped: OnnxScorer) -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= SIXTY_MB
    assert {path.name for path in SHIPPED.iterdir()} == {"manifest.json", "model.onnx", "tokenizer.json"}
    assert shipped.model_id
    assert len(shipped.model_revision) == 12


def test_plain_cases_of_each_language(shipped: OnnxScorer) -> None:
    praise = [
        "I love this, thank you so much!",
        "תודה רבה, שירות מעולה!",
        "عالی بود، خیلی ممنون!",
        "خدمة رائعة شكرا جزيلا!",
    ]
    anger = [
        "worst service ever, I hate it",
        "שירות גרוע, מאכזב ומעליב",
        "افتضاح بود، خیلی بد و بی‌کیفیت",
        "خدمة سيئة جدا ومخيبة للآمال",
    ]
    assert [score.sentiment.label for score in shipped.score(praise)] == ["positive"] * 4
    assert [score.sentiment.label for score in shipped.score(anger)] == ["negative"] * 4


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_gets_a_true_score(shipped: OnnxScorer, text: str) -> None:
    (score,) = shipped.score([text])
    distribution(score)


@pytest.mark.parametrize("text", ["", "   ", "\x00\x00", "\u200b\u202e", "\ud800"])
def test_nothing_to_read_is_refused(shipped: OnnxScorer, text: str) -> None:
    with pytest.raises(Unscorable):
        shipped.score(["fine", text])


def test_no_text_gives_no_score(shipped: OnnxScorer) -> None:
    assert shipped.score([]) == []
    assert shipped.run([]) == []


def test_long_text_is_cut_by_tokens_and_its_end_still_counts(shipped: OnnxScorer) -> None:
    body = "The parcel came on Tuesday and then I went to the office and wrote a report about it. " * 40
    happy, sad = (body + end for end in ("I love it, best purchase ever!!! 😍", "I hate it, total garbage!!! 😡"))
    for entry in shipped.prepare([happy, sad]):
        assert isinstance(entry, Prepared)
        assert len(entry.ids) == shipped.max_tokens
    first, second = shipped.score([happy, sad])
    assert first.sentiment.probabilities["positive"] > second.sentiment.probabilities["positive"]


def test_padding_hardly_moves_a_score(shipped: OnnxScorer) -> None:
    texts = ["good", "a much longer text that makes the short one next to it be padded to its own length, see"]
    together = shipped.run([entry for entry in shipped.prepare(texts) if isinstance(entry, Prepared)])
    (alone,) = shipped.score(texts[:1])
    for label, value in alone.sentiment.probabilities.items():
        assert math.isclose(value, together[0].sentiment.probabilities[label], abs_tol=0.1)


@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(), min_size=1, max_size=300))
def test_any_text_is_scored_or_refused(shipped: OnnxScorer, text: str) -> None:
    try:
        (score,) = shipped.score([text])
    except Unscorable:
        return
    distribution(score)


def test_a_closed_scorer_says_so(shipped: OnnxScorer) -> None:
    scorer = OnnxScorer(threads=1)
    scorer.close()
    with pytest.raises(Closed):
        scorer.score(["text"])


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_flipped_byte_is_refused_with_file_and_checksum(shipped: OnnxScorer, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    expected = manifest.read(SHIPPED).files[name].sha256
    with pytest.raises(ModelFilesDamaged, match=f"{name} is damaged.*{expected}"):
        open_scorer(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "manifest.json"])
def test_a_missing_file_is_refused_by_name(shipped: OnnxScorer, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED, folder)
    (folder / name).unlink()
    with pytest.raises(ModelFilesDamaged, match=f"{name} cannot be read"):
        open_scorer(folder)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 99}', "not json"])
def test_a_strange_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ModelFilesDamaged, match="not a manifest of format 1"):
        open_scorer(tmp_path)


def rewritten(folder: Path, files: dict[str, bytes] | None = None, **fields: object) -> Path:
    """The shipped model with other files, whose checksums are in the manifest, and other fields."""
    shutil.copytree(SHIPPED, folder)
    described = manifest.read(folder)
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    named = {name: manifest.checksum(folder / name) for name in described.files}
    described = described.model_copy(update={"files": named})
    manifest.write(folder, described.model_copy(update={"revision": described.true_revision} | fields))
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_the_shipped_revisions_are_those_of_their_files(size: str) -> None:
    described = manifest.read(folder_of(Path(size)))
    assert described.revision == described.true_revision


def test_a_manifest_of_another_revision_than_its_content_is_refused(shipped: OnnxScorer, tmp_path: Path) -> None:
    true, hot = shipped.model_revision, {"sentiment": {"all": Correction(temperature=50)}}
    folder = rewritten(tmp_path / "hot", calibration=hot)
    with pytest.raises(
        ModelFilesDamaged, match=rf"manifest\.json is damaged: it says revision {true}, but .* those of"
    ):
        open_scorer(folder)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"embedding": "nope"}, "the graph has no output 'nope', only sentiment, "),
        ({"max_tokens": 5000}, "the graph cannot take max_tokens 5000"),
    ],
)
def test_what_the_graph_cannot_do_stops_the_start(
    shipped: OnnxScorer, tmp_path: Path, fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(ModelFilesDamaged, match=rf"manifest\.json: {reason}"):
        open_scorer(rewritten(tmp_path / "model", None, **fields))


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.onnx", b"garbage"), ("model.onnx", b""), ("tokenizer.json", b"{}"), ("tokenizer.json", b"\xff")],
)
def test_a_file_that_is_what_its_checksum_says_and_no_model_is_refused(
    shipped: OnnxScorer, tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(ModelFilesDamaged, match=f"{name} is not a "):
        open_scorer(rewritten(tmp_path / "model", {name: content}))


def test_the_fusion_that_is_slower_on_a_cpu_is_off(
    shipped: OnnxScorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = onnxruntime.InferenceSession

    def kept(path: str, options: onnxruntime.SessionOptions, **more: object) -> object:
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        return opened(path, options, **more)

    monkeypatch.setattr("onnxruntime.InferenceSession", kept)
    session(SHIPPED / "model.onnx")
    graph = (tmp_path / "optimised.onnx").read_bytes()
    assert b"SkipLayerNormalization" not in graph
    assert b"FusedMatMul" in graph, "the other fusions are worth having"
