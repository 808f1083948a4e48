from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from nlp import quality
from nlp.answers import scores
from nlp.evaluate import Judged, differences, group, judge, judge_each, selections
from nlp.evaluation_report import as_object, evaluations, markdown, mean_of_languages
from nlp.labelled import Labelled
from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS, Prepared
from streams.records import Score
from tests.nlp.counting import LetterScorer


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp.bootstrap.ROUNDS", 200)


class SecondScorer(LetterScorer):
    """Other fixed weights than its parent's; answers under a doubtful 0.3 are marked."""

    @property
    def model_revision(self) -> str:
        return "2"

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        first = super().run(batch)
        outputs = {
            task: np.array([[getattr(one, task).probabilities[label] for label in labels[::-1]] for one in first])
            for task, labels in LABELS.items()
        }
        found = scores(outputs, LABELS, None, (self.model_id, self.model_revision))
        return [
            one.model_copy(update={"uncertain": ("urgency",)}) if max(one.urgency.probabilities.values()) < 0.5 else one
            for one in found
        ]


def examples(count: int, task: str = "urgency") -> list[Labelled]:
    labels = LABELS[task]
    return [Labelled(f"text {n}", labels[n * 7 % len(labels)], ("he", "en", "fa")[n % 3]) for n in range(count)]


def test_the_report_has_a_row_for_each_figure_language_and_class() -> None:
    judged = judge(LetterScorer(), [*examples(60), Labelled("", "low", "he")], "urgency")
    text = markdown(evaluations(["letters@1"], [judged], "urgency", 0.9))
    for cell in ("| macro-F1 ", "| ECE ", "| kept at 0.9 precision ", "| marked uncertain ", "| en ", "| critical "):
        assert cell in text
    assert "recall of critical at 0.7 precision" in text
    assert "1 texts got no score and are not in these figures (1: empty)." in text
    assert "nan" not in text


def test_the_figures_are_those_of_the_answers() -> None:
    judged = judge(LetterScorer(), examples(90), "urgency")
    predicted = judged.probabilities.argmax(axis=1)
    (found,) = evaluations(["letters@1"], [judged], "urgency", 0.5)
    whole = found.groups[0]
    assert whole.figures["accuracy"].value == pytest.approx(float(np.mean(predicted == judged.truth)))
    assert whole.figures["coverage"].value == quality.coverage(judged.truth, judged.probabilities, 0.5)[0]
    assert judged.uncertain is not None
    assert whole.figures["uncertain"].value == pytest.approx(float(judged.uncertain.mean()))
    sure = ~judged.uncertain
    assert whole.figures["certain_precision"].value == pytest.approx(float((predicted == judged.truth)[sure].mean()))
    for one in whole.figures.values():
        assert one.low <= one.high
    parts = [entry.figures["accuracy"].value * entry.count for entry in found.groups[1:]]
    assert sum(parts) / 90 == pytest.approx(whole.figures["accuracy"].value)
    assert mean_of_languages(found.groups)["accuracy"] == pytest.approx(sum(parts) / 90)


def test_doubt_is_told_as_share_and_as_precision_of_the_rest() -> None:
    judged = judge(SecondScorer(), examples(200), "urgency")
    assert judged.uncertain is not None
    sure = judged.probabilities.max(axis=1) >= 0.5
    assert 0 < sure.sum() < 200
    figures = evaluations(["letters@2"], [judged], "urgency", 0.9)[0].groups[0].figures
    assert figures["uncertain"].value == pytest.approx(1 - sure.mean())
    right = (judged.probabilities.argmax(axis=1) == judged.truth)[sure].mean()
    assert figures["certain_precision"].value == pytest.approx(right)
    intent = judge(SecondScorer(), examples(50, "intent"), "intent")
    assert "uncertain" not in evaluations(["letters@2"], [intent], "intent", 0.9)[0].groups[0].figures


