"""`warroom.yaml` as one checked value: sources, queries, rules and receivers that fit each other.

Owns the whole-file validation: every fault with its line and remedy, references between the parts included. Does not
own the models of the parts; each lives with the thing it configures (a source, a rule, a notifier).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from alerts.notifiers import ReceiverSettings, load_notifier
from alerts.rules import Rule
from app.yaml_lines import ConfigurationError, Document, parse
from app.yaml_lines import Path as Place
from streams.queries import Query, compile_queries
from streams.queries_syntax import QuerySyntaxError
from streams.secrets import SecretMissing, resolve_secret
from streams.source import SourceSettings
from streams.sources import load_source

SECTIONS: Final = ("version", "sources", "queries", "rules", "receivers")
_REFERENCE: Final = re.compile(r"env:.|file:/.")
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Configuration:
    """What a team listens to. `text` is what was read, `sha256` its digest."""

    text: str
    sources: tuple[SourceSettings, ...] = ()
    queries: tuple[Query, ...] = ()
    rules: tuple[Rule, ...] = ()
    receivers: tuple[ReceiverSettings, ...] = ()
    sha256: str = field(default="")


def read_configuration(path: Path) -> Configuration:
    """Return the configuration in the file; raise ConfigurationError with every fault and its line."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            [f"{path}: can't be read ({error.strerror}); write one or name it by WARROOM_CONFIG"]
        ) from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigurationError([f"{path}:{line}: not UTF-8; save the file as UTF-8"]) from error
    return parse_configuration(text, str(path))


def parse_configuration(text: str, name: str = "warroom.yaml") -> Configuration:
    """Return the configuration in `text`; `name` stands in the errors."""
    document = parse(text, name)
    if not isinstance(document.values, dict):
        raise ConfigurationError([f"{name}:1: no mapping; start with `version: 1` and the sections {SECTIONS[1:]}"])
    faults = [
        document.fault((key,), f"unknown section; known are {', '.join(SECTIONS)}")
        for key in document.values
        if key not in SECTIONS
    ]
    version = document.values.get("version")
    if version is True or version != 1:
        faults.append(document.fault(("version",), "must be 1, the version of this file's format; write `version: 1`"))
    reader = _Reader(document, faults)
    configuration = Configuration(
        text=text,
        sources=reader.section("sources", lambda entry: load_source(str(entry.get("kind", ""))).settings_model),
        queries=reader.section("queries", lambda _: Query),
        rules=reader.section("rules", lambda _: Rule),
        receivers=reader.section("receivers", lambda entry: load_notifier(str(entry.get("kind", ""))).settings_model),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    faults += _literal_secrets(document, faults)
    faults += _misfits(document, configuration) if not faults else []
    if faults:
        raise ConfigurationError(faults)
    return configuration


def missing_secrets(configuration: Configuration) -> list[str]:
    """Return one line for each secret that can't be resolved in this process; none of them ever leaves here."""
    faults: list[str] = []
    for section, parts in (("sources", configuration.sources), ("receivers", configuration.receivers)):
        for part in parts:
            for name, value in part.model_dump().items():
                if "secret" in name and isinstance(value, str):
                    try:
                        resolve_secret(value)
                    except SecretMissing as error:
                        faults.append(f"{section}: {part.id}: {name}: {error}")
    return faults


def _literal_secrets(document: Document, faults: Sequence[str]) -> list[str]:
    """Refuse secrets that stand in the file itself: it goes into the store as it is, and into every backup of it."""
    values = document.values if isinstance(document.values, dict) else {}
    found: list[str] = []
    for section in ("sources", "receivers"):
        for place, value in _leaves(values.get(section), (section,)):
            told = any(fault.startswith(document.fault(place, "")) for fault in faults)
            if not told and _is_literal_secret(place, value):
                remedy = "write env:NAME or file:/absolute/path, not the secret itself"
                found.append(document.fault(place, f"must be a reference: {remedy}"))
    return found


def _is_literal_secret(place: Place, value: object) -> bool:
    named = any("secret" in part.lower() for part in place if isinstance(part, str))
    return named and isinstance(value, str | int | float) and not _REFERENCE.match(str(value))


def _leaves(value: object, place: Place) -> Iterator[tuple[Place, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*place, index))
    else:
        yield place, value


class _Reader:
    def __init__(self, document: Document, faults: list[str]) -> None:
        self.document = document
        self.faults = faults

    def section(self, name: str, model: Callable[[dict[str, object]], type[_Model]]) -> tuple[_Model, ...]:
        values = self.document.values
        entries = values.get(name) if isinstance(values, dict) else None
        if entries is None:
            return ()
        if not isinstance(entries, list):
            self.faults.append(self.document.fault((name,), "must be a list; begin each entry with `- id: ...`"))
            return ()
        read = [self._entry(name, index, entry, model) for index, entry in enumerate(entries)]
        self._repeats(name, entries)
        return tuple(entry for entry in read if entry is not None)

    def _entry(
        self, name: str, index: int, entry: object, model: Callable[[dict[str, object]], type[_Model]]
    ) -> _Model | None:
        here = (name, index)
        if not isinstance(entry, dict):
            self.faults.append(self.document.fault(here, "must be a mapping with at least `id`"))
            return None
        try:
            return model(entry).model_validate(entry)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                text = fault["msg"].removeprefix("Value error, ")
                self.faults.append(self.document.fault((*here, *fault["loc"]), f"{text}{_remedy(fault['type'])}"))
        except (LookupError, ValueError) as error:
            self.faults.append(self.document.fault((*here, "kind"), str(error)))
        return None

    def _repeats(self, name: str, entries: Sequence[object]) -> None:
        seen: set[object] = set()
        for index, entry in enumerate(entries):
            identity = str(entry.get("id")) if isinstance(entry, dict) else None
            if identity is not None and identity in seen:
                self.faults.append(self.document.fault((name, index, "id"), f"{identity!r} stands twice; rename one"))
            seen.add(identity)


def _remedy(kind: str) -> str:
    remedies = {"missing": "; add it", "extra_forbidden": "; remove it or correct its spelling"}
    return remedies.get(kind, "")


def _misfits(document: Document, configuration: Configuration) -> list[str]:
    faults: list[str] = []
    for index, query in enumerate(configuration.queries):
        try:
            compile_queries([query])
        except QuerySyntaxError as error:
            faults.append(document.fault(("queries", index, "match"), str(error)))
    queries = {query.id for query in configuration.queries}
    receivers = {receiver.id for receiver in configuration.receivers}
    sources = {source.id for source in configuration.sources}
    for index, rule in enumerate(configuration.rules):
        for name, known, used in (
            ("query", queries, rule.query),
            ("receivers", receivers, rule.receivers),
            ("sources", sources, rule.sources),
        ):
            faults += [
                document.fault(
                    ("rules", index, name),
                    f"{missing!r} is not defined; known are {', '.join(sorted(known)) or 'none'}",
                )
                for missing in used
                if missing not in known
            ]
    return faults
