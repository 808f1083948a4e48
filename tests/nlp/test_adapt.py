"""Adapting the shipped model to labels, and the folder that comes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nlp import manifest
from nlp.adapt import FEWEST_TEXTS, FolderTaken, TooFewLabels, _place, adapt
from nlp.adapt_figures import Adaptation, compared_figures, report
from nlp.adapter_fit import STRENGTHS, Lesson, choose, cross_fitted, fit, learned
from nlp.calibration_fit import FOLDS
from nlp.labelled import BadLabels
from nlp.logistic import losses, softmax
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import ModelFilesDamaged
from nlp.verdicts import Verdict, agreed, read_verdicts, verdict

NOW = datetime(2026, 11, 22, tzinfo=UTC)
THINGS = """
    desk lamp chair clock shelf rug sofa mirror table bed stool frame vase bench cabinet drawer pillow curtain candle
    basket hook tray jug plate cup
"""
DOGS = [f"the dog sleeps under the {thing}" for thing in THINGS.split()]
SHIPS = [f"a ship carries one {thing}" for thing in THINGS.split()]
HOUSE_RULE = [Verdict(t, {"intent": "idea"}) for t in DOGS] + [Verdict(t, {"intent": "purchase"}) for t in SHIPS]
"""A rule of the house that no model could know: whoever writes of dogs has an idea, whoever writes of ships buys."""
HOUSE_RULE += [Verdict(f"{v.text} today", v.labels) for v in HOUSE_RULE]


def lesson(count: int, rule: float, seed: int = 1) -> Lesson:
    """Even logits, and labels that follow the first coordinate of the vector in a share `rule` of the texts."""
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(count, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = np.where(chance.random(count) < rule, vectors[:, 0] > 0, chance.random(count) < 0.5).astype(np.int64)
    zeros = np.zeros(count, dtype=np.int64)
    return Lesson(np.zeros((count, 2)), vectors, truth, zeros, chance.integers(0, FOLDS, count), {})


def test_labels_that_follow_a_rule_are_learned_and_noise_is_not() -> None:
    ruled, noise = lesson(400, 1.0), lesson(400, 0.0)
    assert choose(ruled) in STRENGTHS
    assert losses(softmax(cross_fitted(ruled)), ruled.truth).mean() < 0.45
    assert losses(softmax(cross_fitted(noise)), noise.truth).mean() < 0.72
    shift = learned(ruled)
    assert shift is not None
    assert abs(shift.weights[:, 0]).min() > abs(shift.weights[:, 1:]).max()


def test_the_stronger_the_penalty_the_smaller_the_change() -> None:
    ruled = lesson(300, 1.0)
    sizes = [np.linalg.norm(fit(ruled, strength).weights) for strength in STRENGTHS]
    assert sizes == sorted(sizes)
    assert np.linalg.norm(fit(ruled, 1e9).weights) < 1e-3


def test_one_fold_alone_teaches_nothing() -> None:
    ruled = lesson(100, 1.0)
    assert choose(ruled.picked(ruled.folds == ruled.folds[0])) is None


def test_figures_are_paired_and_a_gain_is_positive_where_the_new_is_better() -> None:
    truth = np.array([0, 1] * 100)
    right = np.where(np.eye(2)[truth] > 0, 0.9, 0.1)
    figures = compared_figures(truth, np.full((200, 2), 0.5), right)
    assert figures["macro_f1_gain"].value == pytest.approx(1 - 1 / 3)
    assert figures["macro_f1_gain"].low > 0.5
    assert figures["loss_gain"].value == pytest.approx(np.log(0.9 / 0.5))
    assert compared_figures(truth, right, right)["macro_f1_gain"].high == 0


def test_the_majority_speaks_for_a_text_and_a_tie_for_none() -> None:
    said = [("Great", "positive"), ("great", "neutral"), ("Great", "positive"), ("Great\u200b", "neutral")]
    said += [("Great ", "positive"), ("tie", "positive"), ("tie", "negative"), ("once", "neutral")]
    found = agreed([Verdict(text, {"sentiment": label}) for text, label in said], "sentiment")
    assert dict(zip(found.texts, found.labels, strict=True)) == {
        "Great": "positive",
        "great": "neutral",
        "once": "neutral",
    }
    assert (found.repeats, found.contradicted, found.tied) == (4, 1, 1)
    assert agreed([Verdict("a", {"sentiment": "neutral"})], "urgency").texts == ()


def test_lines_may_carry_any_of_the_tasks() -> None:
    rows = [
        {"text": "a", "sentiment": "Positive", "lang": "en", "urgency": ""},
        {"text": "b", "urgency": "critical", "intent": None},
        {"text": "c", "sentiment": {"label": "neutral"}},
        {"text": "d"},
    ]
    found = list(read_verdicts(["", *map(json.dumps, rows)]))
    assert found == [Verdict("a", {"sentiment": "positive"}), Verdict("b", {"urgency": "critical"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a", "urgency": "soon"}', "line 2: urgency: 'soon' is not one of low, normal, high, critical"),
        ('{"urgency": "low"}', "line 2: no field `text`"),
        ("[1]", "line 2: not a JSON object but list"),
        ("{", "line 2: "),
    ],
)
def test_a_line_that_is_no_verdict_is_named(line: str, reason: str) -> None:
    with pytest.raises(BadLabels, match=reason):
        list(read_verdicts(['{"text": "fine", "urgency": "low"}', line]))


def test_a_row_without_labels_is_no_verdict() -> None:
    assert verdict({"text": "a", "label": "positive"}) is None


def content(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(shipped: OnnxScorer, tmp_path_factory: pytest.TempPathFactory) -> Adaptation:
    before = content(SHIPPED)
    noise = [Verdict(v.text, {"urgency": ("low", "normal")[at % 2]}) for at, v in enumerate(HOUSE_RULE[:12])]
    found = adapt(SHIPPED, [*HOUSE_RULE, *noise], tmp_path_factory.mktemp("adapted") / "new", now=NOW)
    assert content(SHIPPED) == before
    return found


def test_a_rule_of_the_house_is_learned_and_the_figures_say_so(made: Adaptation) -> None:
    (intent,) = made.compared
    assert (intent.task, intent.outcome, intent.moved) == ("intent", "better", True)
    assert intent.figures["new_macro_f1"].value > 0.9 > intent.figures["old_macro_f1"].value
    assert made.recommended
    assert made.left.keys() == {"sentiment", "urgency"}
    assert f"12 labelled texts, {FEWEST_TEXTS} are needed" in made.left["urgency"]
    shown = report(made)
    assert made.new_revision in shown
    assert "WARROOM_MODEL" in shown
    assert "is better" in shown


def intents(folder: Path, texts: Sequence[str]) -> list[str]:
    scorer = OnnxScorer(folder, threads=1)
    try:
        return [score.intent.label for score in scorer.score(texts)]
    finally:
        scorer.close()


def test_the_new_folder_scores_by_the_rule_and_leaves_other_tasks_alone(made: Adaptation, shipped: OnnxScorer) -> None:
    texts = ["the dog sleeps under the piano", "a ship carries one piano"]
    assert intents(made.new, texts) == ["idea", "purchase"]
    scorer = OnnxScorer(made.new, threads=1)
    for new, old in zip(scorer.score(texts), shipped.score(texts), strict=True):
        assert list(new.sentiment.probabilities.values()) == pytest.approx(
            list(old.sentiment.probabilities.values()), abs=0.02
        )
        assert new.model_revision == made.new_revision != old.model_revision
        assert new.model_id == old.model_id


def test_the_new_folder_says_where_it_comes_from(made: Adaptation) -> None:
    described, old = manifest.read(made.new), manifest.read(SHIPPED)
    assert described.notes["adapted_from"] == made.old_revision == old.revision
    assert described.notes["adapted_at"] == "2026-11-22T00:00:00+00:00"
    assert described.thresholds == old.thresholds
    assert described.files["model.onnx"] == old.files["model.onnx"]
    assert made.new.with_name("new.part").exists() is False


def test_a_damaged_adapter_stops_the_start(made: Adaptation, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in made.new.iterdir():
        (folder / path.name).hardlink_to(path)
    adapter = folder / manifest.ADAPTER
    stored = adapter.read_bytes()
    adapter.unlink()
    adapter.write_bytes(stored[:-3] + b"xyz")
    with pytest.raises(ModelFilesDamaged, match=r"adapter.npz is damaged"):
        OnnxScorer(folder)
    described = manifest.read(made.new)
    files = {**described.files, manifest.ADAPTER: manifest.checksum(adapter)}
    adapter.write_bytes(b"no archive")
    files[manifest.ADAPTER] = manifest.checksum(adapter)
    (folder / manifest.NAME).unlink()
    manifest.write(folder, described.model_copy(update={"files": files}))
    with pytest.raises(ModelFilesDamaged, match="is not an adapter"):
        OnnxScorer(folder)


def test_an_adapted_model_is_adapted_again(made: Adaptation, tmp_path: Path) -> None:
    turned = [Verdict(v.text, {"intent": "praise"}) if "dog" in v.text else v for v in HOUSE_RULE]
    again = adapt(made.new, turned, tmp_path / "again", now=NOW)
    assert intents(again.new, ["the dog sleeps under the piano"]) == ["praise"]
    assert again.old_revision == made.new_revision


def test_labels_that_agree_with_the_model_are_not_called_an_improvement(made: Adaptation, tmp_path: Path) -> None:
    """The adapted model knows the rule; a tenth of these labels break it by chance: there is nothing to learn."""
    said = [Verdict(f"{v.text} again", v.labels) for v in HOUSE_RULE]
    for at in range(0, len(said), 10):
        said[at] = Verdict(said[at].text, {"intent": ("idea", "purchase")[at // 10 % 2]})
    found = adapt(made.new, said, tmp_path / "noise", now=NOW)
    assert found.compared[0].figures["macro_f1_gain"].low <= 0
    assert found.compared[0].outcome != "worse"


def test_too_few_labels_are_refused_with_the_number_that_is_needed(tmp_path: Path) -> None:
    few = [Verdict(f"text {at}", {"urgency": "low"}) for at in range(FEWEST_TEXTS - 1)]
    with pytest.raises(TooFewLabels, match=f"urgency: {FEWEST_TEXTS - 1} labelled texts, {FEWEST_TEXTS} are needed"):
        adapt(SHIPPED, few, tmp_path / "new", now=NOW)
    one_sided = [Verdict(f"text {at}", {"urgency": "low"}) for at in range(FEWEST_TEXTS)]
    with pytest.raises(TooFewLabels, match="two labels with 10 texts each are needed, 1 has as many"):
        adapt(SHIPPED, one_sided, tmp_path / "new", now=NOW)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(FolderTaken, match="is there already"):
        adapt(SHIPPED, HOUSE_RULE, tmp_path, now=NOW)


def test_a_model_behind_a_symbolic_link_is_placed_whole(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "old" / "model.onnx").symlink_to("../weights")
    _place(tmp_path / "old" / "model.onnx", tmp_path / "new" / "model.onnx")
    assert (tmp_path / "new" / "model.onnx").read_bytes() == b"weights"
