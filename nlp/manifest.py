"""The manifest of a model folder: what its files are, what its outputs mean, and the check that nothing was damaged.

Owns `manifest.json`, the checksums and the adapter's file. Does not own loading a model (`onnx_cpu`, `torch_gpu`) nor
making one. A folder is `model.onnx`, `tokenizer.json`, `manifest.json` and, once adapted, `adapter.npz`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nlp.calibration import Bend, Calibrator, Correction, Shift, Threshold
from nlp.families import EVERY, FAMILIES
from nlp.scorer import ModelFilesDamaged

NAME: Final = "manifest.json"
ADAPTER: Final = "adapter.npz"
FORMAT: Final = 1
_NEEDED: Final = ("model.onnx", "tokenizer.json")
_NO_FILES: Final = {"", ".", "..", NAME}
_REMEDY: Final = "restore the folder from the repository or install the package again"
_CHUNK: Final = 1 << 20


_Factor = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]


class ModelFile(BaseModel):
    """One file of the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """Content of `manifest.json`.

    `tasks` maps each task to its labels in the order of the model's output of that name. `temperatures` records by
    how much the logits of each head were divided at export, for all languages alike. `embedding` is the name of the
    output with unit vectors, or None. `curves` and `slopes` say of tasks by which power their logits are bent and by
    which slope of each label (`calibration.Bend`). `calibration` and `thresholds` say, per task and family (or "all"),
    what is done to the probabilities that come out of the graph; where they say nothing, nothing is done and nothing is
    uncertain. `adapter` is the name of the file with the shifts that people's labels taught, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(ge=FORMAT, le=FORMAT)
    model_id: str = Field(min_length=1)
    revision: str = Field(min_length=1)
    prefix: str
    max_tokens: int = Field(ge=8, le=8192)
    tasks: dict[str, tuple[str, ...]]
    temperatures: dict[str, float]
    embedding: str | None
    files: dict[str, ModelFile]
    notes: dict[str, str] = Field(default_factory=dict)
    curves: dict[str, _Factor] = Field(default_factory=dict)
    slopes: dict[str, tuple[_Factor, ...]] = Field(default_factory=dict)
    calibration: dict[str, dict[str, Correction]] = Field(default_factory=dict)
    thresholds: dict[str, dict[str, Threshold]] = Field(default_factory=dict)
    adapter: str | None = None

    @model_validator(mode="after")
    def _of_one_piece(self) -> Self:
        if missing := [name for name in _NEEDED if name not in self.files]:
            raise ValueError(f"no checksum of {' and '.join(missing)}: nothing would tell that it is damaged")
        if strange := [
            name for name in self.files if name in _NO_FILES or Path(name).name != name or not name.isprintable()
        ]:
            raise ValueError(f"{strange[0]!r} is not the name of a file in the folder")
        self._check_tasks()
        if self.adapter is not None and (self.adapter not in self.files or self.embedding is None):
            raise ValueError(f"adapter {self.adapter}: not one of the files, or the model has no embedding")
        return self

    def _check_tasks(self) -> None:
        """Raise ValueError for what is said of a task, a family or labels that the model does not have."""
        for task in (*self.curves, *self.slopes, *self.calibration, *self.thresholds):
            if task not in self.tasks:
                raise ValueError(f"{task}: not a task of the model")
        for field in (self.calibration, self.thresholds):
            if any(not found.keys() <= {EVERY, *FAMILIES} for found in field.values()):
                raise ValueError(f"a family that is none of {FAMILIES}")
        for task, labels in self.tasks.items():
            entries = [entry.bias for entry in self.calibration.get(task, {}).values()]
            if any(len(numbers) not in {0, len(labels)} for numbers in (*entries, self.slopes.get(task, ()))):
                raise ValueError(f"{task}: a bias or slopes that do not fit its {len(labels)} labels")

    @property
    def true_revision(self) -> str:
        """What `revision` must say of these files and of what follows the graph."""
        return revision(self.files, self.calibration, self.thresholds, self.bends)

    @property
    def bends(self) -> dict[str, Bend]:
        """How the logits of each task are bent."""
        return {task: Bend(self.curves.get(task, 1.0), self.slopes.get(task, ())) for task in self.tasks}


def checksum(path: Path) -> ModelFile:
    """Return size and SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return ModelFile(sha256=digest.hexdigest(), bytes=path.stat().st_size)


