"""Adapting the shipped model to labels, and the folder that comes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nlp import manifest
from nlp.adapt import (
    FEWEST_OF_LABEL,
    FEWEST_TEXTS,
    FolderRefused,
    FolderTaken,
    NoEmbedding,
    TooFewLabels,
    _lesson,
    _write,
    adapt,
    shortage,
)
from nlp.adapt_figures import Adaptation, Compared, compared_figures, label_changes, report
from nlp.adapter_fit import STRENGTHS, Lesson, choose, cross_fitted, fit, learned
from nlp.calibration_fit import FOLDS
from nlp.labelled import BadLabels
from nlp.logistic import Floats, losses, softmax
from nlp.near_copies import near_form
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import LABELS, ModelFilesDamaged
from nlp.tokens import clean
from nlp.verdicts import Agreed, Verdict, agreed, read_verdicts, verdict

NOW = datetime(2026, 11, 22, tzinfo=UTC)
THINGS = """
    desk lamp chair clock shelf rug sofa mirror table bed stool frame vase bench cabinet drawer pillow curtain candle
    basket hook tray jug plate cup
"""
DOGS = [f"the dog sleeps under the {thing}" for thing in THINGS.split()]
SHIPS = [f"a ship carries one {thing}" for thing in THINGS.split()]
OTHERS = {
    "complaint": "a baker counts each",
    "question": "the river hides my",
    "praise": "two teachers paint the",
    "distress": "this window shows a",
    "other": "snow falls on our",
}
HOUSE_RULE = [Verdict(t, {"intent": "idea"}) for t in DOGS] + [Verdict(t, {"intent": "purchase"}) for t in SHIPS]
"""A rule of the house that no model could know: whoever writes of dogs has an idea, whoever writes of ships buys."""
HOUSE_RULE += [Verdict(f"{say} {t}", {"intent": i}) for i, say in OTHERS.items() for t in THINGS.split()[:14]]
HOUSE_RULE += [Verdict(f"{v.text} today", v.labels) for v in HOUSE_RULE]
TURNED = {"idea": "purchase", "purchase": "idea"}
URGENCIES = LABELS["urgency"]


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
    assert "share of each answer on these texts, old to new: complaint" in shown
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
    assert [path.name for path in made.new.parent.iterdir()] == ["new"]


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
    described = described.model_copy(update={"files": files})
    manifest.write(folder, described.model_copy(update={"revision": described.true_revision}))
    with pytest.raises(ModelFilesDamaged, match="is not an adapter"):
        OnnxScorer(folder)


def test_an_adapted_model_is_adapted_again(made: Adaptation, tmp_path: Path) -> None:
    turned = [Verdict(v.text, {"intent": TURNED.get(v.labels["intent"], v.labels["intent"])}) for v in HOUSE_RULE]
    again = adapt(made.new, turned, tmp_path / "again", now=NOW)
    assert intents(again.new, ["the dog sleeps under the piano"]) == ["purchase"]
    assert again.old_revision == made.new_revision


def test_labels_that_agree_with_the_model_are_not_called_an_improvement(made: Adaptation, tmp_path: Path) -> None:
    """People say what the adapted model says, but for a tenth of ideas and purchases: there is nothing to learn."""
    texts = [f"{v.text} now" for v in HOUSE_RULE]
    said = [Verdict(t, {"intent": i}) for t, i in zip(texts, intents(made.new, texts), strict=True)]
    for at in [at for at, v in enumerate(said) if v.labels["intent"] in TURNED][::10]:
        said[at] = Verdict(said[at].text, {"intent": TURNED[said[at].labels["intent"]]})
    found = adapt(made.new, said, tmp_path / "noise", now=NOW)
    assert found.compared[0].figures["macro_f1_gain"].low <= 0
    assert not found.recommended


def test_too_few_labels_are_refused_with_the_number_that_is_needed(tmp_path: Path) -> None:
    few = [Verdict(f"text {at}", {"urgency": "low"}) for at in range(FEWEST_TEXTS - 1)]
    with pytest.raises(TooFewLabels, match=f"urgency: {FEWEST_TEXTS - 1} labelled texts, {FEWEST_TEXTS} are needed"):
        adapt(SHIPPED, few, tmp_path / "new", now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_every_label_of_a_task_needs_texts(tmp_path: Path) -> None:
    """Labels of the urgent alone would teach that everything is urgent."""
    urgent = [Verdict(f"text {at}", {"urgency": "critical" if at < 80 else "high"}) for at in range(95)]
    with pytest.raises(TooFewLabels, match="10 texts of every label are needed: low has 0, normal has 0; intent"):
        adapt(SHIPPED, urgent, tmp_path / "new", now=NOW)
    each = [("text", label) for label in URGENCIES for _ in range(FEWEST_OF_LABEL + 5)]
    found = Agreed(tuple(text for text, _ in each), tuple(label for _, label in each), 0, 0, 0)
    assert shortage("urgency", found) == ""
    nine = replace(found, labels=("low",) * 6 + found.labels[6:15] + ("low",) * 6 + found.labels[21:])
    assert shortage("urgency", nine) == "10 texts of every label are needed: normal has 9"


def test_texts_that_the_model_cannot_read_do_not_count(shipped: OnnxScorer, tmp_path: Path) -> None:
    texts = [("https://a.example ok", label) for label in URGENCIES[:3] for _ in range(20)]
    said = [Verdict(f"{text} {at}", {"urgency": label}) for at, (text, label) in enumerate(texts)]
    said += [Verdict(f"ⵜⴰⵎⴰⵣⵉⵖⵜ {chr(0x2D30 + at) * 3}", {"urgency": "critical"}) for at in range(20)]
    with pytest.raises(TooFewLabels, match=r"critical has 0 \(20 more cannot be read by the model\)"):
        adapt(SHIPPED, said, tmp_path / "new", now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_the_bias_costs_as_much_as_a_weight() -> None:
    """Labels of one class, whatever the text: with a strong penalty neither bias nor weights may follow them."""
    ruled = lesson(100, 0.0)
    skewed = replace(ruled, truth=np.ones_like(ruled.truth), vectors=np.zeros_like(ruled.vectors))
    strong = fit(skewed, 100.0)
    # At the optimum strength * b = count * (1 - softmax(b)[1]): no closed form, but the slope must vanish.
    share = softmax(strong.bias[None, :])[0, 1]
    assert 100.0 * strong.bias[1] == pytest.approx(100 * (1 - share), abs=0.05)
    assert share < 0.75


def answers_of(found: Sequence[int], confidence: float = 0.7, classes: int = 4) -> Floats:
    return np.where(np.eye(classes)[list(found)] > 0, confidence, (1 - confidence) / (classes - 1))


def compared_of(truth: Sequence[int], old: Floats, new: Floats) -> Compared:
    said = Agreed((), (), 0, 0, 0)
    true = np.array(truth)
    figures, changes = compared_figures(true, old, new), label_changes(URGENCIES, true, old, new)
    return Compared("urgency", len(true), said, True, figures, changes)


def test_a_lower_loss_alone_does_not_make_up_for_a_lost_label() -> None:
    """The ruined model: nearly all labels are critical, so answering critical to everything lowers the loss."""
    truth = [3] * 80 + [2] * 15 + [1] * 12 + [0] * 12
    old = answers_of([3] * 30 + [2] * 50 + [2] * 5 + [3] * 10 + [1] * 6 + [2] * 6 + [0] * 8 + [1] * 4)
    new = answers_of([3] * 119)
    ruined = compared_of(truth, old, new)
    assert ruined.figures["loss_gain"].low > 0
    assert ruined.figures["macro_f1_gain"].low <= 0
    low = ruined.changes[0]
    assert (low.label, low.lost) == ("low", True)
    assert low.recall_gain.value == pytest.approx(-8 / 12)
    assert ruined.outcome == "worse"
    made = Adaptation(Path("old"), Path("new"), "1", "2", (ruined,), {})
    assert not made.recommended
    shown = report(made)
    assert "low 7% to 0% (-7 points, labelled 10%)" in shown
    assert "critical 34% to 100% (+66 points, labelled 67%)" in shown
    assert "recall of low falls: -0.667" in shown
    assert "keep the old one" in shown


def test_a_lower_loss_that_harms_no_label_is_better() -> None:
    truth = [0, 1, 2, 3] * 50
    old, new = answers_of(truth, 0.5), answers_of(truth, 0.9)
    found = compared_of(truth, old, new)
    assert found.figures["macro_f1_gain"].value == 0
    assert found.outcome == "better"
    assert compared_of(truth, new, old).outcome == "worse"
    assert compared_of(truth, old, old).outcome == "no clear difference"


def test_near_copies_are_in_one_fold(shipped: OnnxScorer) -> None:
    texts = [f"{text}{end}" for text in SHIPS[:8] for end in ("", ".", "!!!", "!!!!!", " @someone @other")]
    found = agreed([Verdict(text, {"intent": "idea"}) for text in texts], "intent")
    said = _lesson(shipped, manifest.read(SHIPPED), "intent", found, None)
    folds: dict[str, set[int]] = {}
    for text, fold in zip(found.texts, said.folds.tolist(), strict=True):
        folds.setdefault(near_form(clean(text)), set()).add(fold)
    assert len(found.texts) > len(folds)
    assert {len(of_form) for of_form in folds.values()} == {1}
    assert len(set(said.folds.tolist())) > 1


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(FolderTaken, match="is there already"):
        adapt(SHIPPED, HOUSE_RULE, tmp_path, now=NOW)
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FolderTaken, match="is there already"):
        adapt(SHIPPED, HOUSE_RULE, dangling, now=NOW)


@pytest.mark.parametrize("name", ["small", "fast", "./fast"])
def test_the_name_of_a_shipped_model_is_no_new_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FolderRefused, match="the name of a shipped model"):
        adapt(SHIPPED, HOUSE_RULE, Path(name), now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_noticed_before_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlp.adapt.OnnxScorer", lambda _folder: pytest.fail("the model was opened"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FolderRefused, match=r"new cannot be made: .*file: Not a directory"):
        adapt(SHIPPED, HOUSE_RULE, tmp_path / "file" / "new", now=NOW)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failure_leaves_nothing_and_a_folder_of_the_users_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: object) -> None:
        raise OSError("no space left")

    mine = tmp_path / "new.part" / "mine"
    mine.parent.mkdir()
    mine.write_text("mine")
    monkeypatch.setattr("nlp.adapt._all_taught", lambda *_arguments: {})
    monkeypatch.setattr("nlp.manifest.write", failing)
    with pytest.raises(OSError, match="no space left"):
        adapt(SHIPPED, HOUSE_RULE, tmp_path / "deep" / "new", now=NOW)
    monkeypatch.undo()
    monkeypatch.setattr("nlp.adapt._all_taught", lambda *_arguments: {})
    adapt(SHIPPED, HOUSE_RULE, tmp_path / "new", now=NOW)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "new.part"}
    assert mine.read_text() == "mine"
    plain = tmp_path / "plain"
    plain.mkdir()
    assert (tmp_path / "new").stat().st_mode == plain.stat().st_mode


def test_the_old_model_is_copied_through_symbolic_links_and_not_linked(tmp_path: Path) -> None:
    """Whoever rewrites a file of the new model in place does not change the old one."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    (tmp_path / "weights").write_bytes(b"weights")
    (old / "model.onnx").symlink_to("../weights")
    (old / "tokenizer.json").write_bytes(b"pieces")
    files = {name: manifest.checksum(old / name) for name in ("model.onnx", "tokenizer.json")}
    described = manifest.read(SHIPPED).model_copy(update={"files": files, "adapter": None})
    _write(old, new, described, {}, NOW)
    (new / "model.onnx").write_bytes(b"other weights")
    (new / "tokenizer.json").write_bytes(b"other pieces")
    assert (tmp_path / "weights").read_bytes() == b"weights"
    assert (old / "tokenizer.json").read_bytes() == b"pieces"


def test_a_model_without_an_embedding_is_refused_before_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = manifest.read(SHIPPED).model_copy(update={"embedding": None, "adapter": None})
    monkeypatch.setattr("nlp.manifest.read", lambda _folder: bare)
    monkeypatch.setattr("nlp.adapt.OnnxScorer", lambda _folder: pytest.fail("the model was opened"))
    with pytest.raises(NoEmbedding, match="gives no embedding"):
        adapt(SHIPPED, HOUSE_RULE, tmp_path / "new", now=NOW)
    assert list(tmp_path.iterdir()) == []
