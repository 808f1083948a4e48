"""A manifest is believed only where the graph, or the product's own order, says the same of the labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp.label_order import KEY, check, stated, told
from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS, ModelFilesDamaged
from nlp.shipped import FAST, SIZES, folder_of
from tests.nlp.stated_orders import relabelled

FOLDER = folder_of(Path(FAST))
TEXT = "I love this, thank you so much!"


def turned(task: str) -> dict[str, tuple[str, ...]]:
    return {**LABELS, task: LABELS[task][::-1]}


@pytest.mark.parametrize("task", LABELS)
def test_a_wrong_order_of_labels_is_refused_whatever_the_graph_says(tmp_path: Path, task: str) -> None:
    for name, graph in (("silent", None), ("telling", LABELS)):
        folder = relabelled(FOLDER, tmp_path / name, turned(task), graph)
        with pytest.raises(ModelFilesDamaged, match=f"the manifest names the labels of {task} {LABELS[task][-1]}, "):
            OnnxScorer(folder, threads=1)


def test_two_labels_that_changed_places_are_refused(tmp_path: Path) -> None:
    low, normal, high, critical = LABELS["urgency"]
    folder = relabelled(FOLDER, tmp_path / "model", {**LABELS, "urgency": (normal, low, high, critical)})
    with pytest.raises(ModelFilesDamaged, match="urgency"):
        OnnxScorer(folder, threads=1)


def test_an_order_of_its_own_is_read_where_the_graph_tells_it(tmp_path: Path) -> None:
    folder = relabelled(FOLDER, tmp_path / "model", turned("sentiment"), turned("sentiment"))
    (score,) = OnnxScorer(folder, threads=1).score([TEXT])
    assert score.sentiment.label == "negative", "the graph itself is the shipped one, so the names are all that turned"
    with pytest.raises(ModelFilesDamaged, match="sentiment"):
        OnnxScorer(relabelled(FOLDER, tmp_path / "other", LABELS, turned("sentiment")), threads=1)


@pytest.mark.parametrize("said", ["", "[]", "{", '{"sentiment": 3}', "{}"])
def test_what_the_graph_says_must_be_readable_and_whole(tmp_path: Path, said: str) -> None:
    with pytest.raises(ModelFilesDamaged, match=r"model\.onnx"):
        OnnxScorer(relabelled(FOLDER, tmp_path / "model", LABELS, said), threads=1)


@pytest.mark.parametrize(
    "tasks",
    [
        {task: LABELS[task] for task in ("sentiment", "urgency")},
        {**LABELS, "sentiment": ("bad", "neutral", "positive")},
        {**LABELS, "sentiment": ("negative", "negative", "positive")},
        {**LABELS, "urgency": LABELS["urgency"][:3]},
    ],
)
def test_labels_that_are_not_ours_are_refused(tasks: dict[str, tuple[str, ...]]) -> None:
    for metadata in ({}, {KEY: stated(tasks)}):
        with pytest.raises(ModelFilesDamaged):
            check(Path("model.onnx"), tasks, metadata)


def test_what_is_written_is_what_is_read() -> None:
    assert told({KEY: stated(LABELS)}) == LABELS
    assert told({"other": "x"}) is None


@pytest.mark.parametrize("size", SIZES)
def test_the_shipped_files_pass(size: str) -> None:
    OnnxScorer(folder_of(Path(size)), threads=1).close()
