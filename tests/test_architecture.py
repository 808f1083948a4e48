"""The picture of design.md as a test: who may import whom, how large a room may be, which names are banned."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("streams", "nlp", "alerts", "app")
ALLOWED = {
    "streams": {"streams"},
    "nlp": {"nlp", "streams"},
    "alerts": {"alerts", "streams"},
    "app": {"app", "alerts", "nlp", "streams"},
}
BANNED_NAMES = {"utils", "helpers", "common", "core", "manager", "base", "service", "misc"}
HARD_CAP = 400
BROAD_EXCEPT_ALLOWED = {
    "streams/pump.py",  # the handler's boundary
    "streams/sources/supervise.py",  # a source's boundary
    "streams/sources/supervise_choice.py",  # a source's boundary: one mention's fault stays its own
    "alerts/sender.py",  # a notifier's boundary
    "nlp/batching.py",  # the owner thread has no caller: start and score raise it for all
    "app/supervision.py",  # the end of the process: one line, then exit code 1
}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    assert modules(room), f"{room} has no modules"
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(room)
        for name in imports(path)
        if name.split(".")[0] in ROOMS and name.split(".")[0] not in ALLOWED[room]
    ]
    assert wrong == []


def test_torch_and_transformers_are_imported_only_where_they_were_chosen() -> None:
    heavy = {"torch", "transformers"}
    at_top = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in modules(room)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for name in _names(node)
        if name.split(".")[0] in heavy
    }
    allowed = {name for name in at_top if name.startswith(("nlp/torch_", "nlp/training/", "nlp/network."))}
    assert at_top == allowed, "torch belongs to nlp/torch_*.py and nlp/training, the default install has none"


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_stay_small_and_named(room: str) -> None:
    large = [str(path.relative_to(ROOT)) for path in modules(room) if len(path.read_text().splitlines()) > HARD_CAP]
    vague = [str(path.relative_to(ROOT)) for path in modules(room) if path.stem in BANNED_NAMES]
    assert large == []
    assert vague == []


def test_broad_except_stands_only_at_process_boundaries() -> None:
    found = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in modules(room)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and not isinstance(node.body[-1], ast.Raise)  # what only cleans up and raises on hides nothing
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    }
    assert found <= BROAD_EXCEPT_ALLOWED


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in modules(room)
        if "migrations/versions" not in str(path) and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []
