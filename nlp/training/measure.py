"""Figures of a shipped model on the held-out part of every corpus: the tables of the model card.

Owns nothing but the tables and the search for the same event in another language. Does not own the figures
(`nlp.evaluate`, `nlp.quality`).

    python -m nlp.training.measure nlp/weights/small nlp/weights/fast --data FOLDER
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlp import quality
from nlp.evaluate import CRITICAL, CRITICAL_PRECISION, judge
from nlp.grouping import score_each
from nlp.labelled import Labelled
from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS, URGENCY, Scorer
from nlp.training.corpora import EVENT, Corpus, Example, own_corpora, own_files, sentiment_corpora
from nlp.training.real_texts import real_corpora
from streams.records import Score


@dataclass(frozen=True, slots=True)
class Figures:
    """What one model reached on one set and task; `by_class` is empty for classes without a text."""

    texts: int
    macro_f1: float
    macro_recall: float
    accuracy: float
    error: float
    by_class: dict[str, float]
    critical_found: float | None


def figures(scorer: Scorer, corpus: Corpus, task: str) -> Figures:
    """Return the figures of a model on the held-out part of `corpus`."""
    examples = [Labelled(e.text, LABELS[task][e.labels[task]], e.lang) for e in corpus.dev]
    judged = judge(scorer, examples, task)
    table = quality.confusion(judged.truth, judged.probabilities.argmax(axis=1).astype(np.int64), len(judged.labels))
    f1 = quality.f1_scores(table)
    found = None
    if task == URGENCY:
        at = LABELS[URGENCY].index(CRITICAL)
        found = quality.by_class(judged.truth, judged.probabilities, at).kept(CRITICAL_PRECISION).recall
    return Figures(
        len(examples),
        quality.macro(f1),
        quality.macro(quality.recalls(table)),
        quality.accuracy(table),
        quality.calibration_error(judged.truth, judged.probabilities),
        {name: float(value) for name, value in zip(LABELS[task], f1, strict=True) if not np.isnan(value)},
        found,
    )


def row(task: str, name: str, models: Sequence[Figures]) -> str:
    """Return one line of the table: the figures of each model side by side, by class those of the first."""
    first = models[0]
    classes = [f"{label} {f1:.2f}" for label, f1 in first.by_class.items()]
    if first.critical_found is not None and CRITICAL in first.by_class:
        classes.append(f"critical found at precision {CRITICAL_PRECISION}: {first.critical_found:.2f}")
    cells = " | ".join(f"{m.macro_f1:.3f} | {m.macro_recall:.3f} | {m.accuracy:.3f} | {m.error:.3f}" for m in models)
    return f"| {task} | {name} | {first.texts} | {cells} | {', '.join(classes)} |"


def header(names: Sequence[str]) -> str:
    """Return the two lines above the rows."""
    columns = [f"{name}: macro-F1 | recall | accuracy | ECE" for name in names]
    line = " | ".join(["task", "texts", "count", *columns, f"{names[0]}, F1 by class"])
    return f"| {line} |\n|---|---|---:|{'---:|' * 4 * len(names)}---|"


def same_event_found(scorer: Scorer, examples: list[Example]) -> tuple[float, int]:
    """Return how often the nearest text of another language tells the same event, and of how many texts.

    Nearest by the embedding's cosine, among all given texts in other languages.
    """
    pairs = zip(examples, score_each(scorer, [example.text for example in examples]), strict=True)
    scored = [(e, a.embedding) for e, a in pairs if isinstance(a, Score) and a.embedding]
    vectors = np.array([np.frombuffer(base64.b64decode(vector), "<f2") for _, vector in scored], dtype=np.float32)
    langs = np.array([example.lang for example, _ in scored])
    events = np.array([example.labels[EVENT] for example, _ in scored])
    near = np.where(langs[:, None] == langs[None, :], -2.0, vectors @ vectors.T)
    return float((events[near.argmax(axis=1)] == events).mean()), len(scored)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="one model or several, side by side")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    args = parser.parse_args()
    scorers = [OnnxScorer(folder) for folder in args.folders]
    own = own_corpora(own_files())
    corpora = [corpus for corpus in sentiment_corpora(args.data) + own + real_corpora(args.data) if corpus.dev]
    print(header([folder.name for folder in args.folders]))
    for task in LABELS:
        for corpus in corpora:
            if task in corpus.dev[0].labels:
                print(row(task, corpus.name, [figures(scorer, corpus, task) for scorer in scorers]), flush=True)
    (events,) = (corpus for corpus in own if EVENT in corpus.tasks)
    for folder, scorer in zip(args.folders, scorers, strict=True):
        share, count = same_event_found(scorer, events.dev)
        print(f"\n{folder.name}: the nearest text in another language tells the same event: {share:.2f} of {count}.")
        scorer.close()


if __name__ == "__main__":
    main()
