"""The training loop: many tasks, one encoder, a time budget instead of a number of steps.

Owns the optimiser, the schedule and resuming. Does not own data (`corpora`), shapes (`batches`) or export (`export`).

    python -m nlp.training.train BASE OUT --data FOLDER --minutes 75 --stage sentiment
    python -m nlp.training.train BASE OUT2 --data FOLDER --minutes 25 --stage all --start OUT

BASE is what `nlp.training.vocabulary` wrote. OUT becomes a checkpoint folder; `OUT/resume.pt` is saved every three
minutes, and the same command goes on from it. Held-out macro-F1 is looked at every seven minutes: the best state is
what is written, and three looks without a better one end the run. The seed fixes initial heads and the order of
batches; the number of steps depends on the machine, since the learning rate falls with the elapsed share of the budget.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from nlp.network import PREFIX, Network, from_base, load_checkpoint, save_checkpoint
from nlp.tokens import TextEncoder
from nlp.training.batches import Batch, class_weights, mixed
from nlp.training.corpora import EVENT, TASKS, Corpus, auxiliary_corpora, own_corpora, own_files, sentiment_corpora
from nlp.training.early_stop import EarlyStop
from nlp.training.real_texts import real_corpora

_SAVE_EVERY: Final = 180.0
_LOOK_EVERY: Final = 420.0
_PATIENCE: Final = 3
_SMOOTHING: Final = 0.05
_OWN_SHARE: Final = 0.5
"""Share of the batches of stage `all` that come from our own mentions; they carry three labels each."""
_MEANING: Final = 0.3
"""Weight of drawing the texts of one event together, beside their labels."""
_SHARPNESS: Final = 0.05
_WARM_UP: Final = 100
_REPORT_EVERY: Final = 50


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


def corpora_of(plan: Plan) -> list[Corpus]:
    """Return the corpora of the plan's stage with their shares of the batches."""
    public = sentiment_corpora(plan.data) + auxiliary_corpora(plan.data)
    if plan.stage == "sentiment":
        return public
    own = own_corpora(own_files()) + real_corpora(plan.data)
    for corpus in public:
        corpus.share *= 1 - _OWN_SHARE
    for corpus in own:
        corpus.share = _OWN_SHARE * len(corpus.train) / sum(len(c.train) for c in own)
    return public + own


