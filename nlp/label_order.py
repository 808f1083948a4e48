"""Which label each number of a head stands for: what a graph says of itself, and whether its manifest says the same.

Owns the entry in the graph's metadata and the check. Does not own reading a graph (`onnx_cpu`, `onnx_graph`) nor the
manifest. A wrong order swaps every answer without any other sign, and no checksum of the graph finds it, for the
manifest itself is what is wrong. So the export writes the order into the graph (`stated`), whose checksum is checked,
and a manifest that says otherwise is refused. Of a graph that says nothing (one exported before) only the product's own
order (`LABELS`) is believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from nlp.scorer import LABELS, ModelFilesDamaged

KEY: Final = "warroom.labels"
Tasks = Mapping[str, Sequence[str]]
"""Task to its labels in the order of the head's outputs."""


def stated(tasks: Tasks) -> str:
    """Return the value of the metadata's entry KEY."""
    return json.dumps({task: list(labels) for task, labels in tasks.items()})


def told(metadata: Mapping[str, str]) -> dict[str, tuple[str, ...]] | None:
    """Return what a graph's metadata says, None where it says nothing; raise ValueError if it can't be read."""
    if KEY not in metadata:
        return None
    found = json.loads(metadata[KEY])
    if not isinstance(found, dict) or not all(isinstance(labels, list) for labels in found.values()):
        raise ValueError(f"{KEY} is no object of lists")
    return {task: tuple(map(str, labels)) for task, labels in found.items()}


def check(path: Path, tasks: Tasks, metadata: Mapping[str, str]) -> None:
    """Raise ModelFilesDamaged unless `tasks`, the manifest's, are ours and in the order of the graph in `path`."""
    try:
        found = told(metadata)
    except ValueError as error:
        raise ModelFilesDamaged(f"{path}: the labels in its metadata cannot be read: {error}") from error
    if missing := LABELS.keys() - tasks.keys():
        raise ModelFilesDamaged(f"{path}: the manifest has no labels for {', '.join(sorted(missing))}")
    for task, ours in LABELS.items():
        given = tuple(tasks[task])
        wanted = ours if found is None else found.get(task, ())
        if given != wanted or sorted(given) != sorted(ours):
            source = "the graph has" if found is not None else "a graph that does not tell has"
            raise ModelFilesDamaged(
                f"{path}: the manifest names the labels of {task} {', '.join(given)}, "
                f"{source} {', '.join(wanted) or 'none'}: restore the folder, or export the model again"
            )
