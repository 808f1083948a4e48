"""What one small difference changes in a model's answers: the evidence for `nlp.near_copies`.

    python -m benchmarks.near_copies DATA [--pairs 1200] [--model FOLDER]

DATA is the folder of public sets that `docs/model-card.md` lists. Each tweet that has a difference (a link in a row, a
closing full stop ...) is scored with and without it. Prints how often any label differs, the 99th percentile of the
largest change of a probability, and both for the pairs whose first answer is settled. Not a part of `make bench`: run
it for a new model, and keep in `near_form` only what leaves well under 1 % of the settled answers another label.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlp.grouping import all_scores, score_each
from nlp.near_copies import near_form, settled
from nlp.onnx_cpu import SHIPPED, OnnxScorer
from nlp.scorer import LABELS, Prepared
from nlp.tokens import clean
from streams.records import Score

TWEETS: Final = ("xlm_t/*.tsv", "semeval2017_en/*.tsv", "tweeteval_sentiment/*.tsv", "crisislext26/*.tsv")
_PLAIN: Final = str.maketrans("\u2018\u2019\u201c\u201d\u00ab\u00bb\u2013\u2014", '\'\'""""--')
_EMOJI: Final = "[\U0001f000-\U0001faff\u2600-\u27bf]"

DIFFERENCES: Final[dict[str, Callable[[str], str]]] = {
    "dots": lambda text: text.replace("\u2026", "..."),
    "quotes and dashes": lambda text: text.translate(_PLAIN),
    "links in a row": lambda text: re.sub(r"http(?: http)+", "http", text),
    "closing full stop": lambda text: re.sub(r"(?<!\.)\.$", "", text),
    "third ! ? .": lambda text: re.sub(r"([!?.])\1\1+", r"\1\1", text),
    "handles at the end": lambda text: re.sub(r"(?: @user)+$", "", text),
    "all that near_form folds": near_form,
    "other digits": lambda text: re.sub(r"[0-9]", lambda digit: str((int(digit[0]) + 3) % 10), text),
    "via @user": lambda text: re.sub(r" \(?(?:via|h/t|cc|par|v\u00eda):? ?@user\)?", "", text, flags=re.IGNORECASE),
    "handles in a row": lambda text: re.sub(r"@user(?:,? @user)+", "@user", text),
    "link at the end": lambda text: re.sub(r"(?: http)+$", "", text),
    "RT @user:": lambda text: re.sub(r"^(?:(?:RT|MT) @user ?:? ?)+", "", text),
    "repeated emoji": lambda text: re.sub(rf"({_EMOJI})(?: ?\1)+", r"\1", text),
    "hashtags at the end": lambda text: re.sub(r"(?: #\w+)+$", "", text),
    "case": str.lower,
    "Persian letters": lambda text: text.translate({0x64A: 0x6CC, 0x643: 0x6A9}),
}


def tweets(folder: Path) -> list[str]:
    """Return the distinct cleaned texts of the public sets of tweets, in random order."""
    paths = [path for pattern in TWEETS for path in sorted(folder.glob(pattern))]
    if not paths:
        raise SystemExit(f"no sets of tweets in {folder}")
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").split("\n")[1:]]
    texts = list(dict.fromkeys(clean(line.partition("\t")[0]) for line in lines))
    random.Random(6).shuffle(texts)
    return [text for text in texts if text]


def readable(scorer: OnnxScorer, text: str) -> bool:
    """Return whether the model knows the text's script: what it refuses has no answer to compare."""
    return isinstance(scorer.prepare([text])[0], Prepared)


def pairs_of(
    scorer: OnnxScorer, texts: Sequence[str], change: Callable[[str], str], most: int
) -> list[tuple[str, str]]:
    """Return at most `most` readable texts that the change changes, with what it makes of them."""
    found: list[tuple[str, str]] = []
    for text in texts:
        changed = change(text).strip()
        if changed != text and readable(scorer, text) and readable(scorer, changed):
            found.append((text, changed))
        if len(found) == most:
            break
    return found


def probabilities(score: Score) -> list[NDArray[np.float64]]:
    return [np.array(list(getattr(score, task).probabilities.values())) for task in LABELS]


def compared(first: Score, second: Score) -> tuple[bool, float, bool]:
    """Return whether any label differs, the largest change of a probability, and whether the first is settled."""
    both = list(zip(probabilities(first), probabilities(second), strict=True))
    differs = any(one.argmax() != other.argmax() for one, other in both)
    return differs, max(float(np.abs(one - other).max()) for one, other in both), settled(first)


def row(name: str, outcomes: Sequence[tuple[bool, float, bool]]) -> str:
    sure = [outcome for outcome in outcomes if outcome[2]]
    cells = [
        f"{100 * np.mean([one[0] for one in some]):.1f} % | {np.quantile([one[1] for one in some], 0.99):.2f}"
        if some
        else "– | –"
        for some in (outcomes, sure)
    ]
    return f"| {name} | {len(outcomes)} | {cells[0]} | {len(sure)} | {cells[1]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=1200)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    args = parser.parse_args()
    texts = tweets(args.data)
    scorer = OnnxScorer(args.model)
    print(f"{scorer.model_id}@{scorer.model_revision}, {len(texts)} tweets\n")
    print("| difference | pairs | another label | change, p99 | settled | another label | change, p99 |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    some = [text for text in texts[: args.pairs] if readable(scorer, text)]
    same = all_scores(score_each(scorer, some))
    alone = [scorer.score([text])[0] for text in some]
    print(row("none: alone, not in a batch", [compared(*pair) for pair in zip(same, alone, strict=True)]), flush=True)
    for name, change in DIFFERENCES.items():
        pairs = pairs_of(scorer, texts, change, args.pairs)
        if pairs:
            firsts, seconds = (all_scores(score_each(scorer, side)) for side in zip(*pairs, strict=True))
            outcomes = [compared(*pair) for pair in zip(firsts, seconds, strict=True)]
            print(row(name, outcomes), flush=True)


if __name__ == "__main__":
    main()
