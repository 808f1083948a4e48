"""The two settings in which the same end-to-end tests run: one process on files, or five on a broker and PostgreSQL.

Owns which processes there are and how they are told of each other. Does not own what is fed to them or expected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import httpx

from app.roles import ROLES
from tests.brokers import Broker
from tests.process import Place, WarRoom

EMBEDDED: Final = "embedded"
DISTRIBUTED: Final = "distributed"
_SAMPLE: Final = re.compile(r"^(warroom_\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)


@dataclass
class Lane:
    """A place, the processes that make up one War Room in it, and its database's address."""

    name: str
    place: Place
    database: str
    broker: Broker | None = None
    running: dict[str, WarRoom] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the processes: `up`, or one for each role."""
        return ROLES if self.broker is not None else ("up",)

    def start(self, part: str) -> WarRoom:
        """Start one process."""
        self.running[part] = self.place.start(*(("up",) if part == "up" else ("run", part)), **self._port(part))
        return self.running[part]

    def _port(self, part: str) -> dict[str, str]:
        # A pinned port is the walls'; the other roles take any.
        return {} if part in {"up", "serve"} else {"port": "0"}

    def start_all(self) -> None:
        """Start all processes and return when each is open."""
        for part in self.parts:
            self.start(part)
        for process in self.running.values():
            process.address()

    @property
    def wall(self) -> str:
        """The address of the process that serves walls."""
        return self.running["up" if self.broker is None else "serve"].address()

    def stop_all(self) -> dict[str, int]:
        """Stop all processes and return their exit codes."""
        return {part: process.stop(20.0) for part, process in self.running.items() if process.running}

    def counters(self, source: str) -> Counter[str]:
        """Return the sums over all processes of the mention counters of a source, from /metrics."""
        found: Counter[str] = Counter()
        for process in self.running.values():
            text = httpx.get(f"{process.address()}/metrics").raise_for_status().text
            found.update({name: int(value) for name, value in _of(text, source)})
        return found

    def said(self) -> str:
        """Return the end of what each process said, for a failure's report."""
        return "\n".join(f"--- {part}\n{process.said()[-1500:]}" for part, process in self.running.items())


def _of(text: str, source: str) -> Iterator[tuple[str, float]]:
    for name, labels, value in _SAMPLE.findall(text):
        if f'source="{source}"' in labels and name.startswith("warroom_mentions_"):
            yield name.removeprefix("warroom_mentions_").removesuffix("_total"), float(value)
