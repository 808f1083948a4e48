"""Calibration and thresholds of a model folder, fitted on held-out texts through the very graph that is shipped.

Owns which texts are held out for it and the table of errors before and after. Does not own the fit
(`nlp.calibration_fit`). Needs neither torch nor the network: what is fitted is what the int8 file answers.

    python -m nlp.training.recalibrate FOLDER --data DATA [--out OTHER]

Without `--out` the folder's manifest is replaced; its files are not touched. An adapted folder keeps its adapter.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nlp import manifest
from nlp.calibration import STRAIGHT, Bend, Correction, Shift, Threshold, Thresholds, adapted, family_indices
from nlp.calibration_fit import STATED, HeldOut, calibrate, chance_error, fold_of, straightened, thresholds
from nlp.logistic import Floats, softmax
from nlp.onnx_cpu import GraphAnswers, OnnxScorer
from nlp.quality import calibration_error
from nlp.scorer import LABELS
from nlp.training.corpora import POSTS, Corpus, Example, own_corpora, own_files, sentiment_corpora
from nlp.training.real_texts import real_corpora

MOST: Final = 800
"""Held-out texts of one corpus, evenly picked: no set outweighs all others of its family."""
_EASY: Final = ("plain-", f"{POSTS}-")
"""Corpora of our own writing beside which there are public ones of the kind: no measure of confidence."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: expected calibration error of a task and language before and after, cross-fitted.

    `chance` is what a perfect model would show on as many texts.
    """

    task: str
    lang: str
    texts: int
    before: float
    after: float
    chance: float

    def __str__(self) -> str:
        return (
            f"| {self.task} | {self.lang} | {self.texts} | {self.before:.3f} | {self.after:.3f} | {self.chance:.3f} |"
        )


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was fitted, for the manifest, and how good it is."""

    bends: dict[str, Bend]
    calibration: dict[str, dict[str, Correction]]
    thresholds: dict[str, dict[str, Threshold]]
    table: list[Row]


