"""Calibration of the shipped model on a few texts: the graph's answers, the manifest and the table."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nlp import manifest
from nlp.families import EVERY
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import LABELS, Prepared
from nlp.training.corpora import Corpus, Example
from nlp.training.recalibrate import MOST, calibrated, held_out, report, written
from tests.nlp.stated_orders import relabelled

LABELLED = {"negative": ("horrible", "awful", "bad", "broken"), "positive": ("lovely", "great", "good", "perfect")}
THINGS = ("phone", "lamp", "chair", "clock", "shelf", "rug", "sofa", "mirror", "table", "bed", "stool", "frame", "vase")


def corpora() -> list[Corpus]:
    known = LABELS["sentiment"]
    dev = [
        Example(f"this {thing} is {word}", {"sentiment": known.index(label)}, "en")
        for label, words in LABELLED.items()
        for word in words
        for thing in THINGS
    ]
    urgent = [Example(f"{'SOS fire!' if at % 2 else 'nice'} {at}", {"urgency": 3 * (at % 2)}, "en") for at in range(40)]
    return [Corpus("tweets", 1.0, [], dev), Corpus("own", 1.0, [], [*urgent, Example("\u200b", {"urgency": 0}, "en")])]


def test_a_folder_gets_calibration_thresholds_and_a_new_revision(shipped: OnnxScorer, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "model"))
    made = calibrated(folder, corpora())
    assert made.calibration["sentiment"].keys() == {EVERY, "english"}
    assert made.calibration["sentiment"]["english"].texts == 104
    assert made.calibration["urgency"][EVERY].texts == 40  # the unreadable text is left out
    assert made.thresholds["sentiment"]["english"].stated == 0.8
    assert made.calibration.keys() == made.thresholds.keys() == {"sentiment", "urgency"}
    described = written(folder, made)
    assert manifest.read(folder) == described
    assert described.revision != manifest.revision(described.files, {}, {}, {})
    assert [(row.task, row.lang, row.texts) for row in made.table] == [("sentiment", "en", 104), ("urgency", "en", 40)]
    assert "| sentiment | en | 104 |" in report(made)
    assert OnnxScorer(folder, threads=1).model_revision == described.revision


def test_labels_are_told_by_the_model_s_own_order(shipped: OnnxScorer, tmp_path: Path) -> None:
    reverse = {**LABELS, "sentiment": LABELS["sentiment"][::-1]}
    folder = relabelled(SHIPPED, tmp_path / "model", reverse, reverse)
    before, turned = (calibrated(at, corpora()).table[0] for at in (SHIPPED, folder))
    assert turned.before > before.before + 0.3  # the reversed names make all sure answers wrong


def test_composed_verdicts_and_the_surplus_of_a_large_set_are_left_out() -> None:
    dev = [Example(str(at), {"sentiment": 0}, "en") for at in range(MOST * 3)]
    examples, sets = held_out([Corpus("plain-en", 1.0, [], dev[:10]), Corpus("big", 1.0, [], dev)])
    assert sets == ["big"] * MOST
    assert examples[1].text == "3"


def test_the_graph_s_answers_come_in_the_order_of_the_texts(shipped: OnnxScorer) -> None:
    texts = ["a long text that takes a few more tokens than its neighbours do", "", "good", "\u200b", "bad " * 30]
    found = shipped.graph_answers(texts)
    assert found.kept == [0, 2, 4]
    assert found.vectors is not None
    for at, text in enumerate(texts[index] for index in found.kept):
        entries = [entry for entry in shipped.prepare([text]) if isinstance(entry, Prepared)]
        outputs, vectors = shipped.outputs(entries)
        assert vectors is not None
        # Steps of int8 are fixed: only the last digits of floats hang on the batch.
        assert found.vectors[at] @ vectors[0] > 0.9999
        for task in LABELS:
            assert found.probabilities[task][at] == pytest.approx(outputs[task][0], abs=0.001)
    assert shipped.graph_answers([""]).kept == []
