"""`warroom model adapt`: heads and calibration refitted on people's labels, as a new model folder beside the old one.

Owns the steps and the new folder. Does not own the fit (`adapter_fit`), figures (`adapt_figures`), reading labels
(`verdicts`) or the command line (the app's). Needs neither torch nor a network: the graph stays as it is, and what the
labels teach is a file of a few kilobytes that is applied after it (`calibration`).

The thresholds of doubt stay as they are. People label what the model doubted: of such texts alone no threshold for all
could be told, while calibrated probabilities keep their meaning.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from nlp import adapter_fit, manifest
from nlp.adapt_figures import Adaptation, CalmAnswers, Compared, compared_figures, label_changes
from nlp.adapter_fit import Lesson
from nlp.calibration import Correction, Corrections, Shift, adapted, corrected, family_indices, unit
from nlp.calibration_fit import HeldOut, cross_fitted, fit, fold_of
from nlp.calm_texts import CALM
from nlp.choice import is_ours
from nlp.families import EVERY
from nlp.near_copies import near_form
from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS, URGENCY, Prepared
from nlp.shipped import SIZES
from nlp.verdicts import Agreed, Verdict, agreed

FEWEST_TEXTS: Final = 60
"""Distinct labelled texts of a task below which nothing is fitted."""
FEWEST_OF_LABEL: Final = 10
"""Texts that every label of the task needs: of one without texts, the fit would only learn to say it less."""
ALARMS: Final = ("high", "critical")
_UNTOUCHED: Final = {EVERY: Correction(temperature=1)}


class TooFewLabels(ValueError):
    """No task has enough labels; the message says how many each has and needs."""


class FolderTaken(FileExistsError):
    """The new folder is there already: nothing is overwritten."""


class FolderRefused(OSError):
    """The new folder cannot be made where it should be."""


class NoEmbedding(ValueError):
    """The model gives no embedding, which is what an adapter reads."""

    def __init__(self, model_id: str) -> None:
        """Name the model."""
        super().__init__(f"{model_id} gives no embedding: it cannot be adapted, choose another with --model")


class ForeignModel(ValueError):
    """The folder holds a Hugging Face classifier, whose answers no adapter follows."""

    def __init__(self, folder: Path) -> None:
        """Name the folder."""
        super().__init__(
            f"{folder} holds a Hugging Face classifier, which cannot be adapted: name small, fast or a model's folder "
            "with --model"
        )


@dataclass(frozen=True, slots=True)
class _Taught:
    """What the labels of one task come to."""

    compared: Compared
    shift: Shift | None
    corrections: dict[str, Correction]


def shortage(task: str, found: Agreed) -> str:
    """Return what is missing for `task` to be adapted, naming the labels that lack texts; empty if nothing is."""
    counts = Counter(found.labels)
    lacking = [f"{label} has {counts[label]}" for label in LABELS[task] if counts[label] < FEWEST_OF_LABEL]
    missing = []
    if len(found.texts) < FEWEST_TEXTS:
        missing.append(f"{len(found.texts)} labelled texts, {FEWEST_TEXTS} are needed")
    if found.texts and lacking:
        missing.append(f"{FEWEST_OF_LABEL} texts of every label are needed: {', '.join(lacking)}")
    return ", and ".join(missing)


def _readable(scorer: OnnxScorer, found: Agreed) -> Agreed:
    """Return the texts that the model can read, with their labels."""
    kept = [at for at, entry in enumerate(scorer.prepare(found.texts)) if isinstance(entry, Prepared)]
    return replace(found, texts=tuple(found.texts[at] for at in kept), labels=tuple(found.labels[at] for at in kept))


def _refuse_if_none(left: Mapping[str, str]) -> None:
    if len(left) == len(LABELS):
        counts = "; ".join(f"{task}: {reason}" for task, reason in left.items())
        raise TooFewLabels(f"too few labels to adapt the model: {counts}")


def _lesson(scorer: OnnxScorer, described: manifest.Manifest, task: str, found: Agreed, shift: Shift | None) -> Lesson:
    """Return the texts of a task that can be read, as the old model sees them."""
    answers = scorer.graph_answers(found.texts)
    if answers.vectors is None:
        raise NoEmbedding(described.model_id)
    labels = described.tasks[task]
    return Lesson(
        logits=adapted(answers.probabilities[task], answers.vectors, shift, described.bends[task]),
        vectors=unit(answers.vectors),
        truth=np.array([labels.index(found.labels[at]) for at in answers.kept], dtype=np.int64),
        families=family_indices(answers.texts),
        folds=np.array([fold_of(near_form(text)) for text in answers.texts], dtype=np.int64),
        corrections=described.calibration.get(task, _UNTOUCHED),
    )


def _taught(task: str, labels: tuple[str, ...], lesson: Lesson, found: Agreed) -> _Taught:
    """Return the new shift and calibration of a task, and both models on texts that had no part in them."""
    sets = ("labels",) * len(lesson.truth)
    unseen = HeldOut(adapter_fit.cross_fitted(lesson), lesson.truth, lesson.families, sets, lesson.folds)
    old = corrected(lesson.logits, lesson.families, lesson.corrections)
    new = cross_fitted(unseen, bias=False, prior=lesson.corrections)
    shift = adapter_fit.learned(lesson)
    figures = compared_figures(lesson.truth, old, new)
    changes = label_changes(labels, lesson.truth, old, new)
    compared = Compared(task, len(lesson.truth), found, shift is not None, figures, changes)
    return _Taught(compared, shift, fit(unseen, bias=False, prior=lesson.corrections))


def _calm(scorer: OnnxScorer, described: manifest.Manifest, old: Shift | None, taught: _Taught) -> CalmAnswers:
    """Return how many harmless texts the old and the new model call high or critical."""
    answers = scorer.graph_answers(CALM)
    families = family_indices(answers.texts)
    alarms = [described.tasks[URGENCY].index(label) for label in ALARMS]
    new = old if taught.shift is None else _sum(old, taught.shift)

    def alarmed(shift: Shift | None, corrections: Corrections) -> int:
        logits = adapted(answers.probabilities[URGENCY], answers.vectors, shift, described.bends[URGENCY])
        return int(np.isin(corrected(logits, families, corrections).argmax(axis=1), alarms).sum())

    before = alarmed(old, described.calibration.get(URGENCY, _UNTOUCHED))
    return CalmAnswers(before, alarmed(new, taught.corrections), len(answers.kept))


def _sum(old: Shift | None, new: Shift) -> Shift:
    return new if old is None else Shift(old.weights + new.weights, old.bias + new.bias)


@contextmanager
def _prepared(out: Path) -> Iterator[Path]:
    """Make an empty folder where `out` will be, for `out` to be written in and moved from; it never outlives the block.

    Raise FolderTaken or FolderRefused: now, not after minutes of fitting.
    """
    if str(out) in SIZES:
        raise FolderRefused(
            f"{out} is the name of a shipped model, which the new one could not be told from: name another"
        )
    if os.path.lexists(out):
        raise FolderTaken(f"{out} is there already: name a folder that is not, so that no model is lost")
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    try:
        scratch = tempfile.TemporaryDirectory(dir=above, prefix=f".{out.name}.")
    except OSError as error:
        raise FolderRefused(f"{out} cannot be made: {above}: {error.strerror}") from error
    with scratch as name:
        partial = (
            Path(name) / "model"
        )  # a folder of our own making has the rights of any other, the scratch one has not
        partial.mkdir()
        yield partial


def _write(
    old: Path, partial: Path, described: manifest.Manifest, taught: Mapping[str, _Taught], now: datetime
) -> manifest.Manifest:
    """Write the new model into the empty folder `partial`; return its manifest.

    Files are copied, never linked: whoever rewrites one in place later must not change the old model with it.
    """
    files = {name: file for name, file in described.files.items() if name != described.adapter}
    for name in files:
        shutil.copyfile(old / name, partial / name)
    shifts = manifest.read_adapter(old, described)
    for task, found in taught.items():
        if found.shift is not None:
            shifts[task] = _sum(shifts.get(task), found.shift)
    if shifts:
        manifest.write_adapter(partial, shifts)
        files[manifest.ADAPTER] = manifest.checksum(partial / manifest.ADAPTER)
    calibration = {**described.calibration, **{task: found.corrections for task, found in taught.items()}}
    labels = ", ".join(f"{task} {found.compared.texts}" for task, found in taught.items())
    update = {
        "files": files,
        "calibration": calibration,
        "adapter": manifest.ADAPTER if shifts else None,
        "revision": manifest.revision(files, calibration, described.thresholds, described.bends),
        "notes": {
            **described.notes,
            "adapted_from": described.revision,
            "adapted_at": now.isoformat(timespec="seconds"),
            "adapted_on": labels,
        },
    }
    made = described.model_copy(update=update)
    manifest.write(partial, made)
    manifest.calibrator(partial, manifest.read(partial))
    return made


def _all_taught(
    scorer: OnnxScorer, folder: Path, described: manifest.Manifest, by_task: Mapping[str, Agreed], left: dict[str, str]
) -> dict[str, _Taught]:
    """Return what each task comes to; add to `left` those of which the model can't read enough texts."""
    shifts = manifest.read_adapter(folder, described)
    readable = {task: _readable(scorer, found) for task, found in by_task.items() if task not in left}
    for task, found in readable.items():
        if reason := shortage(task, found):
            unread = len(by_task[task].texts) - len(found.texts)
            left[task] = f"{reason} ({unread} more cannot be read by the model)"
    _refuse_if_none(left)
    taught = {}
    for task, found in readable.items():
        if task not in left:
            lesson = _lesson(scorer, described, task, found, shifts.get(task))
            taught[task] = _taught(task, described.tasks[task], lesson, found)
    if (urgent := taught.get(URGENCY)) is not None:
        calm = _calm(scorer, described, shifts.get(URGENCY), urgent)
        taught[URGENCY] = replace(urgent, compared=replace(urgent.compared, calm=calm))
    return taught


