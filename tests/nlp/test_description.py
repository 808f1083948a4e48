from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlp import manifest
from nlp.description import describe, lines
from nlp.labels import LabelsRefused
from nlp.manifest import Manifest, checksum
from nlp.scorer import LABELS, ModelFilesDamaged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a true manifest over two files whose content is not a model: nothing here loads it."""
    (tmp_path / "model.onnx").write_bytes(b"m" * 2_000_000)
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    files = {name: checksum(tmp_path / name).model_dump() for name in ("model.onnx", "tokenizer.json")}
    described = {
        "format": 1,
        "model_id": "tiny",
        "revision": files["model.onnx"]["sha256"][:12],
        "prefix": "query: ",
        "max_tokens": 16,
        "tasks": LABELS,
        "temperatures": {"sentiment": 1.5},
        "embedding": None,
        "files": files,
    }
    manifest.write(tmp_path, Manifest.model_validate(described))
    return tmp_path


def test_a_sound_folder_is_told(folder: Path) -> None:
    found = describe(folder)
    assert (found.model_id, found.bytes, found.sound) == ("tiny", 2_000_002, True)
    assert found.revision == checksum(folder / "model.onnx").sha256[:12]
    said = "\n".join(lines(found))
    for part in ("checksums  sound", "2.0 MB in 2 files", "  urgency: low, normal, high, critical", "sentiment 1.5"):
        assert part in said


def test_damage_is_told_by_file_and_the_others_stay_sound(folder: Path) -> None:
    expected = describe(folder).files["model.onnx"].sha256
    (folder / "model.onnx").write_bytes(b"n" * 2_000_000)
    found = describe(folder)
    assert not found.sound
    assert f"expected sha256 {expected}" in found.files["model.onnx"].fault
    assert found.files["tokenizer.json"].fault == ""
    assert "checksums  DAMAGED" in lines(found)
    (folder / "tokenizer.json").unlink()
    missing = describe(folder).files["tokenizer.json"]
    assert missing.bytes is None
    assert "cannot be read" in missing.fault


def test_a_manifest_that_was_changed_by_hand_is_told(folder: Path) -> None:
    path = folder / manifest.NAME
    described = Manifest.model_validate_json(path.read_bytes())
    manifest.write(folder, described.model_copy(update={"curves": {"intent": 1.5}}))
    found = describe(folder)
    assert not found.sound
    assert f"manifest.json: damaged: it says revision {described.revision}" in "\n".join(lines(found))


def test_a_strange_manifest_and_no_model_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither manifest\.json nor config\.json"):
        describe(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 9}')
    with pytest.raises(ModelFilesDamaged, match="not a manifest of format 1"):
        describe(tmp_path)


def test_a_foreign_classifier_is_told_with_what_its_labels_mean(tmp_path: Path) -> None:
    config = {"id2label": {"0": "POS", "1": "NEU", "2": "NEG"}, "architectures": ["SomeClassifier"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = describe(tmp_path)
    assert found.tasks == {"sentiment": ("positive", "neutral", "negative")}
    assert "labels: POS positive, NEU neutral, NEG negative" in lines(found)
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}))
    with pytest.raises(LabelsRefused, match="LABEL_0"):
        describe(tmp_path)
    stated = {"LABEL_0": "negative", "LABEL_1": "positive"}
    assert "labels: LABEL_0 negative, LABEL_1 positive" in lines(describe(tmp_path, stated))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelFilesDamaged, match="names no labels"):
        describe(tmp_path)
