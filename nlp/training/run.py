"""One training run: steps until a time budget is spent, resumable, with a smoothed copy that is what the run returns.

Owns the optimiser, the rates, resuming, the running mean of the weights and what keeps a network from learning its
texts by heart. Does not own losses (`train`, `distil`), data (`corpora`, `batches`) or the figure that stops a run
(`early_stop`).

`OUT/resume.pt` is saved every three minutes, and the same command goes on from it. The number of steps depends on the
machine, since the learning rate falls with the elapsed share of the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from nlp.network import Network
from nlp.training.batches import UNKNOWN, Batch
from nlp.training.early_stop import EarlyStop

_SAVE_EVERY: Final = 180.0
_WARM_UP: Final = 100
_REPORT_EVERY: Final = 100
_PAUSE: Final = 20.0
"""Seconds that a step counts at most: longer ones were a machine asleep or a run put on hold."""
_MEMORY: Final = 0.999
"""Share of the running mean that a step leaves; it forgets after about a thousand steps."""

Loss = Callable[[Batch], tuple[Tensor, dict[str, float]]]
"""The loss of a batch, and its parts by name for the report."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a run may take and how fast it learns: minutes of steps, the first rate and the last one's share of it.

    `fall` is the share of the next layer's rate that a layer gets.
    """

    out: Path
    minutes: float
    rate: float
    floor: float = 0.0
    fall: float = 1.0


class Steady(nn.Module):  # type: ignore[misc, unused-ignore] # without the extra `gpu` its base is unknown
    """Dropout with one mask for all tokens of a text: as many channels are silenced, with far fewer random numbers.

    On a CPU the random numbers of the plain kind take a fifth of a step (variational dropout, Gal and Ghahramani 2016).
    """

    def __init__(self, share: float) -> None:
        """Silence `share` of the channels while training."""
        super().__init__()
        self.share = share

    def forward(self, states: Tensor) -> Tensor:
        """Return the states (texts, tokens, channels) with some channels at zero and the others louder."""
        if not self.training or not self.share:
            return states
        kept = torch.rand(states.shape[0], 1, states.shape[-1]) >= self.share
        return states * (kept / (1 - self.share)).to(states.dtype)


def quicken(network: Network, share: float) -> None:
    """Replace the dropout of the layers by `Steady` of `share`; attention has none, which would cost as much again."""
    for layer in network.encoder.encoder.layer:
        layer.attention.self.dropout.p = 0.0
        layer.attention.output.dropout = Steady(share)
        layer.output.dropout = Steady(share)
    network.encoder.embeddings.dropout = Steady(share)


def hidden(ids: Tensor, mask: Tensor, share: float, spared: int) -> Tensor:
    """Return ids (texts, tokens) with about `share` of the real tokens behind the first `spared` made unknown.

    A text that lost a word keeps its label: this did what more rounds over the few labelled tweets no longer did.
    """
    lost = (torch.rand(ids.shape) < share) & mask.bool()
    lost[:, :spared] = False
    return ids.masked_fill(lost, UNKNOWN)


def optimiser_of(network: Network, rate: float, fall: float = 1.0) -> torch.optim.AdamW:
    """Return AdamW with a ten times higher rate for the heads and no decay of vectors.

    With `fall` below 1 each layer learns at that share of the rate of the one behind it, embeddings slowest (layer-wise
    rates, Howard and Ruder 2018): what a layer near the words knows is of use to all tasks.
    """
    depth = network.encoder.config.num_hidden_layers
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, value in network.encoder.named_parameters():
        if value.requires_grad:
            at = int(name.split(".")[2]) if name.startswith("encoder.layer.") else -1
            groups.setdefault((at if fall < 1 else depth - 1, value.ndim > 1), []).append(value)
    given = [
        {"params": values, "lr": rate * fall ** (depth - 1 - at), "weight_decay": 0.01 if matrix else 0.0}
        for (at, matrix), values in groups.items()
    ]
    given.append({"params": list(network.heads.parameters()), "lr": 10 * rate, "weight_decay": 0.01})
    for group in given:
        group["full_rate"] = group["lr"]
    return torch.optim.AdamW(given, fused=True)


def set_rates(optimiser: torch.optim.Optimizer, steps: int, done: float, floor: float) -> None:
    """Warm up, then fall in a line to the share `floor` of the full rates; `done` is the spent share of the budget."""
    scale = min(1.0, (steps + 1) / _WARM_UP) * (1.0 - (1.0 - floor) * done)
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * scale


class Run:
    """Holds a network, its running mean, the optimiser and how far they got."""

    def __init__(self, network: Network, pace: Pace) -> None:
        """Freeze the words, and continue from `resume.pt` if there is one."""
        self.network, self.pace = network, pace
        network.freeze_words()
        self.optimiser = optimiser_of(network, pace.rate, pace.fall)
        self.steps, self.elapsed = 0, 0.0
        self._learnt = {name: value for name, value in network.named_parameters() if value.requires_grad}
        self.mean = {name: value.detach().clone() for name, value in self._learnt.items()}
        self._parts: dict[str, list[float]] = {}
        self._file = pace.out / "resume.pt"
        if self._file.exists():
            self._restore(torch.load(self._file, weights_only=True))

    @property
    def done(self) -> float:
        """The spent share of the budget, 0 to 1."""
        return min(1.0, self.elapsed / (self.pace.minutes * 60))

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.mean, self.steps, self.elapsed = state["mean"], state["steps"], state["elapsed"]
        print(f"resumed at step {self.steps}, {self.elapsed / 60:.1f} minutes", flush=True)

    def save(self) -> None:
        """Write `resume.pt`, whole or not at all."""
        state = {"network": {n: p.detach() for n, p in self._learnt.items()}, "optimiser": self.optimiser.state_dict()}
        self.pace.out.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".part")
        torch.save(state | {"mean": self.mean, "steps": self.steps, "elapsed": self.elapsed}, partial)
        partial.replace(self._file)

    def through(self, batches: Iterator[Batch], loss: Loss, watch: EarlyStop | None = None) -> None:
        """Train until the budget is spent or `watch` sees nothing get better.

        The network ends as the best running mean that `watch` saw, without it as the last one.
        """
        self.network.train()
        saved = self.elapsed
        for batch in batches:
            began = time.monotonic()
            self._step(batch, loss)
            self.elapsed += min(time.monotonic() - began, _PAUSE)
            if self.elapsed - saved > _SAVE_EVERY:
                saved = self.elapsed
                self.save()
            ended = self.done >= 1
            if watch and (ended or watch.due(self.elapsed)) and self._looked(watch):
                print("no better for a while: stopped early", flush=True)
                break
            if ended:
                break
        self.network.load_state_dict(self.mean, strict=False)
        if watch:
            watch.restore(self.network)
        self.network.eval()

    def _step(self, batch: Batch, loss: Loss) -> None:
        set_rates(self.optimiser, self.steps, self.done, self.pace.floor)
        total, parts = loss(batch)
        total.backward()  # type: ignore[no-untyped-call, unused-ignore]
        nn.utils.clip_grad_norm_(list(self._learnt.values()), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.steps += 1
        with torch.no_grad():
            share = max(1 - _MEMORY, 1 / (self.steps + 1))
            torch._foreach_lerp_(list(self.mean.values()), [p.detach() for p in self._learnt.values()], share)
        for name, value in parts.items():
            self._parts.setdefault(name, []).append(value)
        if self.steps % _REPORT_EVERY == 0:
            self._report()

    def _looked(self, watch: EarlyStop) -> bool:
        """Judge the running mean in the network's place; return whether it is time to stop."""
        now = {name: value.detach().clone() for name, value in self._learnt.items()}
        self.network.load_state_dict(self.mean, strict=False)
        stop = watch.look(self.network, self.elapsed)
        self.network.load_state_dict(now, strict=False)
        return stop

    def _report(self) -> None:
        means = " ".join(f"{name} {sum(seen) / len(seen):.3f}" for name, seen in sorted(self._parts.items()))
        rate = self.optimiser.param_groups[0]["lr"]
        print(f"step {self.steps} minute {self.elapsed / 60:.1f} lr {rate:.1e} loss: {means}", flush=True)
        self._parts.clear()
