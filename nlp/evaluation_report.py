"""The report of `warroom model eval`: the figures of one model or several as Markdown tables, or as one JSON object.

Owns the wording and the shape. Does not own the figures (`evaluate`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from nlp import quality
from nlp.bootstrap import FEWEST, Figure
from nlp.evaluate import (
    CRITICAL_PRECISION,
    EVERYTHING,
    Group,
    Judged,
    differences,
    group,
    selections,
)

MEAN: Final = "mean of languages"
_UNKNOWN: Final = "-"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model's figures on one file for one task. `groups` begins with all texts, then one for each language."""

    model: str
    task: str
    precision: float
    judged: Judged
    groups: Sequence[Group]
    confusion: quality.Ints
    against: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    """The difference from the first model, by group, where there are several."""


def evaluations(names: Sequence[str], found: Sequence[Judged], task: str, precision: float) -> list[Evaluation]:
    """Return one evaluation for each model, in order; there is at least one scored text."""
    picks = selections(found[0])
    return [
        Evaluation(
            name,
            task,
            precision,
            judged,
            [group(judged, lang, picked, precision) for lang, picked in picks.items()],
            quality.confusion(judged.truth, judged.probabilities.argmax(axis=1), len(judged.labels)),
            {lang: differences(judged, found[0], picked, precision) for lang, picked in picks.items()} if at else {},
        )
        for at, (name, judged) in enumerate(zip(names, found, strict=True))
    ]


def names_of(precision: float) -> dict[str, str]:
    """Return the words for each figure, in the order of the tables."""
    return {
        "macro_f1": "macro-F1",
        "macro_recall": "macro-recall",
        "accuracy": "accuracy",
        "calibration_error": "ECE",
        "coverage": f"kept at {precision:g} precision",
        "uncertain": "marked uncertain",
        "certain_precision": "precision of the rest",
        "critical_recall": f"recall of critical at {CRITICAL_PRECISION:g} precision",
    }


def mean_of_languages(groups: Sequence[Group]) -> dict[str, float]:
    """Return each figure's plain mean over the languages that have it and at least FEWEST texts."""
    means: dict[str, float] = {}
    for name in groups[0].figures:
        values = [one.figures[name].value for one in groups[1:] if name in one.figures and one.count >= FEWEST]
        known = [value for value in values if math.isfinite(value)]
        means[name] = float(np.mean(known)) if known else math.nan
    return means


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else _UNKNOWN


def _spanned(figure: Figure | None, sign: str = "") -> str:
    if figure is None or not math.isfinite(figure.value):
        return _UNKNOWN
    value = format(figure.value, f"{sign}.3f")
    known = math.isfinite(figure.low)
    return f"{value} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})" if known else value


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose first row is the header, padded so that it reads well on a terminal."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:], ""]


def _summary(found: Sequence[Evaluation]) -> list[str]:
    words = names_of(found[0].precision)
    header = ["all texts (95 %)", *(one.model for one in found)]
    header += [f"{one.model} less {found[0].model}" for one in found[1:]]
    rows = [header]
    for name in found[0].groups[0].figures:
        row = [words[name], *(_spanned(one.groups[0].figures[name]) for one in found)]
        rows.append(row + [_spanned(one.against[EVERYTHING][name], "+") for one in found[1:]])
    return _table(rows)


def _languages(one: Evaluation) -> list[str]:
    names = {name: words for name, words in names_of(one.precision).items() if name in one.groups[0].figures}
    rows = [["language", "texts", f"{names['macro_f1']} (95 %)", *list(names.values())[1:]]]
    for entry in one.groups[1:]:
        figures = entry.figures
        rest = [_number(figures[name].value) if name in figures else _UNKNOWN for name in list(names)[1:]]
        rows.append([entry.name, str(entry.count), _spanned(figures["macro_f1"]), *rest])
    if sum(entry.count >= FEWEST for entry in one.groups[1:]) > 1:
        means = mean_of_languages(one.groups)
        rows.append([MEAN, "", *(_number(means[name]) for name in names)])
    return _table(rows)


