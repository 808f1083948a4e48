"""A ring of encoded frames that any number of sockets read, each from its own place.

Owns order, bounds and wake-up. Does not own what a frame holds (`hub`) nor sockets (`socket`). Frames are encoded once
and their bytes shared; a reader that fell out of the ring is told so, nothing is queued for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

FRAMES: Final = 300
"""Frames kept: 60 s at 5 Hz."""
MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Encoded:
    """One frame as text, valid for a client that is at `start` <= seq < `seq`."""

    start: int
    seq: int
    text: str


class Ring:
    """Frames of one channel and rate, newest last.

    `newest` gives the channel's own sequence: a snapshot may be ahead of a slow ring, whose next frame covers it.
    """

    def __init__(self, seq: int, newest: Callable[[], int] | None = None) -> None:
        self.seq = seq
        self._newest = newest or (lambda: self.seq)
        self._frames: deque[Encoded] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def append(self, frame: Encoded) -> None:
        """Add the newest frame, drop the oldest beyond the bounds, wake all readers."""
        self._frames.append(frame)
        self._bytes += len(frame.text)
        self.seq = frame.seq
        while len(self._frames) > FRAMES or (self._bytes > MAX_BYTES and len(self._frames) > 1):
            self._bytes -= len(self._frames.popleft().text)
        self.wake()

    def wake(self) -> None:
        """Wake all readers."""
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, seq: int) -> Sequence[Encoded] | None:
        """Return the frames that bring a client from `seq` to the newest; None when they are gone or never were."""
        if self.seq <= seq <= self._newest():
            return ()
        frames = [frame for frame in self._frames if frame.seq > seq]
        if seq > self.seq or not frames or frames[0].start > seq:
            return None
        return frames

    async def wait(self, wait: float) -> None:
        """Return when a frame came, or after `wait` seconds."""
        changed = self._changed
        try:
            async with asyncio.timeout(wait):
                await changed.wait()
        except TimeoutError:
            return