def test_two_models_are_compared_on_the_texts_that_both_scored() -> None:
    given = [*examples(120), Labelled("b☠d", "low", "he"), Labelled("c☢d", "low", "he")]
    first, second = LetterScorer(), SecondScorer(poison="☢")
    judged = judge_each([first, second], given, "urgency")
    assert [len(one.truth) for one in judged] == [120, 120]
    assert [(one.unscored, one.failed) for one in judged] == [(2, 2), (2, 2)]
    one, two = evaluations(["letters@1", "letters@2"], judged, "urgency", 0.9)
    change = two.against["all"]["macro_f1"]
    expected = two.groups[0].figures["macro_f1"].value - one.groups[0].figures["macro_f1"].value
    assert change.value == pytest.approx(expected)
    assert change.low <= change.value <= change.high
    text = markdown([one, two])
    assert "letters@2 less letters@1" in text
    assert json.loads(json.dumps(as_object([one, two])))["models"][1]["less_first"]["all"]["macro_f1"]["value"] == (
        pytest.approx(expected, abs=1e-6)
    )


def test_a_model_less_itself_is_nothing_with_no_width() -> None:
    judged = judge(LetterScorer(), examples(60, "intent"), "intent")
    for change in differences(judged, judged, selections(judged)["all"]).values():
        assert (change.value, change.low, change.high) == (0, 0, 0)


def test_pairing_makes_the_difference_surer_than_two_intervals() -> None:
    judged = judge_each([LetterScorer(), SecondScorer()], examples(300, "sentiment"), "sentiment")
    better = judged[0].probabilities.copy()
    better[:20] = np.eye(3)[judged[0].truth[:20]]
    alike = type(judged[0])(judged[0].labels, judged[0].truth, better, judged[0].langs, 0)
    change = differences(alike, judged[0], np.arange(300))["accuracy"]
    own = evaluations(["a"], [judged[0]], "sentiment", 0.9)[0].groups[0].figures["accuracy"]
    assert change.low > 0
    assert change.high - change.low < own.high - own.low


def test_one_class_only_and_small_groups_are_told() -> None:
    judged = judge(LetterScorer(), [Labelled(f"t{n}", "low", "he") for n in range(12)], "urgency")
    (found,) = evaluations(["letters@1"], [judged], "urgency", 0.9)
    text = markdown([found])
    assert "all: no text is truly normal, high, critical; the macro figures are over the other classes." in text
    assert "critical_recall" not in found.groups[0].figures
    few = evaluations(["letters@1"], [judge(LetterScorer(), examples(6), "urgency")], "urgency", 0.9)
    assert "all, en, fa, he: fewer than 10 texts, too few for an interval." in markdown(few)
    assert json.loads(json.dumps(as_object(few)))["models"][0]["all"]["macro_f1"]["low"] is None


def test_resamples_without_a_critical_text_tell_nothing_of_its_recall() -> None:
    truth = np.array([0] * 29 + [3])
    values = np.full((30, 4), 0.01)
    values[np.arange(30), truth] = 0.97
    found = group(Judged(LABELS["urgency"], truth, values, ("en",) * 30, 0), "all", np.arange(30))
    recall = found.figures["critical_recall"]
    assert (recall.value, recall.low, recall.high) == (1, 1, 1)


def test_memory_holds_one_chunk_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp.evaluate._CHUNK", 8)
    scorer = LetterScorer()
    drawn: list[int] = []

    def lazily() -> Iterator[Labelled]:
        for number, example in enumerate(examples(100)):
            drawn.append(number - sum(len(batch) for batch in scorer.batches))
            yield example

    assert len(judge(scorer, lazily(), "urgency").truth) == 100
    assert max(drawn) < 8


def test_the_shipped_model_is_better_than_chance_on_plain_texts(shipped: OnnxScorer) -> None:
    plain = {"negative": "worst service ever, I hate it", "positive": "I love this, thank you so much!"}
    judged = judge(shipped, [Labelled(text, label, "en") for label, text in plain.items()], "sentiment")
    assert (judged.probabilities.argmax(axis=1) == judged.truth).all()
    assert math.isclose(judged.probabilities[0].sum(), 1, abs_tol=1e-6)


def test_each_language_picks_its_own_texts_in_order() -> None:
    judged = Judged(("a", "b"), np.zeros(5, dtype=np.int64), np.full((5, 2), 0.5), ("he", "en", "he", "ar", "en"), 0)
    picks = {name: rows.tolist() for name, rows in selections(judged).items()}
    assert picks == {"all": [0, 1, 2, 3, 4], "ar": [3], "en": [1, 4], "he": [0, 2]}
    assert list(picks) == ["all", "ar", "en", "he"]
