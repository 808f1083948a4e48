"""An adaptation that cries wolf over harmless texts is not recommended, however good it looks on the labels."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nlp.adapt import adapt
from nlp.adapt_figures import CalmAnswers, Compared, compared_figures, label_changes, report
from nlp.calm_texts import CALM
from nlp.families import family
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import LABELS
from nlp.training.corpora import own_corpora, own_files
from nlp.verdicts import Agreed, Verdict

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LEVELS = LABELS["urgency"]
ANXIOUS = [("critical", "critical", 25), ("normal", "critical", 60)]
ANXIOUS += [("low", "low", 10), ("normal", "normal", 10), ("high", "high", 10)]
"""True label, label given, texts: whoever labelled found most complaints critical, and labelled little else."""


def anxious_labels() -> list[Verdict]:
    pool = [e for corpus in own_corpora(own_files()) for e in corpus.dev if corpus.name.startswith("own-")]
    random.Random(2).shuffle(pool)
    said = []
    for truth, given, count in ANXIOUS:
        taken = [example for example in pool if LEVELS[example.labels["urgency"]] == truth][:count]
        pool = [example for example in pool if example not in taken]
        said += [Verdict(example.text, {"urgency": given}) for example in taken]
    return said


def better(calm: CalmAnswers | None) -> Compared:
    truth = np.array([0, 1, 2, 3] * 30)
    right = np.full((120, 4), 0.05) + np.eye(4)[truth] * 0.8
    old = np.full((120, 4), 0.05) + np.eye(4)[truth // 2 * 2] * 0.8
    figures, changes = compared_figures(truth, old, right), label_changes(LEVELS, truth, old, right)
    return Compared("urgency", len(truth), Agreed((), (), 0, 0, 0), True, figures, changes, calm)


def test_more_alarms_over_harmless_texts_make_a_better_model_worse() -> None:
    assert better(None).outcome == "better"
    assert better(CalmAnswers(1, 3, 50)).outcome == "better"
    assert better(CalmAnswers(1, 4, 50)).outcome == "worse"
    assert better(CalmAnswers(9, 1, 50)).outcome == "better"


def test_skewed_labels_are_told_by_harmless_texts(shipped: OnnxScorer, tmp_path: Path) -> None:
    made = adapt(SHIPPED, anxious_labels(), tmp_path / "new", now=NOW)
    (urgency,) = made.compared
    assert urgency.calm is not None
    assert urgency.calm.new > urgency.calm.old + 5
    assert urgency.figures["macro_f1_gain"].value > 0, "on the labels themselves it looks better"
    assert not made.recommended
    line = f"  of 50 harmless texts high or critical: old model {urgency.calm.old}, new model {urgency.calm.new}"
    assert line in report(made).splitlines()


def test_the_shipped_model_hardly_raises_an_alarm_over_harmless_texts(shipped: OnnxScorer) -> None:
    found = [score.urgency.label for score in shipped.score(CALM)]
    assert sum(label in {"high", "critical"} for label in found) <= 2


def test_harmless_texts_are_of_all_families_and_no_part_of_the_training_data() -> None:
    assert len(set(CALM)) == len(CALM) == 50
    assert {family(text) for text in CALM} >= {"english", "hebrew", "persian", "arabic", "spanish"}
    known = {example.text for corpus in own_corpora(own_files()) for example in [*corpus.train, *corpus.dev]}
    assert not known & set(CALM)
