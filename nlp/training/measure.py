"""Figures of a shipped model on the held-out part of every corpus: the tables of the model card.

Owns nothing but the tables and the search for the same event in another language. Does not own the figures
(`nlp.evaluate`, `nlp.quality`).

    python -m nlp.training.measure nlp/weights/small --data FOLDER
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

import numpy as np

from nlp import quality
from nlp.evaluate import CRITICAL, CRITICAL_PRECISION, judge
from nlp.grouping import score_each
from nlp.labelled import Labelled
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import LABELS, URGENCY, Scorer
from nlp.training.corpora import EVENT, Corpus, Example, own_corpora, own_files, sentiment_corpora
from nlp.training.real_texts import real_corpora
from streams.records import Score


def row(scorer: Scorer, corpus: Corpus, task: str) -> str:
    """Return one line of the table."""
    examples = [Labelled(e.text, LABELS[task][e.labels[task]], e.lang) for e in corpus.dev]
    judged = judge(scorer, examples, task)
    table = quality.confusion(judged.truth, judged.probabilities.argmax(axis=1).astype(np.int64), len(judged.labels))
    figures = (
        quality.macro(quality.f1_scores(table)),
        quality.macro(quality.recalls(table)),
        quality.accuracy(table),
        quality.calibration_error(judged.truth, judged.probabilities),
    )
    present = [
        f"{name} {f1:.2f}" for name, f1 in zip(LABELS[task], quality.f1_scores(table), strict=True) if not np.isnan(f1)
    ]
    if task == URGENCY:
        at = LABELS[URGENCY].index(CRITICAL)
        kept = quality.by_class(judged.truth, judged.probabilities, at).kept(CRITICAL_PRECISION)
        present.append(f"critical found at precision {CRITICAL_PRECISION}: {kept.recall:.2f}")
    cells = " | ".join(f"{x:.3f}" for x in figures)
    return f"| {task} | {corpus.name} | {len(examples)} | {cells} | {', '.join(present)} |"


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
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    args = parser.parse_args()
    scorer = OnnxScorer(args.folder)
    own = own_corpora(own_files())
    corpora = [corpus for corpus in sentiment_corpora(args.data) + own + real_corpora(args.data) if corpus.dev]
    print("| task | held-out texts of | count | macro-F1 | macro-recall | accuracy | ECE | F1 of each class |")
    print("|---" * 8 + "|")
    for task in LABELS:
        for corpus in corpora:
            if task in corpus.dev[0].labels:
                print(row(scorer, corpus, task), flush=True)
    (events,) = (corpus for corpus in own if EVENT in corpus.tasks)
    share, count = same_event_found(scorer, events.dev)
    print(f"\nThe nearest text in another language tells the same event: {share:.2f} of {count} held-out texts.")
    scorer.close()


if __name__ == "__main__":
    main()
