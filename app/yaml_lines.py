"""YAML with places: plain values plus the line of every key, so that an error can say where.

Owns reading untrusted-size-bounded YAML text and its line map. Does not own what the values mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import yaml

MAX_BYTES: Final = 1_048_576
Path = tuple[str | int, ...]


class ConfigurationError(ValueError):
    """A configuration that can't be used: one line for each fault, each with file, line, field and remedy."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass
class Document:
    """A parsed document: `values` as plain data, `lines` from the path of a value to its line (from 1)."""

    name: str
    values: object = None
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest place around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def fault(self, path: Path, text: str) -> str:
        """Return one line for a fault at `path`."""
        return f"{self.name}:{self.line(path)}: {dotted(path) or 'configuration'}: {text}"


def dotted(path: Path) -> str:
    """Return `rules[0].window` for ("rules", 0, "window")."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def parse(text: str, name: str) -> Document:
    """Return the document in `text`; raise ConfigurationError for bad YAML, repeated keys, aliases, or over 1 MiB."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ConfigurationError(
            [f"{name}:1: larger than {MAX_BYTES} bytes; split what is not configuration out of it"]
        )
    document = Document(name)
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise ConfigurationError([f"{name}:1: YAML aliases (*name) are not read; write the value out"])
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError([f"{name}:{_told(error, text)}"]) from error
    except RecursionError as error:
        raise ConfigurationError([f"{name}:1: nested too deeply; write it flat"]) from error
    faults: list[str] = []
    if root is not None:
        document.values = _value(root, (), document, faults)
    if faults:
        raise ConfigurationError(faults)
    return document


def _told(error: yaml.YAMLError, text: str) -> str:
    """Return the line of a fault that YAML found, what it is, and what to do."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"{text.count(chr(10), 0, error.position) + 1}: {error.reason}; take out what stands here"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not readable as YAML"
    return f"{mark.line + 1 if mark is not None else 1}: {problem}; check indentation and quotes here"


def _value(node: yaml.Node, path: Path, document: Document, faults: list[str]) -> object:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, faults)
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*path, index), document, faults) for index, child in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        # The value is not repeated: it may be a secret.
        problem = getattr(error, "problem", None) or f"not of the form that {node.tag.rpartition(':')[2]} has"
        faults.append(document.fault(path, f"not readable: {problem}; put it in quotes"))
        return None


def _mapping(node: yaml.MappingNode, path: Path, document: Document, faults: list[str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = (*path, key)
        if key in values:
            faults.append(f"{document.name}:{key_node.start_mark.line + 1}: {dotted(here)}: stands twice; keep one")
        document.lines[here] = key_node.start_mark.line + 1
        values[key] = _value(value_node, here, document, faults)
    return values
