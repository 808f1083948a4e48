"""One command from the base weights to the shipped folders: every step in its order, finished ones skipped.

Owns the order, the budgets and the seeds of the shipped recipe. Does not own any step.

    python -m nlp.training.recipe --data FOLDER [--work build] [--hours 4]

Needs the extra `gpu` and FOLDER with the public sets (docs/model-card.md). An interrupted run is repeated as it was
called: steps that are done are skipped, training goes on from its last save. The shipped folders nlp/weights/small and
nlp/weights/fast are replaced at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WEIGHTS: Final = Path(__file__).parents[1] / "weights"
_FOLDERS: Final = ("base", "sentiment", "all", "posts", "mean", "again", "small", "fast")
_DONE: Final = "heads.json"
"""What a checkpoint folder has once its step is complete."""


@dataclass(frozen=True, slots=True)
class Step:
    """One module with its arguments; `makes` exists once the step is done, None if it is always run."""

    module: str
    arguments: tuple[str, ...]
    makes: Path | None = None


def steps(data: Path, work: Path, hours: float) -> list[Step]:
    """Return the steps; `hours` is what the trainings share: the shipped files took about seven on two cores, in parts.

    The third training leans towards public posts again, and the mean of its start and its end keeps what both know. To
    train on from that mean for a short while and to take the mean once more was worth more than a longer one the first
    time.
    """
    base, sentiment, every, posts, mean, again, small, thin = (work / name for name in _FOLDERS)
    short = ("--max-tokens", "80")
    kinds: tuple[tuple[Path, float, tuple[str, ...]], ...] = (
        (sentiment, 0.2, ("--stage", "sentiment", "--last-rate", "6e-5")),
        (every, 0.3, (*short, "--seed", "21", "--rate", "1.5e-4", "--start", str(sentiment))),
        (posts, 0.15, (*short, "--seed", "22", "--rate", "9e-5", "--start", str(every), "--own-share", "0.2")),
        (again, 0.1, (*short, "--seed", "23", "--rate", "1.1e-4", "--start", str(mean), "--own-share", "0.42")),
    )
    own = ("--data", str(data))
    *first, last = (
        Step("nlp.training.train", (str(base), str(out), *own, *rest, "--minutes", _minutes(hours, share)), out / _DONE)
        for out, share, rest in kinds
    )
    student = (str(small), str(WEIGHTS / "small"), str(thin), *own, "--minutes", _minutes(hours, 0.25))
    return [
        Step("nlp.training.vocabulary", (str(base),), base / "words.npz"),
        *first,
        Step("nlp.training.average", (str(mean), f"{every}=0.55", f"{posts}=0.45"), mean / _DONE),
        last,
        Step("nlp.training.average", (str(small), f"{again}=0.7", f"{mean}=0.3"), small / _DONE),
        Step("nlp.training.export", (str(small), str(WEIGHTS / "small"), *own)),
        Step("nlp.training.distil", student, thin / _DONE),
        Step("nlp.training.export", (str(thin), str(WEIGHTS / "fast"), *own, "--fine", "0")),
        Step("nlp.training.measure", own),
    ]


def _minutes(hours: float, share: float) -> str:
    return str(round(60 * hours * share, 1))


def run(todo: list[Step]) -> None:
    """Run what is not done yet; the first step that fails ends it with that step's exit code."""
    for step in todo:
        command = [sys.executable, "-m", step.module, *step.arguments]
        if step.makes is not None and step.makes.exists():
            print(f"done before: {step.module} -> {step.makes.parent}", flush=True)
            continue
        print(f"== {' '.join(command[2:])}", flush=True)
        if code := subprocess.run(command, check=False).returncode:  # noqa: S603  our own modules
            raise SystemExit(code)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--work", type=Path, default=Path("build"), help="folder for checkpoints, about 2 GB")
    parser.add_argument("--hours", type=float, default=4.0, help="time for all trainings together")
    args = parser.parse_args()
    run(steps(args.data, args.work, args.hours))


if __name__ == "__main__":
    main()
