"""What a model folder holds, told without loading the model: `warroom model show`.

Owns the reading and the verdict on each file. Does not own the manifest (`manifest`) nor the meaning of labels
(`labels`). Works where the folder is damaged, too: that is when somebody looks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from nlp import manifest
from nlp.labels import LabelsRefused, label_map
from nlp.manifest import Manifest, ModelFile
from nlp.scorer import SENTIMENT, ModelFilesDamaged

_CONFIG: Final = "config.json"
_CLASSIFIER: Final = "Hugging Face classifier, in the place of the sentiment head"
_SHOWN_ELSEWHERE: Final = {"format", "model_id", "revision", "files", "tasks"}


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """One file of the folder: its size in bytes and checksum as they are, and what is wrong with it, if anything."""

    bytes: int | None
    sha256: str | None
    fault: str


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a folder. `details` are the manifest's other fields (calibration, thresholds, notes) as data."""

    folder: str
    kind: str
    model_id: str
    revision: str
    tasks: Mapping[str, tuple[str, ...]]
    files: Mapping[str, FileVerdict]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether every file is the one that the manifest names, and the manifest of its own revision."""
        return not any(verdict.fault for verdict in self.files.values())

    @property
    def bytes(self) -> int:
        """Size of the files that are there."""
        return sum(verdict.bytes or 0 for verdict in self.files.values())


def describe(folder: Path, stated: Mapping[str, str] | None = None) -> Description:
    """Return what the folder holds: a shipped or adapted model, or a Hugging Face classifier with labels as `stated`.

    Raise ModelFilesDamaged where its manifest can't be read, LabelsRefused where a classifier's labels can't be mapped,
    and FileNotFoundError where it is no model's folder.
    """
    if (folder / manifest.NAME).is_file():
        return _ours(folder)
    if (folder / _CONFIG).is_file():
        return _classifier(folder, stated)
    raise FileNotFoundError(f"{folder} holds no model: neither {manifest.NAME} nor {_CONFIG} is in it")


def _ours(folder: Path) -> Description:
    try:
        found = Manifest.model_validate_json((folder / manifest.NAME).read_bytes())
    except ValidationError:
        manifest.read(folder)  # words what is wrong
        raise
    details = {name: value for name, value in found.model_dump().items() if name not in _SHOWN_ELSEWHERE}
    files = {name: _verdict(folder / name, expected) for name, expected in found.files.items()}
    if found.revision != found.true_revision:
        own = manifest.checksum(folder / manifest.NAME)
        fault = f"damaged: it says revision {found.revision}, its content is that of {found.true_revision}"
        files[manifest.NAME] = FileVerdict(own.bytes, own.sha256, fault)
    return Description(str(folder), "War Room model", found.model_id, found.revision, found.tasks, files, details)


def _verdict(path: Path, expected: ModelFile) -> FileVerdict:
    try:
        found = manifest.checksum(path)
    except OSError as error:
        return FileVerdict(None, None, f"cannot be read ({error.strerror}), expected sha256 {expected.sha256}")
    fault = "" if found == expected else f"damaged: expected sha256 {expected.sha256} and {expected.bytes} bytes"
    return FileVerdict(found.bytes, found.sha256, fault)


def _classifier(folder: Path, stated: Mapping[str, str] | None) -> Description:
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        names = {int(at): str(name) for at, name in config["id2label"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFilesDamaged(f"{path} names no labels in `id2label`: {error!r}") from error
    try:
        mapped = label_map(names, stated=stated)
    except LabelsRefused as error:
        raise LabelsRefused(f"{folder}: {error}") from error
    files = {entry.name: _unchecked(entry) for entry in sorted(folder.iterdir()) if entry.is_file()}
    details = {"labels": dict(zip(names.values(), mapped, strict=True)), "architectures": config.get("architectures")}
    return Description(
        str(folder), _CLASSIFIER, folder.name, "", {"sentiment": tuple(dict.fromkeys(mapped))}, files, details
    )


def _unchecked(path: Path) -> FileVerdict:
    found = manifest.checksum(path)
    return FileVerdict(found.bytes, found.sha256, "")


def with_head(found: Description, source: str) -> Description:
    """Return the description with the classifier that is set to answer in the place of the sentiment head.

    A folder that is such a classifier stands in that place itself.
    """
    if found.kind == _CLASSIFIER:
        return found
    return replace(found, details={"replaced_heads": {SENTIMENT: source}, **found.details})


def lines(found: Description) -> list[str]:
    """Return the description as lines to read."""
    said = [
        f"{found.folder}: {found.kind}",
        f"id         {found.model_id}",
        f"revision   {found.revision or 'none'}",
        f"size       {found.bytes / 1e6:.1f} MB in {len(found.files)} files",
        f"checksums  {'sound' if found.sound else 'DAMAGED'}",
    ]
    said += [f"  {name}: {_file_line(verdict)}" for name, verdict in found.files.items()]
    said += ["tasks", *(f"  {task}: {', '.join(labels)}" for task, labels in found.tasks.items())]
    for name, value in found.details.items():
        said += _detail(name, value)
    return said


def _file_line(verdict: FileVerdict) -> str:
    return verdict.fault or f"{verdict.bytes} bytes, sha256 {verdict.sha256}"


def _detail(name: str, value: Any, indent: str = "") -> list[str]:
    """Return nested data as indented lines; a level whose values are plain is one line."""
    if not isinstance(value, Mapping) or not value:
        return [f"{indent}{name}: {_plain(value)}"]
    if not any(isinstance(inner, Mapping) for inner in value.values()):
        return [f"{indent}{name}: " + ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())]
    rows = [line for key, inner in value.items() for line in _detail(str(key), inner, indent + "  ")]
    return [f"{indent}{name}", *rows]


def _plain(value: Any) -> str:
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_plain(inner) for inner in value) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
