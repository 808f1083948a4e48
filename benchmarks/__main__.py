"""`make bench`: run every benchmark and write its table, with the command that made it, into docs/benchmarks.md.

A table that was measured beside peers is not replaced by one without them: where a benchmark's `PEERS` (packages) are
not installed, its part of the page stays as it is, and the command says so.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PARTS = (
    ("The whole pipeline", "bench_pipeline"),
    ("The scorer", "bench_scorer"),
    ("Matching", "bench_matching"),
    ("The store", "bench_store"),
    ("The engine", "bench_engine"),
)
HEAD = """\
# Benchmarks

Written by `make bench`. Machines are noisy: read the ratios between the rows of one table, not the seconds. Each table
says which command made it, when and where.
"""


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(module: str) -> str:
    """Return what a benchmark prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def absent_peers(module: str) -> list[str]:
    """Return the packages that a benchmark compares with and that are not installed."""
    peers: tuple[str, ...] = getattr(importlib.import_module(f"benchmarks.{module}"), "PEERS", ())
    return [name for name in peers if importlib.util.find_spec(name) is None]


def part(title: str, module: str, before: str) -> str:
    """Return a renewed part of the page, or the one before where the new one would lack the peers."""
    absent = absent_peers(module)
    if absent and before:
        print(f"{module}: its table stays as it was, for the peers in it need {', '.join(absent)}.")
        print("  To measure it anew: pip install 'warroom[gpu]'")
        return f"## {title}\n\n{before}\n"
    print(f"{module} ...", flush=True)
    where = f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    stamp = f"{datetime.now(UTC):%Y-%m-%d}, {where}, `python -m benchmarks.{module}`"
    return f"## {title}\n\n{stamp}\n\n{table(module)}\n"


def main() -> None:
    """Write the page; name benchmarks to renew only their parts of it."""
    chosen = sys.argv[1:] or [module for _, module in PARTS]
    if unknown := set(chosen) - {module for _, module in PARTS}:
        raise SystemExit(f"no benchmark is called {', '.join(sorted(unknown))}")
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    parts = [HEAD]
    for title, module in PARTS:
        before = old.partition(f"## {title}\n")[2].partition("\n## ")[0].strip()
        if module in chosen:
            parts.append(part(title, module, before))
        else:
            parts.append(f"## {title}\n\n{before}\n" if before else "")
    PAGE.write_text("\n".join(part for part in parts if part), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
