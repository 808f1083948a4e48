"""Training on labelled texts: many tasks, one encoder.

Owns the losses and the shares of the corpora. Does not own the loop (`run`), data (`corpora`), shapes (`batches`) or
export (`export`).

    python -m nlp.training.train BASE OUT --data FOLDER --minutes 75 --stage sentiment
    python -m nlp.training.train BASE OUT2 --data FOLDER --minutes 25 --stage all --start OUT

BASE is what `nlp.training.vocabulary` wrote. OUT becomes a checkpoint folder. Held-out macro-F1 is looked at every
nine minutes: the best state is what is written, and three looks without a better one end the run. The seed fixes
initial heads and the order of batches.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from nlp.network import PREFIX, from_base, load_checkpoint, save_checkpoint
from nlp.scorer import SENTIMENT
from nlp.tokens import TextEncoder
from nlp.training import second_opinions
from nlp.training.batches import Batch, class_weights, mixed
from nlp.training.corpora import (
    EVENT,
    TASKS,
    Corpus,
    auxiliary_corpora,
    own_corpora,
    own_files,
    posts_and_others,
    sentiment_corpora,
)
from nlp.training.early_stop import EarlyStop
from nlp.training.precision import quick
from nlp.training.real_texts import real_corpora
from nlp.training.run import Pace, Run, hidden, quicken

_LOOK_EVERY: Final = 540.0
_PATIENCE: Final = 3
_SMOOTHING: Final = 0.05
_BALANCE: Final = 0.5
"""Power of the inverse frequency by which rare classes count more."""
_DROPPED: Final = 0.1
_HIDDEN: Final = 0.1
SPARED: Final = 1
"""The start of every text is never hidden."""
_REAL: Final = 2.5
"""How often a real post with our labels is drawn beside a mention that we wrote: live streams are made of real ones."""
_MEANING: Final = 0.3
"""Weight of drawing the texts of one event together, beside their labels."""
_SHARPNESS: Final = 0.05
_TRUST: Final = 0.5
"""Weight of a second annotator's opinion beside the set's own label."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is: files, budget and rates."""

    base: Path
    out: Path
    data: Path
    stage: str
    minutes: float
    start: Path | None
    rate: float
    last_rate: float
    size: int
    max_tokens: int
    seed: int
    own_share: float
    layer_fall: float = 1.0


def corpora_of(plan: Plan) -> list[Corpus]:
    """Return the corpora of the plan's stage with their shares of the batches."""
    posts, own = posts_and_others(own_corpora(own_files()))
    judged = second_opinions.with_opinions(sentiment_corpora(plan.data), second_opinions.read())
    public = judged + posts + auxiliary_corpora(plan.data)
    if plan.stage == "sentiment":
        return public
    own += real_corpora(plan.data)
    every = sum(corpus.share for corpus in public)
    for corpus in public:
        corpus.share *= (1 - plan.own_share) / every
    texts = [len(corpus.train) * (_REAL if corpus.name.startswith("real-") else 1) for corpus in own]
    for corpus, count in zip(own, texts, strict=True):
        corpus.share = plan.own_share * count / sum(texts)
    return public + own


class Trainer:
    """The losses of one run on labelled texts."""

    def __init__(self, plan: Plan) -> None:
        """Build the network and read the corpora."""
        torch.manual_seed(plan.seed)
        self.plan = plan
        network = load_checkpoint(plan.start, "eager") if plan.start else from_base(plan.base, TASKS, "eager")
        quicken(network, _DROPPED)
        self.run = Run(network, Pace(plan.out, plan.minutes, plan.rate, plan.last_rate / plan.rate, plan.layer_fall))
        self.encoder = TextEncoder(Tokenizer.from_file(str(plan.base / "tokenizer.json")), PREFIX, plan.max_tokens)
        self.corpora = corpora_of(plan)
        self._weights = {corpus.name: class_weights(corpus, _BALANCE) for corpus in self.corpora}

    def train(self) -> None:
        """Train until the budget is spent or nothing gets better, then write the best state as a checkpoint folder."""
        for corpus in self.corpora:
            sizes = f"{len(corpus.train)} train, {len(corpus.dev)} dev"
            print(f"{corpus.name}: {sizes}, share {corpus.share:.3f}", flush=True)
        watch = EarlyStop(self.corpora, self.encoder, _LOOK_EVERY, _PATIENCE, next_at=self.run.elapsed + _LOOK_EVERY)
        batches = mixed(self.corpora, self.encoder, self.plan.size, self.plan.seed + self.run.steps)
        self.run.through(batches, self.loss, watch)
        save_checkpoint(self.run.network, self.plan.base, self.plan.out)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the summed loss of a batch over the tasks that it is labelled for, and the parts."""
        network, parts = self.run.network, {}
        with quick():
            ids = hidden(batch.ids, batch.mask, _HIDDEN, SPARED)
            pooled = network.pooled(ids, batch.mask)
        total = torch.zeros(())
        for task, labels in batch.labels.items():
            if task == EVENT:
                part = _MEANING * meaning_loss(pooled, labels)
            else:
                wanted = blended(labels, batch.opinions) if task == SENTIMENT else labels
                part = label_loss(network.heads[task](pooled), labels, wanted, self._weights[batch.name][task])
            parts[task] = part.item()
            total = total + part
        return total, parts


def label_loss(logits: Tensor, labels: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the mean loss of `logits` (count, classes), each text weighted by the class of its own label.

    `wanted` are the targets: `labels` themselves or distributions (count, classes); `weights` (classes).
    """
    summed = cross_entropy(logits, wanted, weight=weights, label_smoothing=_SMOOTHING, reduction="sum")
    return summed / weights[labels].sum()


def blended(labels: Tensor, opinions: Tensor, trust: float = _TRUST) -> Tensor:
    """Return targets (count, classes): the label, and to the share `trust` the second opinion where there is one.

    `labels` (count) of class numbers, `opinions` (count, classes) with rows of zeros for none.
    """
    own = one_hot(labels, opinions.shape[1]).float()
    judged = opinions.sum(-1, keepdim=True) > 0
    return torch.where(judged, (1 - trust) * own + trust * opinions, own)


def meaning_loss(pooled: Tensor, events: Tensor) -> Tensor:
    """Return how far the texts of one event are from being each other's nearest (supervised contrastive loss).

    `pooled` (count, hidden), `events` (count) of event numbers; other events of the batch are what they are told from.
    """
    unit = normalize(pooled, dim=-1)
    alone = torch.eye(len(events), dtype=torch.bool)
    near = (unit @ unit.T / _SHARPNESS).masked_fill(alone, -1e4).log_softmax(-1)
    same = (events[:, None] == events[None, :]) & ~alone
    return -(near * same).sum() / same.sum().clamp(min=1)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--stage", choices=("sentiment", "all"), default="all")
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--start", type=Path, default=None, help="checkpoint folder to go on from")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--last-rate", type=float, default=0.0)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--own-share", type=float, default=0.35, help="share of all that we labelled, in stage all")
    parser.add_argument(
        "--layer-fall", type=float, default=1.0, help="share of the rate of the layer behind it that a layer learns at"
    )
    Trainer(Plan(**vars(parser.parse_args()))).train()


if __name__ == "__main__":
    main()
