"""A model whose confidence is bent: what it answers, what people's labels make of it, and what recalibration keeps."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nlp import manifest
from nlp.adapt import adapt
from nlp.calibration import STRAIGHT, Bend, Calibrator, Correction, Threshold, adapted, corrected, family_indices
from nlp.families import EVERY, FAMILIES
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import LABELS
from nlp.training.corpora import Corpus, Example
from nlp.training.recalibrate import calibrated, written
from tests.nlp.test_adapt import HOUSE_RULE

BENDS = {
    "sentiment": Bend(1.6),
    "urgency": Bend(slopes=(1.4, 0.7, 0.6, 0.7)),
    "intent": Bend(1.4, (0.8, 0.7, 0.8, 0.8, 0.7, 0.9, 1.3)),
}
TEXTS = ["the lamp is lovely", "el servicio es muy malo", "der Service ist schlecht", "השירות גרוע"]


@pytest.fixture
def bowed(shipped: OnnxScorer, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "bowed"))
    described = manifest.read(folder)
    calibration = {"intent": {EVERY: Correction(temperature=1.2), "latin": Correction(temperature=2)}}
    revision = manifest.revision(described.files, calibration, {}, BENDS)
    update = {
        "curves": {task: bend.power for task, bend in BENDS.items()},
        "slopes": {task: bend.slopes for task, bend in BENDS.items()},
        "calibration": calibration,
        "thresholds": {},
        "revision": revision,
    }
    manifest.write(folder, described.model_copy(update=update))
    return folder


def expected(folder: Path, texts: Sequence[str], task: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """What the manifest and the adapter of a folder say that the model answers, by the formula of the docs."""
    described = manifest.read(folder)
    shift = manifest.read_adapter(folder, described).get(task)
    scorer = OnnxScorer(folder, threads=1)
    found = scorer.graph_answers(texts)
    scorer.close()
    logits = adapted(found.probabilities[task], found.vectors, shift, described.bends[task])
    return corrected(logits, family_indices(found.texts), described.calibration.get(task, {}))


def answers(folder: Path, texts: Sequence[str], task: str) -> list[list[float]]:
    scorer = OnnxScorer(folder, threads=1)
    found = [list(getattr(score, task).probabilities.values()) for score in scorer.score(texts)]
    scorer.close()
    return found


def test_a_bent_model_is_adapted_on_its_own_bend(bowed: Path, tmp_path: Path) -> None:
    made = adapt(bowed, HOUSE_RULE, tmp_path / "new", now=datetime(2026, 11, 28, tzinfo=UTC))
    described = manifest.read(tmp_path / "new")
    assert described.bends == BENDS
    assert described.revision == made.new_revision
    files = manifest.revision(described.files, described.calibration, described.thresholds, {})
    assert described.revision != files
    assert manifest.read_adapter(tmp_path / "new", described).keys() == {"intent"}
    for task in LABELS:
        found = answers(tmp_path / "new", TEXTS, task)
        assert np.abs(np.array(found) - expected(tmp_path / "new", TEXTS, task)).max() < 1e-3


def test_recalibration_keeps_the_bend_that_people_s_labels_were_learned_on(bowed: Path, tmp_path: Path) -> None:
    adapt(bowed, HOUSE_RULE, tmp_path / "new", now=datetime(2026, 11, 28, tzinfo=UTC))
    folder = tmp_path / "new"
    adapted_to = Path(shutil.copytree(folder, tmp_path / "before"))
    known = LABELS["sentiment"]
    dev = [Example(f"this {n} is {w}", {"sentiment": known.index(k)}, "en") for n in range(30) for w, k in GOOD_AND_BAD]
    described = written(folder, calibrated(folder, [Corpus("tweets", 1.0, [], dev)]))
    assert described.bends["intent"] == BENDS["intent"]
    assert described.calibration["intent"] == manifest.read(adapted_to).calibration["intent"]
    intents = [Example(v.text, {"intent": LABELS["intent"].index(v.labels["intent"])}, "en") for v in HOUSE_RULE]
    described = written(folder, calibrated(folder, [Corpus("own", 1.0, [], intents)]))
    assert described.bends["intent"] == BENDS["intent"]
    assert "sentiment" in described.calibration
    found = answers(folder, TEXTS, "intent")
    assert np.abs(np.array(found) - expected(folder, TEXTS, "intent")).max() < 1e-3


GOOD_AND_BAD = (("awful", "negative"), ("great", "positive"), ("made of wood", "neutral"))


def test_a_language_without_a_threshold_goes_by_that_of_its_family() -> None:
    def limit(least: float) -> Threshold:
        return Threshold(least=least, stated=0.8, precision=0.8, coverage=0.5, texts=500)

    limits = {EVERY: limit(0.5), "latin": limit(0.7), "french": limit(0.9)}
    calibrator = Calibrator(LABELS, {}, {"sentiment": limits})
    sure = np.array([[0.8, 0.1, 0.1]] * 3 + [[0.6, 0.2, 0.2]])
    families = np.array([FAMILIES.index(name) for name in ("french", "spanish", "hebrew", "spanish")])
    found = {"sentiment": sure, "urgency": np.array([[0.9, 0.1, 0, 0]] * 4)}
    assert calibrator.uncertain(found, families) == [("sentiment",), (), (), ("sentiment",)]


def test_what_bends_nothing_changes_no_revision() -> None:
    assert Calibrator(LABELS, {}, {}, None, {"sentiment": STRAIGHT}).idle
    files = manifest.read(SHIPPED).files
    bare = manifest.revision(files, {}, {}, {})
    assert manifest.revision(files, {}, {}, {"sentiment": STRAIGHT}) == bare
    bends = [Bend(1.2), Bend(slopes=(1.0, 1.0, 0.9)), Bend(1.2, (1.0, 1.0, 0.9))]
    assert len({bare, *(manifest.revision(files, {}, {}, {"sentiment": bend}) for bend in bends)}) == 4
