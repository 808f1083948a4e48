"""One command from the base weights to the shipped folders: every step in its order, finished ones skipped.

Owns the order, the budgets and the seeds of the shipped recipe. Does not own any step.

    python -m nlp.training.recipe --data FOLDER [--work build] [--hours 3]

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
_DONE: Final = "heads.json"
"""What a checkpoint folder has once its step is complete."""


@dataclass(frozen=True, slots=True)
class Step:
    """One module with its arguments; `makes` exists once the step is done, None if it is always run."""

    module: str
    arguments: tuple[str, ...]
    makes: Path | None = None


def steps(data: Path, work: Path, hours: float) -> list[Step]:
    """Return the steps; `hours` is what the trainings share: on two cores three give the published figures."""
    base, first, second, thin = (work / name for name in ("base", "sentiment", "all", "fast"))
    minutes = {name: str(round(60 * hours * share, 1)) for name, share in (("s", 0.25), ("a", 0.45), ("f", 0.3))}
    own = ("--data", str(data))
    rest = ("--minutes", minutes["a"], "--rate", "1.5e-4", "--max-tokens", "80", "--seed", "21")
    train, export = "nlp.training.train", "nlp.training.export"
    return [
        Step("nlp.training.vocabulary", (str(base),), base / "words.npz"),
        Step(
            train,
            (str(base), str(first), *own, "--stage", "sentiment", "--minutes", minutes["s"], "--last-rate", "6e-5"),
            first / _DONE,
        ),
        Step(
            train,
            (str(base), str(second), *own, "--start", str(first), *rest),
            second / _DONE,
        ),
        Step(export, (str(second), str(WEIGHTS / "small"), *own)),
        Step(
            "nlp.training.distil",
            (str(second), str(WEIGHTS / "small"), str(thin), *own, "--minutes", minutes["f"]),
            thin / _DONE,
        ),
        Step(export, (str(thin), str(WEIGHTS / "fast"), *own)),
        Step("nlp.training.measure", own),
    ]


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
    parser.add_argument("--hours", type=float, default=3.0, help="time for all trainings together")
    args = parser.parse_args()
    run(steps(args.data, args.work, args.hours))


if __name__ == "__main__":
    main()
