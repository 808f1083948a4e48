"""Health that comes from progress: a role is well while its loop goes round, not because its process is up.

Owns the verdict over the parts that report. Does not own the parts' loops. `starting` before the first round, `failing`
when a loop has not gone round for `STUCK` seconds; the process is as well as its worst part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

State = Literal["ok", "starting", "failing"]
STUCK: Final = 60.0
GRACE: Final = 120.0
_ORDER: Final[tuple[State, ...]] = ("ok", "starting", "failing")


@dataclass
class Health:
    """The parts of one process, each a callable that says when it last went round. Times are seconds since 1970."""

    clock: Callable[[], float]
    parts: dict[str, tuple[float, Callable[[], float | None]]] = field(default_factory=dict)

    def watch(self, name: str, last: Callable[[], float | None]) -> None:
        """Add a part; `last` returns the time of its last round, or None before the first."""
        self.parts[name] = (self.clock(), last)

    def forget(self, name: str) -> None:
        """Drop a part that came to its end."""
        self.parts.pop(name, None)

    def states(self) -> dict[str, State]:
        """Return each part's state."""
        return {name: self._state(since, last()) for name, (since, last) in self.parts.items()}

    def _state(self, since: float, last: float | None) -> State:
        now = self.clock()
        if last is None:
            return "starting" if now - since < GRACE else "failing"
        return "ok" if now - last < STUCK else "failing"

    def verdict(self) -> State:
        """Return the worst state of all parts."""
        return max(self.states().values(), key=_ORDER.index, default="starting")
