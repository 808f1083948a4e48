"""How far two people's labels of the same texts agree, per task and language, as a Markdown table.

Owns reading the label files and the table. Does not own the figures (`nlp.agreement`).

    python -m nlp.training.agreement A B

A and B are JSON Lines with `id`, `lang` and a label under each task's name, or files of lines `id TAB urgency TAB
intent TAB sentiment` (`id TAB skip` where nothing could be judged); --columns names other columns. Texts are matched by
id; without `lang` the language is what an id like `he017` begins with. Exit code 2 for a line that can't be used.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nlp.agreement import Agreement, agreement
from nlp.bootstrap import Figure
from nlp.scorer import LABELS

SKIP: Final = "skip"
_COLUMNS: Final = "id,urgency,intent,sentiment"
_SHOWN: Final = 3
_EVERYTHING: Final = "all"


class BadLabelFile(ValueError):
    """A label file can't be used; the message names file, line and fault."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one person said of one text; tasks that were not judged are missing."""

    lang: str
    labels: Mapping[str, str] = field(default_factory=dict)


def _language(key: str, said: object) -> str:
    letters = key[: next((at for at, sign in enumerate(key) if not sign.isalpha()), len(key))]
    return str(said) if said else letters or "unknown"


def _fields(line: str, columns: Sequence[str]) -> dict[str, object]:
    if line.lstrip().startswith("{"):
        found = json.loads(line)
        return found if isinstance(found, dict) else {}
    cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
    if len(cells) == len(columns):
        return dict(zip(columns, cells, strict=True))
    if len(cells) > 1 and cells[1] == SKIP:
        return {columns[0]: cells[0]}
    raise ValueError(f"{len(cells)} columns, wanted {len(columns)}: {', '.join(columns)}")


def _verdict(row: Mapping[str, object]) -> tuple[str, Verdict]:
    key = row.get("id")
    if key is None or not str(key).strip():
        raise ValueError("no `id`")
    labels: dict[str, str] = {}
    for task, known in LABELS.items():
        label = row.get(task)
        if label in {None, "", SKIP}:
            continue
        if label not in known:
            raise ValueError(f"{task}: {label!r} is not one of {', '.join(known)}")
        labels[task] = str(label)
    return str(key), Verdict(_language(str(key), row.get("lang")), labels)


def read_verdicts(path: Path, columns: Sequence[str]) -> dict[str, Verdict]:
    """Return one person's verdicts by id; raise BadLabelFile for the first line that is none, or an id given twice."""
    found: dict[str, Verdict] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip() or (number == 1 and line.split("\t")[0].strip() == columns[0]):
            continue
        try:
            key, verdict = _verdict(_fields(line, columns))
        except ValueError as error:
            raise BadLabelFile(f"{path}:{number}: {error}") from error
        if key in found:
            raise BadLabelFile(f"{path}:{number}: {key} was labelled before in this file")
        found[key] = verdict
    return found


def compared(first: Mapping[str, Verdict], second: Mapping[str, Verdict]) -> Iterator[tuple[str, Agreement]]:
    """Yield (language, agreement) for each task: all texts that both labelled, then those of each language."""
    both = [key for key in first if key in second]
    for task in LABELS:
        keys = [key for key in both if task in first[key].labels and task in second[key].labels]
        langs = sorted({first[key].lang for key in keys})
        for lang in [_EVERYTHING, *langs] if keys else []:
            chosen = [key for key in keys if lang in {_EVERYTHING, first[key].lang}]
            left, right = ([given[key].labels[task] for key in chosen] for given in (first, second))
            yield lang, agreement(task, left, right)


def _cell(figure: Figure | None) -> str:
    if figure is None or not math.isfinite(figure.value):
        return "-"
    return (
        f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
        if math.isfinite(figure.low)
        else f"{figure.value:.2f}"
    )


def table(found: Iterator[tuple[str, Agreement]]) -> list[str]:
    """Return the lines of the Markdown table; intervals are of 95 %, by bootstrap."""
    heads = ("task", "language", "texts", "same label", "kappa", "linear kappa", "quadratic kappa", "most often apart")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for lang, one in found:
        figures = [_cell(one.figures.get(name)) for name in ("raw", "plain", "linear", "quadratic")]
        apart = ", ".join(f"{left}/{right} {count}" for left, right, count in one.confusions[:_SHOWN])
        lines.append(f"| {one.task} | {lang} | {one.texts} | {' | '.join(figures)} | {apart or '-'} |")
    return lines


def counts(first: Mapping[str, Verdict], second: Mapping[str, Verdict]) -> str:
    """Return one line on how many texts were compared and how many were not."""
    both = first.keys() & second.keys()
    skipped = sum(not first[key].labels or not second[key].labels for key in both)
    return (
        f"{len(both)} texts in both files ({skipped} skipped by one or both), "
        f"{len(first) - len(both)} only in the first, {len(second) - len(both)} only in the second."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, metavar="A")
    parser.add_argument("second", type=Path, metavar="B")
    parser.add_argument("--columns", default=_COLUMNS, help=f"columns of lines with tabs (default {_COLUMNS})")
    args = parser.parse_args(arguments)
    columns = args.columns.split(",")
    try:
        first, second = (read_verdicts(path, columns) for path in (args.first, args.second))
    except (BadLabelFile, OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    lines = table(compared(first, second))
    print("\n".join([counts(first, second), "", *lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
