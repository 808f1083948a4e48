"""Whole `warroom` processes for tests: started, killed, stopped and started again on one place.

Owns the environment, the printed address, the output and the cleaning up. Does not own what a process is fed or asked.
Nothing of the test's own environment gets in but paths: a setting that a developer has exported can't change a result.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from app.settings import PREFIX
from tests.brokers import free_ports

ROOT: Final = Path(__file__).resolve().parent.parent
START_WITHIN: Final = 60.0
_ADDRESS: Final = re.compile(r"(http://127\.0\.0\.1:\d+)")


class ProcessDied(AssertionError):
    """A process ended that should run; the message holds the end of what it said."""


@dataclass
class WarRoom:
    """One running `warroom` command. `output` and `errors` are files that grow."""

    arguments: Sequence[str]
    popen: subprocess.Popen[bytes]
    output: Path
    errors: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def said(self) -> str:
        """Return what it printed, standard error last."""
        return self.output.read_text("utf-8", "replace") + self.errors.read_text("utf-8", "replace")

    def address(self, within: float = START_WITHIN) -> str:
        """Return where it is open, once it says so."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found = _ADDRESS.search(self.output.read_text("utf-8", "replace"))
            if found:
                return found[1]
            if not self.running:
                break
            time.sleep(0.05)
        raise ProcessDied(f"{' '.join(self.arguments)} is not open after {within} s:\n{self.said()[-4000:]}")

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.popen.kill()
        self.popen.wait(10)

    def stop(self, within: float = 10.0) -> int:
        """Ask it to stop and return its exit code; an error if it has not ended in time."""
        self.popen.send_signal(signal.SIGTERM)
        return self.wait(within)

    def wait(self, within: float) -> int:
        """Return its exit code; an error with what it said if it does not end in time."""
        try:
            return self.popen.wait(within)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ProcessDied(
                f"{' '.join(self.arguments)} has not ended after {within} s:\n{self.said()[-4000:]}"
            ) from error


@dataclass
class Place:
    """What the processes of one test share: a folder, a configuration, an environment."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    processes: list[WarRoom] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "warroom.yaml"

    def configure(self, text: str) -> None:
        """Write the configuration."""
        self.config.write_text(text, encoding="utf-8")

    def pin_port(self) -> int:
        """Keep to one free port, so that a process that starts again is where it was."""
        port = free_ports(1)
        self.settings["port"] = str(port)
        return port

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process: ours without any WARROOM_ variable, and the settings."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        chosen = {
            "config": str(self.config),
            "data": str(self.data),
            "port": "0",
            "log_format": "json",
            **self.settings,
            **(settings or {}),
        }
        return {**own, "PYTHONUNBUFFERED": "1", **{PREFIX + name.upper(): value for name, value in chosen.items()}}

    def start(self, *arguments: str, **settings: str) -> WarRoom:
        """Start `warroom ARGUMENTS` and return at once."""
        number = len(self.processes)
        output, errors = self.folder / f"{number}.out", self.folder / f"{number}.err"
        with output.open("wb") as out, errors.open("wb") as err:
            popen = self._popen(arguments, settings, out, err)
        process = WarRoom(arguments, popen, output, errors)
        self.processes.append(process)
        return process

    def _popen(
        self, arguments: Sequence[str], settings: Mapping[str, str], out: IO[bytes], err: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "app.commands", *arguments],
            cwd=ROOT,
            env=self.environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )

    def run(
        self, *arguments: str, within: float = 60.0, said: bytes = b"", **settings: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `warroom ARGUMENTS` to its end, with `said` on its standard input."""
        return subprocess.run(
            [sys.executable, "-m", "app.commands", *arguments],
            cwd=ROOT,
            env=self.environment(settings),
            input=said,
            capture_output=True,
            timeout=within,
            check=False,
        )

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.processes:
            if process.running:
                process.kill()


@contextmanager
def place(folder: Path, **settings: str) -> Iterator[Place]:
    """Give a place for processes that are all ended in the end."""
    opened = Place(folder, dict(settings))
    try:
        yield opened
    finally:
        opened.close()
