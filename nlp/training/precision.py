"""Which numbers a step of training computes with on this CPU: bfloat16 where that is clearly faster, else float32.

Owns that choice alone. A processor with instructions for it (AVX512-BF16, AMX) gains by bfloat16; one with AVX2 alone
has to imitate it, and a step was seen to take 27 times as long. So both are tried on a product, once a process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import torch

_ROWS, _WIDTH = 512, 384
_ROUNDS: Final = 10
_CLEARLY: Final = 0.8
"""What bfloat16 may take of the time of float32: where both are alike, noise must not choose."""


def seconds(kind: torch.dtype) -> float:
    """Return the shortest time of a few products of the size that an encoder layer has, in numbers of `kind`."""
    left, right = torch.ones(_ROWS, _WIDTH, dtype=kind), torch.ones(_WIDTH, _WIDTH, dtype=kind)
    taken = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        left @ right
        taken.append(time.perf_counter() - began)
    return min(taken)


def faster(measure: Callable[[torch.dtype], float] = seconds) -> torch.dtype:
    """Return bfloat16 if `measure` gives it a clearly shorter time, else float32."""
    short = measure(torch.bfloat16) < _CLEARLY * measure(torch.float32)
    return torch.bfloat16 if short else torch.float32


@cache
def _chosen() -> torch.dtype:
    chosen = faster()
    print(f"training computes in {chosen}", flush=True)
    return chosen


def quick() -> torch.autocast:
    """Return a context, good for one step, in which the encoder computes with the faster kind of numbers."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=_chosen() is torch.bfloat16)
