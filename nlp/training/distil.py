"""The `fast` size: a few thin layers that learn to answer as the exported `small` does, on every text we have.

Owns the pruned student, the teacher's soft targets and their loss. Does not own the loop (`run`), data, batches or the
export.

    python -m nlp.training.distil CHECKPOINT nlp/weights/small OUT --data FOLDER --minutes 30

CHECKPOINT is the float network behind the exported teacher. The student keeps its word embedding, evenly spaced layers
and in each the strongest inner neurons (norm of their weights in times out), so it starts near the teacher. Targets are
the teacher's probabilities for all tasks and its embedding, also for texts whose own label is of another task and for
parts of texts; they are computed once and kept in `OUT/targets.npz`.
"""

from __future__ import annotations

import argparse
import random
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from transformers import BertConfig

from nlp import manifest
from nlp.grouping import groups
from nlp.manifest import checksum
from nlp.network import PREFIX, Network, load_checkpoint, save_checkpoint
from nlp.onnx_cpu import cores, session
from nlp.scorer import LABELS
from nlp.tokens import TextEncoder
from nlp.training.batches import Batch, Item, class_weights, drawn, padded, tokenise
from nlp.training.corpora import (
    Corpus,
    auxiliary_corpora,
    own_corpora,
    own_files,
    posts_and_others,
    sentiment_corpora,
)
from nlp.training.precision import quick
from nlp.training.real_texts import real_corpora
from nlp.training.run import Pace, Run, hidden, quicken
from nlp.training.train import SPARED

_ASKED: Final = "asked"
"""Checksum of the teacher and the texts that the answers in a file of targets are of."""
_OUTPUTS: Final = (*LABELS, "embedding")
_TRUTH: Final = 0.3
"""Weight of the people's label beside the teacher's opinion of the same text."""
_MEANING: Final = 2.0
_WEIGHTS: Final = {"intent": 1.5}
"""Tasks whose opinions count more than once: the one with most classes is where a student loses most."""
_OWN_SHARE: Final = 0.5
_DROPPED: Final = 0.0
_HIDDEN: Final = 0.05
_LEAST: Final = 6
"""Tokens that a part of a text keeps at least."""
_PLENTY: Final = ("semeval", "crisis", "complaints", "purchase", "disaster")
"""Sets that are large or beside the point; of the others the teacher is asked about a part of each text, too."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is: files, shape of the student, budget and rate."""

    checkpoint: Path
    teacher: Path
    out: Path
    data: Path
    layers: int
    inner: int
    minutes: float
    rate: float
    size: int
    max_tokens: int
    seed: int
    start: Path | None = None


def student_of(teacher: Network, layers: int, inner: int) -> Network:
    """Return a network of `layers` evenly spaced layers of the teacher, each with its `inner` strongest neurons."""
    config = BertConfig(**teacher.encoder.config.to_dict(), attn_implementation="eager")
    depth = config.num_hidden_layers
    config.num_hidden_layers, config.intermediate_size = layers, inner
    student = Network(config, {task: teacher.labels[task] for task in LABELS})
    student.encoder.embeddings.load_state_dict(teacher.encoder.embeddings.state_dict())
    for task in LABELS:
        student.heads[task].load_state_dict(teacher.heads[task].state_dict())
    picked = [round(at * (depth - 1) / (layers - 1)) for at in range(layers)]
    for mine, at in zip(student.encoder.encoder.layer, picked, strict=True):
        theirs = teacher.encoder.encoder.layer[at]
        mine.attention.load_state_dict(theirs.attention.state_dict())
        mine.output.LayerNorm.load_state_dict(theirs.output.LayerNorm.state_dict())
        _prune(theirs.intermediate.dense, theirs.output.dense, mine.intermediate.dense, mine.output.dense)
    return student


def check_same_words(start: Path, checkpoint: Path) -> None:
    """Raise SystemExit if the student in `start` reads other pieces, or other vectors of them, than `checkpoint`."""
    for name in ("tokenizer.json", "words.npz"):
        if checksum(start / name) != checksum(checkpoint / name):
            raise SystemExit(f"{start}: its {name} is not that of {checkpoint}; start from the teacher instead")


def check_same_prefix(teacher: Path) -> None:
    """Raise SystemExit if the exported `teacher` reads another prefix than the student will."""
    found = manifest.read(teacher).prefix
    if found != PREFIX:
        raise SystemExit(f"{teacher}: it was trained with the prefix {found!r}, not {PREFIX!r}; export a newer one")


def _prune(wide_in: nn.Linear, wide_out: nn.Linear, thin_in: nn.Linear, thin_out: nn.Linear) -> None:
    strength = wide_in.weight.norm(dim=1) * wide_out.weight.norm(dim=0)
    kept = strength.topk(thin_in.out_features).indices.sort().values
    with torch.no_grad():
        thin_in.weight.copy_(wide_in.weight[kept])
        thin_in.bias.copy_(wide_in.bias[kept])
        thin_out.weight.copy_(wide_out.weight[:, kept])
        thin_out.bias.copy_(wide_out.bias)


def variant(item: Item, chance: random.Random) -> Item:
    """Return one piece of the text, three fifths of its tokens or more: the teacher says what it thinks of it.

    The people's label is kept, since most of the text is there; short texts come back as they are.
    """
    inside = item.ids[SPARED:-1]
    kept = max(_LEAST, round(len(inside) * chance.uniform(0.6, 0.9)))
    start = chance.randint(0, max(0, len(inside) - kept))
    return Item([*item.ids[:SPARED], *inside[start : start + kept], item.ids[-1]], item.labels)


