"""The settings decide which model scores, with which backend and by whose labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app import scoring
from app.settings import load_settings
from nlp.onnx_cpu import SHIPPED
from nlp.scorer import ModelFilesDamaged


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, dict[str, Any]]]:
    calls: list[tuple[Path, dict[str, Any]]] = []
    monkeypatch.setattr(scoring, "open_scorer", lambda folder, **options: calls.append((folder, options)))
    return calls


def test_by_default_the_shipped_model_on_what_the_machine_has(opened: list[tuple[Path, dict[str, Any]]]) -> None:
    scoring.scorer_maker(load_settings({}))()
    ((folder, options),) = opened
    assert folder == SHIPPED
    assert (options["backend"], options["sentiment_model"], options["sentiment_labels"]) == ("auto", None, {})


def test_a_hub_id_and_the_meaning_of_its_labels_are_passed_on(opened: list[tuple[Path, dict[str, Any]]]) -> None:
    settings = load_settings(
        {
            "WARROOM_SCORER": "torch",
            "WARROOM_SENTIMENT_MODEL": "acme/mood@v1",
            "WARROOM_SENTIMENT_LABELS": "LABEL_0=negative, a=b=positive",
        }
    )
    scoring.scorer_maker(settings)()
    ((folder, options),) = opened
    assert folder == SHIPPED
    assert (options["backend"], options["sentiment_model"]) == ("torch", "acme/mood@v1")
    assert options["sentiment_labels"] == {"LABEL_0": "negative", "a=b": "positive"}


def test_a_strange_folder_replaces_the_sentiment_head_of_the_shipped_model(
    opened: list[tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    scoring.scorer_maker(load_settings({"WARROOM_MODEL": str(tmp_path)}))()
    (tmp_path / "heads.json").write_text("{}")
    scoring.scorer_maker(load_settings({"WARROOM_MODEL": str(tmp_path)}))()
    assert [(folder, options["sentiment_model"]) for folder, options in opened] == [
        (SHIPPED, tmp_path),
        (tmp_path, None),
    ]


def test_a_folder_that_lost_its_manifest_is_damaged_and_no_foreign_classifier(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    with pytest.raises(ModelFilesDamaged, match=r"there is no manifest\.json in it"):
        scoring.scorer_maker(load_settings({"WARROOM_MODEL": str(tmp_path)}))
