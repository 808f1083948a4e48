"""Figures of shipped models on the held-out part of every corpus: the tables of the model card.

Owns nothing but the tables, the search for the same event in another language and the count of false alarms. Does not
own the figures (`nlp.quality`). The first table is the card's own, to be put there as it is: a test compares its rows
with the files.

    python -m nlp.training.measure nlp/weights/small nlp/weights/fast --data FOLDER
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlp import quality
from nlp.evaluate import CRITICAL, CRITICAL_PRECISION
from nlp.grouping import Answer, score_each
from nlp.onnx_cpu import OnnxScorer
from nlp.scorer import LABELS, URGENCY, Scorer
from nlp.shipped import SIZES, folder_of
from nlp.training.corpora import EVENT, Corpus, Example, own_corpora, own_files, sentiment_corpora
from nlp.training.real_texts import real_corpora
from streams.records import Score
from streams.sources import rehearsal


@dataclass(frozen=True, slots=True)
class Figures:
    """One model on one corpus and task. `by_class` has the F1 of each class that has true texts.

    `critical` is the recall of that urgency at CRITICAL_PRECISION, None for other tasks.
    """

    macro_f1: float
    macro_recall: float
    accuracy: float
    calibration_error: float
    by_class: Mapping[str, float]
    critical: float | None = None


def answered(scorer: Scorer, corpus: Corpus) -> list[Answer]:
    """Return the scorer's answers to the held-out texts of the corpus, for all tasks."""
    return score_each(scorer, [example.text for example in corpus.dev])


def figures(corpus: Corpus, answers: Sequence[Answer], task: str) -> Figures:
    """Return the figures of the answers to the held-out texts; those without a score are left out."""
    labels = LABELS[task]
    scored = [(e, a) for e, a in zip(corpus.dev, answers, strict=True) if isinstance(a, Score)]
    truth = np.array([example.labels[task] for example, _ in scored], dtype=np.int64)
    rows = [getattr(answer, task).probabilities for _, answer in scored]
    found = np.array([[row[label] for label in labels] for row in rows], dtype=np.float64)
    table = quality.confusion(truth, found.argmax(axis=1).astype(np.int64), len(labels))
    scores = quality.f1_scores(table)
    critical = None
    if task == URGENCY:
        recall = quality.by_class(truth, found, labels.index(CRITICAL)).kept(CRITICAL_PRECISION).recall
        critical = None if np.isnan(recall) else recall
    return Figures(
        quality.macro(scores),
        quality.macro(quality.recalls(table)),
        quality.accuracy(table),
        quality.calibration_error(truth, found),
        {label: f1 for label, f1 in zip(labels, scores.tolist(), strict=True) if not np.isnan(f1)},
        critical,
    )


def header(names: Sequence[str]) -> list[str]:
    """Return the head of the card's table for models of these names."""
    columns = " | ".join(f"{name}: macro-F1 | accuracy" for name in names)
    right = " | ".join(["---:"] * 2 * len(names))
    return [f"| task | texts | count | {columns} | {names[0]}, F1 by class |", f"| --- | --- | ---: | {right} | --- |"]


def row(task: str, corpus: Corpus, found: Sequence[Figures]) -> str:
    """Return one line of the card's table: the figures of each model, and the first one's classes."""
    cells = " | ".join(f"{one.macro_f1:.3f} | {one.accuracy:.3f}" for one in found)
    classes = [f"{label} {f1:.2f}" for label, f1 in found[0].by_class.items()]
    if found[0].critical is not None:
        classes.append(f"critical found at precision {CRITICAL_PRECISION}: {found[0].critical:.2f}")
    return f"| {task} | {corpus.name} | {len(corpus.dev)} | {cells} | {', '.join(classes)} |"


def more(task: str, corpus: Corpus, names: Sequence[str], found: Sequence[Figures]) -> list[str]:
    """Return one line for each model with what the card tells elsewhere."""
    return [
        f"| {task} | {corpus.name} | {name} | {one.macro_recall:.3f} | {one.calibration_error:.3f} | "
        f"{'-' if one.critical is None else f'{one.critical:.2f}'} |"
        for name, one in zip(names, found, strict=True)
    ]


def same_event_found(examples: Sequence[Example], answers: Sequence[Answer]) -> tuple[float, int]:
    """Return how often the nearest text of another language tells the same event, and of how many texts.

    Nearest by the embedding's cosine, among all given texts in other languages.
    """
    pairs = zip(examples, answers, strict=True)
    scored = [(e, a.embedding) for e, a in pairs if isinstance(a, Score) and a.embedding]
    vectors = np.array([np.frombuffer(base64.b64decode(vector), "<f2") for _, vector in scored], dtype=np.float32)
    langs = np.array([example.lang for example, _ in scored])
    events = np.array([example.labels[EVENT] for example, _ in scored])
    near = np.where(langs[:, None] == langs[None, :], -2.0, vectors @ vectors.T)
    return float((events[near.argmax(axis=1)] == events).mean()), len(scored)


def ordinary_texts() -> list[str]:
    """Return every ordinary text of the rehearsal, its slots filled in one way: a calm day in four languages."""
    found = []
    for language in map(rehearsal.texts, rehearsal.LANGUAGES):
        lines = [line.text for line in language.lines if line.part == "ordinary"]
        for at, text in enumerate(lines):
            for slot, words in language.slots.items():
                text = text.replace(f"{{{slot}}}", words[at % len(words)])  # noqa: PLW2901
            found.append(text)
    return found


def false_alarms(scorer: Scorer, texts: Sequence[str]) -> list[str]:
    """Return those of the ordinary `texts` that come out as critical."""
    answers = score_each(scorer, texts)
    return [t for t, a in zip(texts, answers, strict=True) if isinstance(a, Score) and a.urgency.label == CRITICAL]


def printed(folders: Sequence[Path], corpora: Sequence[Corpus]) -> None:
    """Measure the models in `folders` and print the tables."""
    names = [folder.name for folder in folders]
    given: list[list[list[Answer]]] = []
    ordinary, calm = ordinary_texts(), list[str]()
    for folder in folders:
        with closing(OnnxScorer(folder)) as scorer:
            given.append([answered(scorer, corpus) for corpus in corpora])
            alarms = false_alarms(scorer, ordinary)
            calm.append(f"\n{folder.name}: critical among {len(ordinary)} ordinary rehearsal texts: {len(alarms)}")
            calm += [f"  {text}" for text in alarms]
    print("\n".join(header(names)))
    rest = ["", "| task | texts | model | macro-recall | ECE | critical found |", "|---" * 6 + "|"]
    for task in LABELS:
        for at, corpus in enumerate(corpora):
            if task in corpus.dev[0].labels:  # the held-out real posts carry no sentiment
                found = [figures(corpus, answers[at], task) for answers in given]
                print(row(task, corpus, found))
                rest += more(task, corpus, names, found)
    print("\n".join(rest))
    (at,) = (at for at, corpus in enumerate(corpora) if EVENT in corpus.tasks)
    for name, answers in zip(names, given, strict=True):
        share, count = same_event_found(corpora[at].dev, answers[at])
        print(f"\n{name}: the nearest text in another language tells the same event: {share:.2f} of {count} texts.")
    print("\n".join(calm))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", default=[folder_of(Path(size)) for size in SIZES])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    args = parser.parse_args()
    corpora = sentiment_corpora(args.data) + own_corpora(own_files()) + real_corpora(args.data)
    printed(args.folders, [corpus for corpus in corpora if corpus.dev])


if __name__ == "__main__":
    main()