def adapt(
    folder: Path,
    verdicts: Iterable[Verdict],
    out: Path,
    *,
    now: datetime,
    replaced: Mapping[str, str] = MappingProxyType({}),
) -> Adaptation:
    """Fit the model in `folder` to people's `verdicts` and write the result as the new folder `out`.

    `folder` is never changed; `out` is written even where the new model is not better (`Adaptation.recommended`).
    `replaced` names the tasks that something else answers, and what: they are left as they were. Raise TooFewLabels,
    FolderTaken, FolderRefused, ModelFilesDamaged, NoEmbedding or ForeignModel.
    """
    if (folder / "config.json").is_file() and not is_ours(folder):
        raise ForeignModel(folder)
    given = list(verdicts)
    with _prepared(out) as partial:
        by_task = {task: agreed(given, task) for task in LABELS}
        left = {task: reason for task, found in by_task.items() if (reason := shortage(task, found))}
        left |= {task: f"{other} answers it in the model's place" for task, other in replaced.items()}
        _refuse_if_none(left)
        described = manifest.read(folder)
        if described.embedding is None:
            raise NoEmbedding(described.model_id)
        scorer = OnnxScorer(folder)
        try:
            taught = _all_taught(scorer, folder, described, by_task, left)
        finally:
            scorer.close()
        made = _write(folder, partial, described, taught, now)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(out)
    compared = tuple(found.compared for found in taught.values())
    return Adaptation(folder, out, described.revision, made.revision, compared, left)
