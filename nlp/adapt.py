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
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from nlp import adapter_fit, manifest
from nlp.adapt_figures import Adaptation, Compared, compared_figures
from nlp.adapter_fit import Lesson
from nlp.calibration import Correction, Shift, adapted, corrected, family_indices, unit
from nlp.calibration_fit import HeldOut, cross_fitted, fit, fold_of
from nlp.families import EVERY
from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS
from nlp.verdicts import Agreed, Verdict, agreed

FEWEST_TEXTS: Final = 60
"""Distinct labelled texts of a task below which nothing is fitted."""
FEWEST_OF_LABEL: Final = 10
"""Texts that at least two labels of the task need."""
_UNTOUCHED: Final = {EVERY: Correction(temperature=1)}


class TooFewLabels(ValueError):
    """No task has enough labels; the message says how many each has and needs."""


class FolderTaken(FileExistsError):
    """The new folder is there already: nothing is overwritten."""


@dataclass(frozen=True, slots=True)
class _Taught:
    """What the labels of one task come to."""

    compared: Compared
    shift: Shift | None
    corrections: dict[str, Correction]


def shortage(found: Agreed) -> str:
    """Return what is missing for a task to be adapted; empty if nothing is."""
    if len(found.texts) < FEWEST_TEXTS:
        return f"{len(found.texts)} labelled texts, {FEWEST_TEXTS} are needed"
    enough = [label for label, count in Counter(found.labels).items() if count >= FEWEST_OF_LABEL]
    if len(enough) < 2:  # noqa: PLR2004  one label alone tells nothing apart
        return f"two labels with {FEWEST_OF_LABEL} texts each are needed, {len(enough)} has as many"
    return ""


def _lesson(scorer: OnnxScorer, described: manifest.Manifest, task: str, found: Agreed, shift: Shift | None) -> Lesson:
    """Return the texts of a task that can be read, as the old model sees them."""
    answers = scorer.graph_answers(found.texts)
    if answers.vectors is None:
        raise ValueError(f"{described.model_id} gives no embedding: its heads cannot be adapted")
    labels = described.tasks[task]
    return Lesson(
        logits=adapted(answers.probabilities[task], answers.vectors, shift),
        vectors=unit(answers.vectors),
        truth=np.array([labels.index(found.labels[at]) for at in answers.kept], dtype=np.int64),
        families=family_indices(answers.texts),
        folds=np.array([fold_of(text) for text in answers.texts], dtype=np.int64),
        corrections=described.calibration.get(task, _UNTOUCHED),
    )


def _taught(task: str, lesson: Lesson, found: Agreed) -> _Taught:
    """Return the new shift and calibration of a task, and both models on texts that had no part in them."""
    sets = ("labels",) * len(lesson.truth)
    unseen = HeldOut(adapter_fit.cross_fitted(lesson), lesson.truth, lesson.families, sets, lesson.folds)
    old = corrected(lesson.logits, lesson.families, lesson.corrections)
    new = cross_fitted(unseen, bias=False, prior=lesson.corrections)
    shift = adapter_fit.learned(lesson)
    figures = compared_figures(lesson.truth, old, new)
    compared = Compared(task, len(lesson.truth), found, shift is not None, figures)
    return _Taught(compared, shift, fit(unseen, bias=False, prior=lesson.corrections))


def _sum(old: Shift | None, new: Shift) -> Shift:
    return new if old is None else Shift(old.weights + new.weights, old.bias + new.bias)


def _place(source: Path, target: Path) -> None:
    """Put the file at `target` without copying its bytes where the file system can."""
    try:
        os.link(source.resolve(), target)  # a link to a relative symbolic link would lead nowhere
    except OSError:
        shutil.copyfile(source, target)


def _write(
    old: Path, out: Path, described: manifest.Manifest, taught: Mapping[str, _Taught], now: datetime
) -> manifest.Manifest:
    """Write the new folder, whole or not at all; return its manifest."""
    partial = out.with_name(out.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files = {name: file for name, file in described.files.items() if name != described.adapter}
    for name in files:
        _place(old / name, partial / name)
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
        "revision": manifest.revision(files, calibration, described.thresholds),
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
    partial.rename(out)
    return made


def adapt(folder: Path, verdicts: Iterable[Verdict], out: Path, *, now: datetime) -> Adaptation:
    """Fit the model in `folder` to people's `verdicts` and write the result as the new folder `out`.

    `folder` is never changed; `out` is written even where the new model is not better (`Adaptation.recommended`).
    Raise TooFewLabels, FolderTaken, ModelFilesDamaged, or ValueError for a model without an embedding.
    """
    if out.exists():
        raise FolderTaken(f"{out} is there already: name a folder that is not, so that no model is lost")
    given = list(verdicts)
    by_task = {task: agreed(given, task) for task in LABELS}
    left = {task: reason for task, found in by_task.items() if (reason := shortage(found))}
    if len(left) == len(LABELS):
        counts = "; ".join(f"{task}: {reason}" for task, reason in left.items())
        raise TooFewLabels(f"too few labels to adapt the model: {counts}")
    described = manifest.read(folder)
    shifts = manifest.read_adapter(folder, described)
    taught = {}
    scorer = OnnxScorer(folder)
    try:
        for task, found in by_task.items():
            if task not in left:
                lesson = _lesson(scorer, described, task, found, shifts.get(task))
                taught[task] = _taught(task, lesson, found)
    finally:
        scorer.close()
    made = _write(folder, out, described, taught, now)
    compared = tuple(found.compared for found in taught.values())
    return Adaptation(folder, out, described.revision, made.revision, compared, left)
