"""The weighted mean of checkpoints that grew out of one another: one network that is as good at what each was best at.

Owns the mean. Does not own checkpoints (`nlp.network`) or the choice of the weights.

    python -m nlp.training.average OUT CHECKPOINT=0.35 CHECKPOINT=0.45 CHECKPOINT=0.2

A training that goes on with other shares of the corpora gains on some and loses on others; between its start and its
end lies a network that keeps most of both (model soups, Wortsman et al. 2022). It costs nothing when it is served.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from nlp.network import Network, load_checkpoint, prefix_of, save_checkpoint


def mean_of(parts: list[tuple[Path, float]]) -> Network:
    """Return the mean network of (checkpoint folder, weight); ValueError where weights or networks don't fit."""
    if not math.isclose(sum(weight for _, weight in parts), 1.0, abs_tol=1e-6):
        raise ValueError(f"the weights must add up to 1, not {sum(weight for _, weight in parts):g}")
    mean, *others = (load_checkpoint(folder) for folder, _ in parts)
    state = {name: value * parts[0][1] for name, value in mean.state_dict().items() if value.is_floating_point()}
    for other, (folder, weight) in zip(others, parts[1:], strict=True):
        theirs = other.state_dict()
        if other.labels != mean.labels or any(theirs[name].shape != value.shape for name, value in state.items()):
            raise ValueError(f"{folder}: another network than {parts[0][0]}")
        state = {name: value + weight * theirs[name] for name, value in state.items()}
    mean.load_state_dict(state, strict=False)
    return mean


def part(text: str) -> tuple[Path, float]:
    """Return folder and weight of FOLDER=WEIGHT."""
    folder, _, weight = text.rpartition("=")
    return Path(folder), float(weight)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("parts", type=part, nargs="+", metavar="CHECKPOINT=WEIGHT")
    args = parser.parse_args()
    first = args.parts[0][0]  # the one that the mean is read like
    save_checkpoint(mean_of(args.parts), first, args.out, prefix_of(first))


if __name__ == "__main__":
    main()
