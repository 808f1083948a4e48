"""A copy of a shipped model with other words about its labels: in the manifest, in the graph, or in both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from nlp import label_order, manifest
from nlp.label_order import Tasks


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    size, head = len(content), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head) + bytes([size]) + content


def relabelled(source: Path, folder: Path, tasks: Tasks, graph: Tasks | str | None = None) -> Path:
    """Copy `source` to `folder` with a manifest that names `tasks`; `graph` is what the graph says of itself.

    A message that follows another in a file is merged into it: so the graph gets one more entry of metadata, and of
    two with one key the last counts.
    """
    shutil.copytree(source, folder)
    described = manifest.read(folder)
    if graph is not None:
        said = graph if isinstance(graph, str) else label_order.stated(graph)
        entry = _field(1, label_order.KEY.encode()) + _field(2, said.encode())
        with (folder / "model.onnx").open("ab") as stream:
            stream.write(_field(14, entry))
    files = {name: manifest.checksum(folder / name) for name in described.files}
    fields = described.model_dump() | {"files": {name: file.model_dump() for name, file in files.items()}}
    bare: dict[str, dict[str, object]] = {name: {} for name in ("calibration", "thresholds", "curves", "slopes")}
    revision = files["model.onnx"].sha256[:12]
    (folder / manifest.NAME).write_text(json.dumps({**fields, "tasks": tasks, **bare, "revision": revision}))
    return folder
