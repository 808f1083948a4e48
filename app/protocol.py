"""`frontend/src/protocol.ts`, generated from `app.frames`: `python -m app.protocol` writes it.

Owns the translation of the wire models into TypeScript. Does not own their shapes. `tests/app/test_protocol.py` fails
while the file is stale. Fields with a default may be absent on the wire, so they become optional; discriminators never.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel

from app import frames

PROTOCOL: Final = Path(__file__).resolve().parent.parent / "frontend" / "src" / "protocol.ts"

_HEAD: Final = """\
// Generated from app/frames.py by `python -m app.protocol`. Do not edit: change the Python models and run it again.
"""
_PRIMITIVES: Final[Mapping[str, str]] = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def render() -> str:
    """Return the whole TypeScript module as text.

    Raises TypeError for a model field that has no counterpart on the wire.
    """
    models: dict[str, Mapping[str, Any]] = {}
    for model in get_args(frames.AnyFrame):
        _collect(model, models)
    blocks = [_HEAD, f"export type Realm = {_union(get_args(frames.Realm))};\n"]
    blocks += [_interface(name, schema) for name, schema in models.items()]
    names = " | ".join(model.__name__ for model in get_args(frames.AnyFrame))
    blocks.append(f"export type AnyFrame = {names};\n")
    return "\n".join(blocks)


def write(path: Path = PROTOCOL) -> bool:
    """Write the module to `path`; return whether its text changed."""
    text = render()
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def _collect(model: type[BaseModel], models: dict[str, Mapping[str, Any]]) -> None:
    schema = model.model_json_schema(mode="validation", by_alias=True)
    for name, part in schema.pop("$defs", {}).items():
        models.setdefault(name, part)
    models[model.__name__] = schema


def _interface(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    lines = [_comment(schema.get("description", "")), f"export interface {name} {{"]
    for field, part in schema.get("properties", {}).items():
        mark = "" if field in required or "const" in part else "?"
        lines.append(f"  {field}{mark}: {_type(part)};")
    return "\n".join([*lines, "}", ""])


def _comment(text: str) -> str:
    lines = [f" * {line}".rstrip() for line in text.replace("`from_`", "`from`").strip().splitlines()]
    return "\n".join(["/**", *lines, " */"])


def _type(part: Mapping[str, Any]) -> str:
    if "anyOf" in part:
        return " | ".join(_type(choice) for choice in part["anyOf"])
    if "prefixItems" in part:
        return "[" + ", ".join(_type(item) for item in part["prefixItems"]) + "]"
    if part.get("type") == "array":
        item = _type(part["items"])
        return f"({item})[]" if " | " in item else f"{item}[]"
    return _word(part)


def _word(part: Mapping[str, Any]) -> str:
    if "$ref" in part:
        return str(part["$ref"]).rsplit("/", 1)[-1]
    if "const" in part:
        return json.dumps(part["const"])
    if "enum" in part:
        return "Realm" if set(part["enum"]) == set(get_args(frames.Realm)) else _union(part["enum"])
    try:
        return _PRIMITIVES[part["type"]]
    except KeyError:
        raise TypeError(f"no TypeScript counterpart for {dict(part)}: add it to app/protocol.py") from None


def _union(values: Sequence[object]) -> str:
    return " | ".join(json.dumps(value) for value in values)


if __name__ == "__main__":
    write()