def soft_targets(teacher: Path, items: list[Item]) -> dict[str, Tensor]:
    """Return per output the exported teacher's answers for all items: probabilities and unit vectors."""
    served = session(teacher / "model.onnx")

    def taught(group: list[int]) -> Any:
        ids, mask = padded([items[at] for at in group])
        return served.run(list(_OUTPUTS), {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})

    order = groups([len(item.ids) for item in items])
    found: dict[str, Any] = {}
    with ThreadPoolExecutor(cores()) as threads:
        for group, answers in zip(order, threads.map(taught, order), strict=True):
            for name, rows in zip(_OUTPUTS, answers, strict=True):
                found.setdefault(name, np.empty((len(items), rows.shape[1]), np.float32))[group] = rows
    return {name: torch.from_numpy(rows) for name, rows in found.items()}


def corpora_of(data: Path) -> list[Corpus]:
    """Return every corpus; our own mentions have `_OWN_SHARE` of the batches."""
    posts, own = posts_and_others(own_corpora(own_files()))
    public, own = sentiment_corpora(data) + posts + auxiliary_corpora(data), own + real_corpora(data)
    for part, share in ((public, 1 - _OWN_SHARE), (own, _OWN_SHARE)):
        weights = [corpus.share if part is public else len(corpus.train) ** 0.7 for corpus in part]
        for corpus, weight in zip(part, weights, strict=True):
            corpus.share = share * weight / sum(weights)
    return public + own


class Distiller:
    """The losses of one run against a teacher's opinions."""

    def __init__(self, plan: Plan) -> None:
        """Build the student, tokenise all texts, and have or load the teacher's answers."""
        torch.manual_seed(plan.seed)
        self.plan = plan
        if plan.start:
            check_same_words(plan.start, plan.checkpoint)
            student = load_checkpoint(plan.start, "eager")
        else:
            student = student_of(load_checkpoint(plan.checkpoint, "eager"), plan.layers, plan.inner)
        quicken(student, _DROPPED)
        self.run = Run(student, Pace(plan.out, plan.minutes, plan.rate))
        self.corpora = [corpus for corpus in corpora_of(plan.data) if corpus.train]
        self.encoder = TextEncoder(
            Tokenizer.from_file(str(plan.checkpoint / "tokenizer.json")), PREFIX, plan.max_tokens
        )
        self.weights = {c.name: class_weights(c, 0.5) for c in self.corpora}
        self.shares = self._numbered()
        self.targets = self._targets([item for _, items in self.shares.values() for item in items])

    def _numbered(self) -> dict[str, tuple[float, list[Item]]]:
        shares: dict[str, tuple[float, list[Item]]] = {}
        count, chance = 0, random.Random(self.plan.seed)
        for corpus in self.corpora:
            items = tokenise(self.encoder, corpus.train)
            varied = [] if corpus.name in _PLENTY else [variant(item, chance) for item in items]
            numbered = [Item(item.ids, item.labels, row) for row, item in enumerate(items + varied, start=count)]
            shares[corpus.name] = (corpus.share, numbered)
            count += len(numbered)
        return shares

    def _targets(self, items: list[Item]) -> dict[str, Tensor]:
        """Return the teacher's answers; those of an earlier start are taken if texts and teacher are the same."""
        path = self.plan.out / "targets.npz"
        teacher = checksum(self.plan.teacher / "model.onnx").sha256
        asked = np.array(zlib.crc32(repr([teacher, *(item.ids for item in items)]).encode()))
        stored = np.load(path) if path.exists() else {}
        if _ASKED not in stored or stored[_ASKED] != asked:
            self.plan.out.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            made = soft_targets(self.plan.teacher, items)
            print(f"{len(items)} texts taught in {time.monotonic() - began:.0f} s", flush=True)
            np.savez(path, **{name: rows.numpy() for name, rows in made.items()} | {_ASKED: asked})
        return {name: torch.from_numpy(rows) for name, rows in np.load(path).items() if name != _ASKED}

    def distil(self) -> None:
        """Train until the budget is spent, then write the checkpoint folder."""
        self.run.through(drawn(self.shares, self.plan.size, self.plan.seed + self.run.steps), self.loss)
        save_checkpoint(self.run.network, self.plan.checkpoint, self.plan.out)
        self.run.network.encoder.config.save_pretrained(self.plan.out)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return divergence from the teacher's opinions, loss on people's labels and 1 - cosine of vectors, weighed."""
        with quick():
            ids = hidden(batch.ids, batch.mask, _HIDDEN, SPARED)
            pooled = self.run.network.pooled(ids, batch.mask)
        opinion, truth = torch.zeros(()), torch.zeros(())
        for task in LABELS:
            logits = self.run.network.heads[task](pooled)
            wanted = self.targets[task][batch.rows]
            entropy = -(wanted * wanted.clamp(min=1e-9).log()).sum(-1).mean()
            opinion = opinion + _WEIGHTS.get(task, 1.0) * (cross_entropy(logits, wanted) - entropy)
            if task in batch.labels:
                truth = truth + cross_entropy(logits, batch.labels[task], weight=self.weights[batch.name][task])
        meaning = 1 - (normalize(pooled, dim=-1) * self.targets["embedding"][batch.rows]).sum(-1).mean()
        parts = {"opinion": opinion.item(), "truth": float(truth.detach()), "meaning": meaning.item()}
        return opinion + _TRUTH * truth + _MEANING * meaning, parts


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--inner", type=int, default=768)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--max-tokens", type=int, default=80)
    parser.add_argument("--seed", type=int, default=30)
    parser.add_argument(
        "--start",
        type=Path,
        default=None,
        help="an older student of the same words to go on from; its shape stays, whatever --layers says",
    )
    plan = Plan(**vars(parser.parse_args()))
    check_same_prefix(plan.teacher)
    Distiller(plan).distil()


if __name__ == "__main__":
    main()
