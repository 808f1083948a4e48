"""Calibration and doubt on synthetic models of which the truth is known, and their way through a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp import manifest
from nlp.calibration import (
    STRAIGHT,
    Bend,
    Calibrator,
    Correction,
    Shift,
    Threshold,
    bent,
    corrected,
    family_indices,
    replaced,
)
from nlp.calibration_fit import (
    FEWEST,
    FOLDS,
    HeldOut,
    answer_slopes,
    bias_pays,
    calibrate,
    chance_error,
    cross_fitted,
    fit,
    fold_of,
    least_confidence,
    straightened,
    thresholds,
)
from nlp.families import EVERY, FAMILIES
from nlp.logistic import Floats, Ints, losses, minimise, softmax
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.quality import calibration_error
from nlp.scorer import LABELS, ModelFilesDamaged

HEBREW, PERSIAN = FAMILIES.index("hebrew"), FAMILIES.index("persian")
LATIN, FRENCH, ITALIAN = FAMILIES.index("latin"), FAMILIES.index("french"), FAMILIES.index("italian")
LIMIT = Threshold(least=0.7, stated=0.8, precision=0.82, coverage=0.6, texts=500)


def drawn(honest: Floats, seed: int) -> Ints:
    chance = np.random.default_rng(seed)
    steps: Ints = (honest.cumsum(axis=1) < chance.random((len(honest), 1))).sum(axis=1)
    return steps.clip(max=honest.shape[1] - 1).astype(np.int64)


def held_out(sizes: dict[int, int], slopes: dict[int, float], seed: int = 1) -> HeldOut:
    """Texts of a model whose logits are `slopes[family]` times too loud; equal parts in two sets."""
    chance = np.random.default_rng(seed)
    families = np.repeat(list(sizes), list(sizes.values())).astype(np.int64)
    honest = chance.normal(size=(len(families), 3)) * 1.5
    truth = drawn(softmax(honest), seed + 1)
    loud = honest * np.array([slopes[at] for at in families.tolist()])[:, None]
    folds = chance.integers(0, FOLDS, len(families))
    sets = tuple("ab"[at % 2] for at in range(len(families)))
    return HeldOut(loud, truth, families, sets, folds)


def test_the_minimiser_finds_the_least_of_a_crooked_bowl() -> None:
    chance = np.random.default_rng(0)
    root = chance.normal(size=(30, 30))
    bowl, target = root @ root.T + np.diag(np.geomspace(1e-1, 1e3, 30)), chance.normal(size=30)

    def objective(point: Floats) -> tuple[float, Floats]:
        gap = point - target
        return float(gap @ bowl @ gap) / 2, bowl @ gap

    assert minimise(objective, np.zeros(30), tolerance=1e-9) == pytest.approx(target, abs=1e-3)
    assert minimise(objective, target) == pytest.approx(target)


def test_each_family_gets_the_temperature_that_its_logits_were_multiplied_by() -> None:
    held = held_out({HEBREW: 4000, PERSIAN: 4000}, {HEBREW: 2.0, PERSIAN: 0.5})
    found = fit(held, bias=False)
    assert found["hebrew"].temperature == pytest.approx(2, rel=0.1)
    assert found["persian"].temperature == pytest.approx(0.5, rel=0.1)
    assert found["hebrew"].texts == 4000
    assert "english" not in found


def test_a_family_of_few_texts_stays_near_all() -> None:
    few = fit(held_out({HEBREW: 4000, PERSIAN: 6}, {HEBREW: 1.0, PERSIAN: 3.0}), bias=False)
    many = fit(held_out({HEBREW: 4000, PERSIAN: 2000}, {HEBREW: 1.0, PERSIAN: 3.0}), bias=False)
    assert few["persian"].temperature < 1.5
    assert many["persian"].temperature == pytest.approx(3, rel=0.1)


def test_a_language_of_few_texts_stays_near_the_family_that_it_is_a_part_of() -> None:
    loud = {HEBREW: 1.0, LATIN: 3.0, FRENCH: 3.0, ITALIAN: 1.0}
    found = fit(held_out({HEBREW: 8000, LATIN: 1000, FRENCH: 5, ITALIAN: 1000}, loud), bias=False)
    assert found["french"].temperature == pytest.approx(found["latin"].temperature, rel=0.1)
    assert found["italian"].temperature == pytest.approx(1, rel=0.15)
    assert (found["latin"].texts, found["french"].texts) == (2005, 5)


def test_a_new_fit_starts_from_the_old_one() -> None:
    old = {"hebrew": Correction(temperature=3, texts=900), EVERY: Correction(temperature=1)}
    few = fit(held_out({HEBREW: 5}, {HEBREW: 1.0}), bias=False, prior=old)
    many = fit(held_out({HEBREW: 5000}, {HEBREW: 1.0}), bias=False, prior=old)
    assert few["hebrew"].temperature > 2
    assert many["hebrew"].temperature == pytest.approx(1, rel=0.15)


def test_calibration_lowers_the_error_on_texts_it_did_not_see() -> None:
    held = held_out({HEBREW: 3000, PERSIAN: 3000}, {HEBREW: 2.5, PERSIAN: 1.0})
    before, after = softmax(held.logits), cross_fitted(held, bias=False)
    hebrew = held.families == HEBREW
    assert calibration_error(held.truth[hebrew], before[hebrew]) > 0.08
    assert calibration_error(held.truth[hebrew], after[hebrew]) < 0.03
    assert losses(after, held.truth).mean() < losses(before, held.truth).mean()


def test_cross_fitting_never_asks_the_fold_itself() -> None:
    held = held_out({HEBREW: 600}, {HEBREW: 1.0})
    first = held.folds == 0
    lied = HeldOut(held.logits, np.where(first, (held.truth + 1) % 3, held.truth), held.families, held.sets, held.folds)
    assert cross_fitted(held, bias=False)[first] == pytest.approx(cross_fitted(lied, bias=False)[first])


def shifted(sets: tuple[str, ...], only: str | None) -> HeldOut:
    """The model is biased against class 0, in all sets or in `only` one."""
    held = held_out({HEBREW: len(sets)}, {HEBREW: 1.0})
    hit = np.array([only in {None, name} for name in sets])
    logits = held.logits - np.outer(hit, [1.5, 0, 0])
    return HeldOut(logits, held.truth, held.families, sets, held.folds)


def test_a_bias_is_fitted_only_where_it_helps_in_every_set() -> None:
    sets = ("a", "b") * 1500
    assert bias_pays(shifted(sets, None))
    assert not bias_pays(shifted(sets, "a"))
    corrections, _ = calibrate(shifted(sets, None))
    assert corrections["hebrew"].bias[0] > max(corrections["hebrew"].bias[1:])
    corrections, _ = calibrate(shifted(sets, "a"))
    assert corrections["hebrew"].bias == ()


def test_what_lies_above_the_threshold_reaches_the_stated_precision_on_other_texts() -> None:
    held, other = (held_out({HEBREW: 4000}, {HEBREW: 1.0}, seed) for seed in (1, 50))
    values = softmax(held.logits)
    assert np.mean(values.argmax(axis=1) == held.truth) < 0.8
    limit = thresholds(values, held, 0.8)["hebrew"]
    assert 0.79 <= (limit.precision or 0) < 0.85
    unseen = softmax(other.logits)
    kept = unseen.max(axis=1) >= limit.least
    assert np.mean((unseen.argmax(axis=1) == other.truth)[kept]) >= 0.79
    assert kept.mean() == pytest.approx(limit.coverage, abs=0.05)


def test_nothing_is_uncertain_where_all_of_it_is_precise_enough() -> None:
    values = np.tile([0.9, 0.05, 0.05], (200, 1))
    assert least_confidence(values, np.zeros(200, dtype=np.int64), 0.8) == 0


def test_a_threshold_is_never_under_even_odds() -> None:
    held = held_out({HEBREW: 500}, {HEBREW: 1.0})
    values = np.tile([0.4, 0.3, 0.3], (500, 1)) + np.eye(3)[held.truth] * np.linspace(0, 0.5, 500)[:, None]
    values /= values.sum(axis=1, keepdims=True)
    assert least_confidence(values, values.argmax(axis=1), 0.8) == 0
    right = HeldOut(held.logits, values.argmax(axis=1).astype(np.int64), held.families, held.sets, held.folds)
    for limit in thresholds(values, right, 0.8).values():
        assert limit.least == 0.5
        assert limit.coverage == pytest.approx((values.max(axis=1) >= 0.5).mean(), abs=1e-4)


def test_a_precision_out_of_reach_is_said_to_be() -> None:
    held = held_out({HEBREW: 500}, {HEBREW: 1.0})
    guesses = softmax(np.random.default_rng(9).normal(size=(500, 3)))
    limit = thresholds(guesses, held, 0.99)["hebrew"]
    assert limit.stated == 0.99
    assert limit.precision is not None
    assert limit.precision < 0.7
    assert 0 < limit.coverage < 0.5


def test_a_family_of_few_texts_has_no_threshold_of_its_own() -> None:
    held = held_out({HEBREW: 500, PERSIAN: FEWEST - 1}, {HEBREW: 1.0, PERSIAN: 1.0})
    assert thresholds(softmax(held.logits), held, 0.8).keys() == {EVERY, "hebrew"}
    held = held_out({HEBREW: 500, FRENCH: FEWEST - 1, ITALIAN: 1}, dict.fromkeys((HEBREW, FRENCH, ITALIAN), 1.0))
    assert thresholds(softmax(held.logits), held, 0.8).keys() == {EVERY, "hebrew", "latin"}


def test_the_error_of_a_perfect_model_falls_with_the_number_of_texts() -> None:
    values = softmax(held_out({HEBREW: 4000}, {HEBREW: 1.0}).logits)
    assert chance_error(values[:100]) > 2 * chance_error(values) > 0


def test_equal_texts_share_a_fold() -> None:
    assert fold_of("Great PHONE") == fold_of("great phone")
    assert {fold_of(str(number)) for number in range(100)} == set(range(FOLDS))


@pytest.mark.parametrize("power", [1.0, 1.6])
def test_the_curve_is_the_power_that_straightens_the_logits(power: float) -> None:
    honest = held_out({HEBREW: 6000, PERSIAN: 6000}, {HEBREW: 1.0, PERSIAN: 1.0})
    crooked = replace(honest, logits=bent(honest.logits, Bend(1 / power)))
    bend, straight = straightened(crooked)
    assert bend.power == pytest.approx(power, abs=0.21)
    assert bend.slopes == ()
    assert straight.logits == pytest.approx(bent(crooked.logits, bend))
    before, after = (cross_fitted(held, bias=False) for held in (crooked, straight))
    assert losses(after, honest.truth).mean() <= losses(before, honest.truth).mean() + 1e-9


def too_sure_of(slopes: Sequence[float], seed: int = 1) -> HeldOut:
    """Texts of a model whose confidence in each class is off by its own factor: drawn from what it should have said."""
    honest = held_out({HEBREW: 8000}, {HEBREW: 1.0}, seed)
    logits = honest.logits - honest.logits.max(axis=1, keepdims=True)
    return replace(honest, logits=logits / np.array(slopes)[logits.argmax(axis=1)][:, None])


def test_each_answer_gets_the_slope_that_makes_it_honest() -> None:
    held, unseen = too_sure_of((1.6, 0.6, 0.8)), too_sure_of((1.6, 0.6, 0.8), seed=9)
    first, second, third = answer_slopes(held)
    assert first > 1.2
    assert second < third < 1
    bend, straight = straightened(held)
    assert len(bend.slopes) == 3
    assert np.array_equal(straight.logits.argmax(axis=1), held.logits.argmax(axis=1))
    for answer in range(3):
        rows = unseen.logits.argmax(axis=1) == answer
        before, after = (softmax(logits[rows]) for logits in (unseen.logits, bent(unseen.logits, bend)))
        errors = [calibration_error(unseen.truth[rows], found) for found in (before, after)]
        assert errors[0] > 0.04
        assert errors[1] < 0.75 * errors[0]


def test_the_slope_of_an_answer_that_is_never_given_is_that_of_the_others() -> None:
    held = held_out({HEBREW: 4000}, {HEBREW: 2.0})
    never = replace(held, logits=np.concatenate([held.logits, np.full((4000, 1), -90.0)], axis=1))
    *others, last = answer_slopes(never)
    assert others == pytest.approx([0.5] * 3, abs=0.06)
    assert last == pytest.approx(np.mean(others), abs=0.06)


def test_two_answers_that_tie_are_no_step_in_a_bend() -> None:
    close = np.array([[0.0, -1e-9, -1.0], [-1e-9, 0.0, -1.0]])
    one, other = softmax(bent(close, Bend(1.3, (0.5, 2.0, 1.0))))
    assert one == pytest.approx(other, abs=1e-6)


@given(
    st.lists(st.floats(-30, 30), min_size=3, max_size=3),
    st.floats(0.5, 3),
    st.just(()) | st.tuples(*[st.floats(0.2, 5)] * 3),
)
def test_a_bend_never_changes_the_order(logits: list[float], curve: float, slopes: tuple[float, ...]) -> None:
    row = np.array([logits])
    assert np.array_equal(bent(row, STRAIGHT), row)
    found = bent(row, Bend(curve, slopes))[0]
    assert all(found[a] <= found[b] for a in range(3) for b in range(3) if logits[a] < logits[b])


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3), st.floats(0.2, 5))
def test_a_temperature_never_changes_the_answer(logits: list[float], temperature: float) -> None:
    row, families = np.array([logits]), np.array([HEBREW])
    found = corrected(row, families, {"hebrew": Correction(temperature=temperature)})
    assert found.sum() == pytest.approx(1)
    assert found[0, int(row.argmax())] == pytest.approx(found.max())


def test_a_language_without_a_correction_goes_by_that_of_its_family() -> None:
    row = np.array([[2.0, 1.0, 0.0]])
    some = {EVERY: Correction(temperature=2), "latin": Correction(temperature=4), "french": Correction(temperature=8)}
    french, italian = (corrected(row, np.array([at]), some) for at in (FRENCH, ITALIAN))
    assert french == pytest.approx(softmax(row / 8))
    assert italian == pytest.approx(softmax(row / 4))


def test_a_family_without_a_correction_goes_by_that_of_all_and_without_that_by_none() -> None:
    row = np.array([[2.0, 1.0, 0.0]])
    some = {EVERY: Correction(temperature=2), "hebrew": Correction(temperature=4, bias=(0, 0, 1))}
    persian, hebrew = (corrected(row, np.array([at]), some) for at in (PERSIAN, HEBREW))
    assert persian == pytest.approx(softmax(row / 2))
    assert hebrew == pytest.approx(softmax(row / 4 + [0, 0, 1]))
    assert corrected(row, np.array([PERSIAN]), {"hebrew": some["hebrew"]}) == pytest.approx(softmax(row))


def test_an_adapter_shifts_by_the_unit_vector() -> None:
    shift = Shift(np.array([[1.0, 0], [0, 1], [0, 0]]), np.array([0, 0, 0.5]))
    calibrator = Calibrator(LABELS, {}, {}, {"sentiment": shift})
    even = np.full((1, 3), 1 / 3)
    found = calibrator.probabilities("sentiment", even, np.array([[3.0, 4.0]]), np.array([HEBREW]))
    assert found == pytest.approx(softmax(np.array([[0.6, 0.8, 0.5]])))
    assert calibrator.probabilities("urgency", even, None, np.array([HEBREW])) is even


def test_doubt_is_told_by_family() -> None:
    calibrator = Calibrator(LABELS, {}, {"sentiment": {"hebrew": LIMIT}, "urgency": {EVERY: LIMIT}})
    found = {
        "sentiment": np.array([[0.6, 0.4, 0]] * 3),
        "urgency": np.array([[0.9, 0.1, 0, 0]] * 2 + [[0.4, 0.2, 0.2, 0.2]]),
    }
    families = family_indices(["שלום רב", "hello there", "שלום רב"])
    assert calibrator.uncertain(found, families) == [("sentiment",), (), ("sentiment", "urgency")]
    assert Calibrator(LABELS, {}, {}).uncertain(found, families) == [(), (), ()]


@pytest.fixture
def folder(shipped: OnnxScorer, tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "model"))


def changed(folder: Path, **fields: object) -> None:
    """Change the manifest by hand; its revision is that of a bare graph."""
    path = folder / manifest.NAME
    described = json.loads(path.read_text())
    bare = described["files"]["model.onnx"]["sha256"][:12]
    path.write_text(json.dumps({**described, "revision": bare, **fields}))


def test_calibration_and_thresholds_survive_the_manifest_and_reach_the_score(folder: Path) -> None:
    changed(folder, calibration={}, thresholds={}, curves={}, slopes={})
    (before,) = OnnxScorer(folder, threads=1).score(["שירות גרוע מאוד"])
    described = manifest.read(folder)
    calibration = {"sentiment": {"hebrew": Correction(temperature=4, texts=100)}}
    limits = {"sentiment": {EVERY: LIMIT.model_copy(update={"least": 0.99})}}
    bend = Bend(1.5, (1.2, 0.7, 0.9))
    revision = manifest.revision(described.files, calibration, limits, {"sentiment": bend})
    assert revision != manifest.revision(described.files, calibration, limits, {})
    bends = {"curves": {"sentiment": bend.power}, "slopes": {"sentiment": bend.slopes}}
    update = {"calibration": calibration, "thresholds": limits, **bends, "revision": revision}
    manifest.write(folder, described.model_copy(update=update))
    assert manifest.read(folder).thresholds == limits
    (after,) = OnnxScorer(folder, threads=1).score(["שירות גרוע מאוד"])
    old, new = (list(score.sentiment.probabilities.values()) for score in (before, after))
    assert new == pytest.approx(softmax(bent(np.log([old]), bend) / 4)[0], abs=1e-3)
    assert (before.uncertain, after.uncertain) == ((), ("sentiment",))
    assert after.urgency == before.urgency
    assert after.model_revision == revision != before.model_revision
    assert len(revision) == 12
    assert replaced(after, "sentiment", before.sentiment).uncertain == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"calibration": {"sentiment": {"klingon": {"temperature": 1}}}},
        {"calibration": {"mood": {"all": {"temperature": 1}}}},
        {"calibration": {"sentiment": {"all": {"temperature": 0}}}},
        {"calibration": {"sentiment": {"all": {"temperature": 1, "bias": [0, 0]}}}},
        {"thresholds": {"urgency": {"all": {"least": 2, "stated": 0.8, "precision": 0.8, "coverage": 1, "texts": 1}}}},
        {"curves": {"mood": 1.5}},
        {"curves": {"sentiment": 0}},
        {"slopes": {"mood": [1, 1, 1]}},
        {"slopes": {"sentiment": [1, 1]}},
        {"slopes": {"sentiment": [1, 0, 1]}},
        {"adapter": "adapter.npz"},
        {"files": {}},
        {"files": {"model.onnx": {"sha256": "0" * 64, "bytes": 1}}},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(folder: Path, fields: dict[str, object]) -> None:
    changed(folder, **fields)
    with pytest.raises(ModelFilesDamaged, match="not a manifest of format 1"):
        OnnxScorer(folder)


@pytest.mark.parametrize("name", ["../other/model.onnx", "/etc/hostname", "sub/file", "..", "manifest.json"])
def test_a_manifest_names_files_of_its_own_folder_only(folder: Path, name: str) -> None:
    """`model adapt` copies what is named, so a strange name would be written outside of the new folder."""
    files = json.loads((folder / manifest.NAME).read_text())["files"]
    changed(folder, files={**files, name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ModelFilesDamaged, match="is not the name of a file in the folder"):
        manifest.read(folder)


def test_the_revision_of_a_bare_graph_is_the_start_of_its_checksum(shipped: OnnxScorer) -> None:
    files = manifest.read(SHIPPED).files
    assert manifest.revision(files, {}, {}, {}) == files["model.onnx"].sha256[:12]
