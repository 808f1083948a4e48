"""Figures of a shipped model on the held-out part of every corpus: the table of the model card.

Owns nothing but the table. Does not own the figures (`nlp.quality`).

    python -m nlp.training.measure nlp/weights/small --data FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nlp import quality
from nlp.evaluate import Labelled, judge
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import LABELS, Scorer
from nlp.training.corpora import Corpus, own_corpora, own_files, sentiment_corpora


def row(scorer: Scorer, corpus: Corpus, task: str) -> str:
    """Return one line of the table."""
    examples = [Labelled(e.text, LABELS[task][e.labels[task]], e.lang) for e in corpus.dev]
    judged = judge(scorer, examples, task)
    table = quality.confusion(judged.truth, judged.probabilities.argmax(axis=1), len(judged.labels))
    figures = (
        quality.macro(quality.f1_scores(table)),
        quality.macro(quality.recalls(table)),
        quality.accuracy(table),
        quality.calibration_error(judged.truth, judged.probabilities),
    )
    per_class = ", ".join(f"{name} {f1:.2f}" for name, f1 in zip(LABELS[task], quality.f1_scores(table), strict=True))
    return (
        f"| {task} | {corpus.name} | {len(examples)} | " + " | ".join(f"{x:.3f}" for x in figures) + f" | {per_class} |"
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    args = parser.parse_args()
    scorer = OnnxScorer(args.folder)
    corpora = [corpus for corpus in sentiment_corpora(args.data) + own_corpora(own_files()) if corpus.dev]
    print("| task | held-out texts of | count | macro-F1 | macro-recall | accuracy | ECE | F1 of each class |")
    print("|---" * 8 + "|")
    for task in LABELS:
        for corpus in corpora:
            if task in corpus.tasks:
                print(row(scorer, corpus, task), flush=True)
    scorer.close()


if __name__ == "__main__":
    main()