class Trainer:
    """One run: holds the network, the optimiser and how far it got."""

    def __init__(self, plan: Plan) -> None:
        """Build network and optimiser, and continue from `resume.pt` if there is one."""
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.network = load_checkpoint(plan.start) if plan.start else from_base(plan.base, TASKS)
        self.network.freeze_words()
        self.optimiser = optimiser_of(self.network, plan.rate)
        self.steps, self.elapsed = 0, 0.0
        self._losses: dict[str, list[float]] = defaultdict(list)
        self._resume_file = plan.out / "resume.pt"
        if self._resume_file.exists():
            self._restore(torch.load(self._resume_file, weights_only=True))

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.elapsed = state["steps"], state["elapsed"]
        print(f"resumed at step {self.steps}, {self.elapsed / 60:.1f} minutes", flush=True)

    def _save(self) -> None:
        frozen = {name for name, value in self.network.named_parameters() if not value.requires_grad}
        network = {name: value for name, value in self.network.state_dict().items() if name not in frozen}
        state = {"network": network, "optimiser": self.optimiser.state_dict()}
        self.plan.out.mkdir(parents=True, exist_ok=True)
        partial = self._resume_file.with_suffix(".part")
        torch.save(state | {"steps": self.steps, "elapsed": self.elapsed}, partial)
        partial.replace(self._resume_file)

    def run(self) -> None:
        """Train until the budget is spent or nothing gets better, then write the best state as a checkpoint folder."""
        corpora = corpora_of(self.plan)
        encoder = TextEncoder(Tokenizer.from_file(str(self.plan.base / "tokenizer.json")), PREFIX, self.plan.max_tokens)
        weights = {corpus.name: class_weights(corpus, 0.7) for corpus in corpora}
        for corpus in corpora:
            print(
                f"{corpus.name}: {len(corpus.train)} train, {len(corpus.dev)} dev, share {corpus.share:.3f}", flush=True
            )
        self.network.train()
        watch = EarlyStop(corpora, encoder, _LOOK_EVERY, _PATIENCE, next_at=self.elapsed + _LOOK_EVERY)
        last_saved = self.elapsed
        for batch in mixed(corpora, encoder, self.plan.size, self.plan.seed + self.steps):
            began = time.monotonic()
            self._step(batch, weights[batch.name])
            self.elapsed += time.monotonic() - began
            if self.elapsed - last_saved > _SAVE_EVERY:
                self._save()
                last_saved = self.elapsed
            ended = self.elapsed >= self.plan.minutes * 60
            if (ended or watch.due(self.elapsed)) and watch.look(self.network, self.elapsed):
                print("no better for a while: stopped early", flush=True)
                break
            if ended:
                break
        watch.restore(self.network)
        save_checkpoint(self.network, self.plan.base, self.plan.out)

    def _step(self, batch: Batch, weights: dict[str, Tensor]) -> None:
        done = min(1.0, self.elapsed / (self.plan.minutes * 60))
        set_rates(self.optimiser, self.steps, done, self.plan.last_rate / self.plan.rate)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = self.network.pooled(batch.ids, batch.mask)
        loss = torch.zeros(())
        for task, labels in batch.labels.items():
            if task == EVENT:
                part = _MEANING * meaning_loss(pooled, labels)
            else:
                logits = self.network.heads[task](pooled)
                part = cross_entropy(logits, labels, weight=weights[task], label_smoothing=_SMOOTHING)
            self._losses[task].append(part.item())
            loss = loss + part
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.steps += 1
        if self.steps % _REPORT_EVERY == 0:
            self._report()

    def _report(self) -> None:
        means = " ".join(f"{task} {sum(seen) / len(seen):.3f}" for task, seen in sorted(self._losses.items()))
        rate = self.optimiser.param_groups[0]["lr"]
        print(f"step {self.steps} minute {self.elapsed / 60:.1f} lr {rate:.1e} loss: {means}", flush=True)
        self._losses.clear()


def meaning_loss(pooled: Tensor, events: Tensor) -> Tensor:
    """Return how far the texts of one event are from being each other's nearest (supervised contrastive loss).

    `pooled` (count, hidden), `events` (count) of event numbers; other events of the batch are what they are told from.
    """
    unit = normalize(pooled, dim=-1)
    alone = torch.eye(len(events), dtype=torch.bool)
    near = (unit @ unit.T / _SHARPNESS).masked_fill(alone, -1e4).log_softmax(-1)
    same = (events[:, None] == events[None, :]) & ~alone
    return -(near * same).sum() / same.sum().clamp(min=1)


def set_rates(optimiser: torch.optim.Optimizer, steps: int, done: float, floor: float) -> None:
    """Warm up, then fall in a line to the share `floor` of the full rates; `done` is the spent share of the budget."""
    scale = min(1.0, (steps + 1) / _WARM_UP) * (1.0 - (1.0 - floor) * done)
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * scale


def optimiser_of(network: Network, rate: float) -> torch.optim.AdamW:
    """Return AdamW with a ten times higher rate for the fresh heads and no decay of vectors."""
    encoder = [p for p in network.encoder.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in encoder if p.ndim > 1], "lr": rate, "weight_decay": 0.01},
        {"params": [p for p in encoder if p.ndim == 1], "lr": rate, "weight_decay": 0.0},
        {"params": list(network.heads.parameters()), "lr": 10 * rate, "weight_decay": 0.01},
    ]
    for group in groups:
        group["full_rate"] = group["lr"]
    return torch.optim.AdamW(groups)


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
    Trainer(Plan(**vars(parser.parse_args()))).run()


if __name__ == "__main__":
    main()
