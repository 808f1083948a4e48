"""Which numbers a step of training computes with on this CPU: bfloat16 where that is faster, else float32.

Owns that choice alone. A processor with AVX-512 or AMX gains a half and more by bfloat16; one without (AVX2 alone) has
to imitate it, and a step was seen to take 25 times as long. So both are tried on a product before the first step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import torch

_ROWS, _WIDTH = 512, 384
_ROUNDS: Final = 3


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
    """Return bfloat16 or float32, whichever `measure` gives the shorter time."""
    return min((torch.bfloat16, torch.float32), key=measure)


@cache
def _chosen() -> torch.dtype:
    return faster()


def quick() -> torch.autocast:
    """Return a context in which the encoder computes with the faster kind of numbers; asked anew for each step."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=_chosen() is torch.bfloat16)