def held_out(corpora: Sequence[Corpus]) -> tuple[list[Example], list[str]]:
    """Return the held-out examples that a model's confidence is set by, at most about MOST of each, and their corpora.

    Neither composed verdicts nor our own posts: both are easier than what people write.
    """
    examples: list[Example] = []
    sets: list[str] = []
    for corpus in corpora:
        if not corpus.name.startswith(_EASY):
            picked = corpus.dev[:: max(1, len(corpus.dev) // MOST)]
            examples += picked
            sets += [corpus.name] * len(picked)
    return examples, sets


def _rows(task: str, held: HeldOut, after: Floats, langs: np.ndarray[tuple[int], np.dtype[np.str_]]) -> list[Row]:
    before = softmax(held.logits)
    return [
        Row(
            task,
            lang,
            int(rows.sum()),
            calibration_error(held.truth[rows], before[rows]),
            calibration_error(held.truth[rows], after[rows]),
            chance_error(after[rows]),
        )
        for lang in sorted(set(langs.tolist()))
        if (rows := langs == lang).any()
    ]


@dataclass(frozen=True, slots=True)
class _Seen:
    """Held-out examples that a model can read, the corpora they are from, and the graph's answers."""

    examples: list[Example]
    sets: list[str]
    answers: GraphAnswers

    @classmethod
    def through(cls, folder: Path, corpora: Sequence[Corpus]) -> _Seen:
        """Ask the model in `folder`."""
        examples, sets = held_out(corpora)
        scorer = OnnxScorer(folder)
        try:
            found = scorer.graph_answers([example.text for example in examples])
        finally:
            scorer.close()
        return cls([examples[at] for at in found.kept], [sets[at] for at in found.kept], found)

    def labelled(self, task: str) -> list[Example]:
        """Return the examples that are labelled for the task."""
        return [example for example in self.examples if task in example.labels]

    def held(self, task: str, labels: Sequence[str], shift: Shift | None, bend: Bend) -> HeldOut:
        """Return what is labelled for the task; the truth counts the model's own `labels`, examples count ours."""
        order = [labels.index(label) for label in LABELS[task]]
        truth = np.array([order[example.labels.get(task, 0)] for example in self.examples], dtype=np.int64)
        logits = adapted(self.answers.probabilities[task], self.answers.vectors, shift, bend)
        families = family_indices(self.answers.texts)
        folds = np.array([fold_of(text) for text in self.answers.texts], dtype=np.int64)
        rows = np.array([task in example.labels for example in self.examples], dtype=np.bool_)
        return HeldOut(logits, truth, families, tuple(self.sets), folds).picked(rows)


def calibrated(folder: Path, corpora: Sequence[Corpus]) -> Calibrated:
    """Return the calibration and thresholds that fit the model in `folder`, adapter included.

    A task with an adapter keeps its bend: people's labels were learned on it.
    """
    seen = _Seen.through(folder, corpora)
    described = manifest.read(folder)
    shifts = manifest.read_adapter(folder, described)
    made = Calibrated({}, {}, {}, [])
    for task in LABELS:
        examples = seen.labelled(task)
        if not examples:
            continue
        labels, shift, bend = described.tasks[task], shifts.get(task), described.bends[task]
        plain = seen.held(task, labels, shift, STRAIGHT)
        if shift is None:
            bend, held = straightened(plain)
        else:
            held = seen.held(task, labels, shift, bend)
        made.bends[task] = bend
        made.calibration[task], after = calibrate(held)
        if task in STATED:
            made.thresholds[task] = thresholds(after, held, STATED[task])
        made.table.extend(
            _rows(task, plain if shift is None else held, after, np.array([example.lang for example in examples]))
        )
    return made


def written(folder: Path, made: Calibrated) -> manifest.Manifest:
    """Put what was made and the new revision into the manifest of `folder`; return it. Other tasks keep theirs."""
    described = manifest.read(folder)
    bends = {**described.bends, **made.bends}
    update = {
        "curves": {task: bend.power for task, bend in bends.items() if bend.power != 1},
        "slopes": {task: bend.slopes for task, bend in bends.items() if bend.slopes},
        "calibration": {**described.calibration, **made.calibration},
        "thresholds": {**described.thresholds, **made.thresholds},
    }
    described = described.model_copy(update=update)
    found = manifest.revision(described.files, described.calibration, described.thresholds, bends)
    described = described.model_copy(update={"revision": found})
    manifest.write(folder, described)
    return described


def report(made: Calibrated) -> str:
    """Return the tables in Markdown: errors by language, then thresholds by family."""
    lines = ["| task | language | texts | ECE before | ECE after | ECE of a perfect model |", "|---" * 6 + "|"]
    lines += [str(row) for row in made.table]
    lines += ["", "| task | family | threshold | stated | reached | coverage | texts |", "|---" * 7 + "|"]
    return "\n".join([*lines, *threshold_rows(made.thresholds)])


def threshold_rows(thresholds: Mapping[str, Thresholds]) -> list[str]:
    """Return a row of the second table for each task and family; `thresholds` are a manifest's."""
    rows = []
    for task, found in thresholds.items():
        for name, limit in found.items():
            reached = "-" if limit.precision is None else f"{limit.precision:.3f}"
            figures = f"{limit.least:.3f} | {limit.stated:.2f} | {reached} | {limit.coverage:.2f} | {limit.texts}"
            rows.append(f"| {task} | {name} | {figures} |")
    return rows


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, help="write a copy of the folder here instead of changing it")
    args = parser.parse_args()
    corpora = sentiment_corpora(args.data) + own_corpora(own_files()) + real_corpora(args.data)
    made = calibrated(args.folder, corpora)
    folder = args.folder
    if args.out is not None:
        folder = Path(shutil.copytree(args.folder, args.out))
    described = written(folder, made)
    print(report(made))
    print(f"\n{folder}: revision {described.revision}")


if __name__ == "__main__":
    main()
