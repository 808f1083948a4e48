"""The manifest of a model folder: what its files are, what its outputs mean, and the check that nothing was damaged.

Owns `manifest.json` and the checksums. Does not own loading a model (`onnx_cpu`, `torch_gpu`) nor making one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nlp.scorer import ModelFilesDamaged

NAME: Final = "manifest.json"
FORMAT: Final = 1
_REMEDY: Final = "restore the folder from the repository or install the package again"
_CHUNK: Final = 1 << 20


class ModelFile(BaseModel):
    """One file of the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """Content of `manifest.json`.

    `tasks` maps each task to its labels in the order of the model's output of that name. The probabilities that come
    out are calibrated already: `temperatures` only records by how much the logits were divided. `embedding` is the
    name of the output with unit vectors, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(ge=FORMAT, le=FORMAT)
    model_id: str = Field(min_length=1)
    revision: str = Field(min_length=1)
    prefix: str
    max_tokens: int = Field(ge=8)
    tasks: dict[str, tuple[str, ...]]
    temperatures: dict[str, float]
    embedding: str | None
    files: dict[str, ModelFile]
    notes: dict[str, str] = Field(default_factory=dict)


def checksum(path: Path) -> ModelFile:
    """Return size and SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return ModelFile(sha256=digest.hexdigest(), bytes=path.stat().st_size)


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into its folder."""
    text = json.dumps(manifest.model_dump(), indent=1, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """Return the manifest after checking every file; raise ModelFilesDamaged naming the file and both checksums."""
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
