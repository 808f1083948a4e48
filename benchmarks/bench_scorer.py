"""Mentions per second of the shipped scorer, beside ways of doing without it, on the same texts in one run.

    python benchmarks/bench_scorer.py [--count 400] [--base FOLDER]

Texts are our own mentions in four languages, in random order; tokenising is included everywhere. `--base` is the
trimmed base model that `nlp.training.vocabulary` writes: with it, and where torch and transformers are installed, the
plain transformers pipeline is measured too, one text at a time and in unsorted batches. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from nlp.batching import BatchingScorer, Limits
from nlp.grouping import score_each
from nlp.onnx_cpu import OnnxScorer, cores
from nlp.scorer import Prepared
from nlp.training.corpora import own_files

BATCH = 32


def texts_of(count: int) -> list[str]:
    lines = [line for path in own_files() for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line)["text"] for line in random.Random(7).sample(lines, min(count, len(lines)))]


def rate(texts: list[str], run: Callable[[list[str]], object]) -> float:
    run(texts[:BATCH])
    began = time.perf_counter()
    run(texts)
    return len(texts) / (time.perf_counter() - began)


def unsorted(scorer: OnnxScorer, texts: list[str]) -> None:
    for start in range(0, len(texts), BATCH):
        prepared = scorer.prepare(texts[start : start + BATCH])
        scorer.run([entry for entry in prepared if isinstance(entry, Prepared)])


def one_by_one(scorer: OnnxScorer, texts: list[str]) -> None:
    for text in texts:
        scorer.score([text])


async def concurrent(texts: list[str]) -> float:
    """Sixteen tasks, each awaiting one request of eight texts at a time."""
    face = BatchingScorer(OnnxScorer, Limits(cache_texts=0))
    await face.start()
    chunks = [texts[start : start + 8] for start in range(0, len(texts), 8)]

    async def task(offset: int) -> None:
        for chunk in chunks[offset::16]:
            await face.score(chunk)

    began = time.perf_counter()
    await asyncio.gather(*(task(offset) for offset in range(16)))
    took = time.perf_counter() - began
    await face.close()
    return len(texts) / took


def pipeline_rows(base: Path, texts: list[str]) -> list[tuple[str, float]]:
    """Measure transformers' text-classification pipeline, float32, with a fresh head of three classes."""
    import torch  # noqa: PLC0415 - only where it was asked for
    from transformers import (  # noqa: PLC0415 - as above
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
        TextClassificationPipeline,
    )

    torch.set_num_threads(cores())
    model = BertForSequenceClassification.from_pretrained(base, num_labels=3)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(base / "tokenizer.json"), pad_token="<pad>", cls_token="<s>", sep_token="</s>"
    )
    pipeline = TextClassificationPipeline(model=model, tokenizer=tokenizer)
    more = {"truncation": True, "max_length": 128}
    return [
        ("transformers pipeline, one at a time", rate(texts, lambda t: [pipeline(text, **more) for text in t])),
        (f"transformers pipeline, batches of {BATCH}", rate(texts, lambda t: pipeline(t, batch_size=BATCH, **more))),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--base", type=Path, default=None)
    args = parser.parse_args()
    texts = texts_of(args.count)
    rows: list[tuple[str, float]] = []
    if args.base and importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        rows += pipeline_rows(args.base, texts)
    scorer = OnnxScorer()
    rows.append(("ours, one at a time", rate(texts, lambda t: one_by_one(scorer, t))))
    rows.append((f"ours, unsorted batches of {BATCH}", rate(texts, lambda t: unsorted(scorer, t))))
    rows.append(("ours, sorted token batches (`warroom score`)", rate(texts, lambda t: score_each(scorer, t))))
    scorer.close()
    rows.append(("ours, 16 concurrent tasks through the queue", asyncio.run(concurrent(texts))))
    print(f"{len(texts)} texts, {cores()} cores, model {scorer.model_id}@{scorer.model_revision}\n")
    print("| way | texts a second | against the first |\n|---|---|---|")
    for name, value in rows:
        print(f"| {name} | {value:.0f} | {value / rows[0][1]:.1f}x |")


if __name__ == "__main__":
    main()