def revision(
    files: Mapping[str, ModelFile],
    calibration: Mapping[str, Mapping[str, Correction]],
    thresholds: Mapping[str, Mapping[str, Threshold]],
    bends: Mapping[str, Bend],
) -> str:
    """Return the revision: twelve digits that change with anything that changes a score.

    It is the start of the model's checksum, or of one over that and all that follows the graph: bends, calibration,
    thresholds and adapter.
    """
    model = files["model.onnx"].sha256
    curves = {task: bend.power for task, bend in bends.items() if bend.power != 1}
    slopes = {task: bend.slopes for task, bend in bends.items() if bend.slopes}
    if not (calibration or thresholds or curves or slopes or ADAPTER in files):
        return model[:12]
    parts = [model, files[ADAPTER].sha256 if ADAPTER in files else ""]
    for field in (calibration, thresholds):
        plain = {task: {name: entry.model_dump() for name, entry in found.items()} for task, found in field.items()}
        parts.append(json.dumps(plain, sort_keys=True))
    parts += [json.dumps(field, sort_keys=True) for field in (curves, slopes) if field]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def calibrator(folder: Path, described: Manifest) -> Calibrator:
    """Return what follows the graph of the model in `folder`; raise ModelFilesDamaged if its adapter does not fit."""
    shifts = read_adapter(folder, described)
    return Calibrator(described.tasks, described.calibration, described.thresholds, shifts, described.bends)


def write_adapter(folder: Path, shifts: Mapping[str, Shift]) -> None:
    """Write the shifts of each task into `adapter.npz`."""
    arrays = {}
    for task, shift in shifts.items():
        arrays[f"{task}.weights"], arrays[f"{task}.bias"] = shift.weights, shift.bias
    np.savez(folder / ADAPTER, allow_pickle=False, **{name: value.astype("<f4") for name, value in arrays.items()})


def read_adapter(folder: Path, described: Manifest) -> dict[str, Shift]:
    """Return the shift of each task that has one; raise ModelFilesDamaged if the file does not fit the model."""
    if described.adapter is None:
        return {}
    path = folder / described.adapter
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name].astype(np.float64) for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelFilesDamaged(f"{path} is not an adapter: {error}") from error
    shifts = {}
    for task, labels in described.tasks.items():
        weights, bias = arrays.pop(f"{task}.weights", None), arrays.pop(f"{task}.bias", None)
        if weights is None or bias is None:
            continue
        if weights.shape[:-1] != (len(labels),) or bias.shape != (len(labels),):
            raise ModelFilesDamaged(f"{path}: {task} has arrays of {weights.shape} and {bias.shape}, not its labels")
        shifts[task] = Shift(weights, bias)
    if arrays:
        raise ModelFilesDamaged(f"{path}: it holds {', '.join(sorted(arrays))}, of which the manifest knows no task")
    return shifts


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into its folder."""
    text = json.dumps(manifest.model_dump(), indent=1, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """Return the manifest after checking every file and its own revision.

    Raise ModelFilesDamaged naming the file, what was expected and what was found.
    """
    path = folder / NAME
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelFilesDamaged(f"{path} cannot be read ({error.strerror}): {_REMEDY}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelFilesDamaged(f"{path} is not a manifest of format {FORMAT} ({where}: {first['msg']})") from error
    for name, expected in manifest.files.items():
        _check(folder / name, expected)
    if (true := manifest.true_revision) != manifest.revision:
        raise ModelFilesDamaged(
            f"{path} is damaged: it says revision {manifest.revision}, but its files, curves, slopes, calibration and "
            f"thresholds are those of {true}: {_REMEDY}"
        )
    return manifest


def _check(path: Path, expected: ModelFile) -> None:
    try:
        found = checksum(path)
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror}), expected sha256 {expected.sha256}: {_REMEDY}"
        raise ModelFilesDamaged(reason) from error
    if found != expected:
        raise ModelFilesDamaged(
            f"{path} is damaged: sha256 {found.sha256} ({found.bytes} bytes), "
            f"expected {expected.sha256} ({expected.bytes} bytes): {_REMEDY}"
        )
