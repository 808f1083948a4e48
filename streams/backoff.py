"""How long to wait before trying again: exponential with full jitter, so that many who failed together come back apart.

Owns the one formula of the program. Does not own the waiting, nor what counts as a failure.
"""

from __future__ import annotations

import random
from typing import Final

_STEPS: Final = 16


class Backoff:
    """Delays in seconds, each drawn from zero to a ceiling that doubles from `least` to `most`."""

    def __init__(self, least: float, most: float, draw: random.Random | None = None) -> None:
        self._least = least
        self._most = most
        self._draw = draw or random.Random()  # noqa: S311  no secret hangs on a delay
        self._failures = 0

    def next(self) -> float:
        """Return the delay after one more failure."""
        ceiling = min(self._most, self._least * 2.0 ** min(self._failures, _STEPS))
        self._failures += 1
        return self._draw.uniform(0.0, ceiling)

    def reset(self) -> None:
        """Begin again at `least`: something went well."""
        self._failures = 0