def _classes(one: Evaluation) -> list[str]:
    table, labels = one.confusion, one.judged.labels
    columns = quality.precisions(table), quality.recalls(table), quality.f1_scores(table)
    rows = [["true class", "texts", "precision", "recall", "F1", *(f"as {label}" for label in labels)]]
    for at, label in enumerate(labels):
        figures = [_number(float(column[at])) for column in columns]
        rows.append([label, str(table[at].sum()), *figures, *(str(count) for count in table[at])])
    return _table(rows)


def _changes(one: Evaluation, first: str) -> list[str]:
    names = ("macro_f1", "accuracy", "calibration_error")
    words = names_of(one.precision)
    rows = [[f"{one.model} less {first} (95 %)", *(words[name] for name in names)]]
    rows += [[lang, *(_spanned(found[name], "+") for name in names)] for lang, found in one.against.items()]
    return _table(rows)


def notes(found: Evaluation) -> list[str]:
    """Return what a reader of the figures must know: classes that are absent, texts that got no score, small groups."""
    lines = [
        f"{entry.name}: no text is truly {', '.join(entry.absent)}; the macro figures are over the other classes."
        for entry in found.groups
        if entry.absent
    ]
    small = [entry.name for entry in found.groups if entry.count < FEWEST]
    if small:
        lines.append(f"{', '.join(small)}: fewer than {FEWEST} texts, too few for an interval.")
    if found.judged.unscored:
        why = "; ".join(f"{count}: {reason}" for reason, count in sorted(found.judged.reasons.items()))
        lines.append(f"{found.judged.unscored} texts got no score and are not in these figures ({why}).")
    return lines


def markdown(found: Sequence[Evaluation]) -> str:
    """Return the tables: all texts (with each model, and its difference from the first), languages, classes, notes."""
    first = found[0]
    lines = [f"{first.task}: {first.groups[0].count} texts", "", *_summary(found)]
    for one in found:
        lines += [f"{one.model} by language", "", *_languages(one)]
        lines += [f"{one.model} by class, and how its texts were labelled", "", *_classes(one)]
    for one in found[1:]:
        lines += _changes(one, first.model)
    said = notes(first)
    return "\n".join([*lines, *said]).rstrip() + "\n"


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)


def _figures(figures: Mapping[str, Figure]) -> dict[str, dict[str, float | None]]:
    return {
        name: {"value": _plain(one.value), "low": _plain(one.low), "high": _plain(one.high)}
        for name, one in figures.items()
    }


def _group_object(entry: Group) -> dict[str, Any]:
    found: dict[str, Any] = {"texts": entry.count, **_figures(entry.figures), "absent": list(entry.absent)}
    found["coverage"]["threshold"] = _plain(entry.threshold)
    if "critical_recall" in found:
        found["critical_recall"]["threshold"] = _plain(entry.critical_threshold)
    return found


def _class_objects(one: Evaluation) -> dict[str, Any]:
    table = one.confusion
    columns = {
        "precision": quality.precisions(table),
        "recall": quality.recalls(table),
        "f1": quality.f1_scores(table),
    }
    return {
        label: {
            "texts": int(table[at].sum()),
            **{name: _plain(float(column[at])) for name, column in columns.items()},
            "labelled": dict(zip(one.judged.labels, table[at].tolist(), strict=True)),
        }
        for at, label in enumerate(one.judged.labels)
    }


def as_object(found: Sequence[Evaluation]) -> dict[str, Any]:
    """Return the same as an object for JSON; what can't be known is null. Intervals are of 95 %."""
    first = found[0]
    return {
        "task": first.task,
        "texts": first.groups[0].count,
        "unscored": first.judged.unscored,
        "reasons": dict(first.judged.reasons),
        "precision": first.precision,
        "models": [
            {
                "model": one.model,
                EVERYTHING: _group_object(one.groups[0]),
                "languages": {entry.name: _group_object(entry) for entry in one.groups[1:]},
                "mean_of_languages": {name: _plain(value) for name, value in mean_of_languages(one.groups).items()},
                "classes": _class_objects(one),
                "less_first": {lang: _figures(figures) for lang, figures in one.against.items()},
            }
            for one in found
        ],
        "notes": notes(first),
    }
