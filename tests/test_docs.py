"""What README and Makefile promise exists, and what exists is in README: settings, commands, routes, metrics, targets."""

from __future__ import annotations

import re
from pathlib import Path

import click
from fastapi.routing import APIRoute
from prometheus_client import REGISTRY

from app.commands import main
from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    named = set(re.findall(r"^\| `(WARROOM_[A-Z_]+)`", README, re.MULTILINE))
    assert named == {f"WARROOM_{name.upper()}" for name in Settings.model_fields}


def test_every_command_is_in_the_readme_and_every_one_there_exists() -> None:
    assert isinstance(main, click.Group)
    named = set(re.findall(r"`warroom ([a-z]+)", README)) | set(re.findall(r"^warroom ([a-z]+)", README, re.MULTILINE))
    assert named == set(main.commands)


def test_every_make_target_in_the_readme_exists_and_help_lists_all() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: ([a-z-]+)", makefile, re.MULTILINE))
    assert targets == phony
    assert set(re.findall(r"`make ([a-z-]+)", README)) <= targets


def test_every_metric_is_in_the_readme_and_no_other() -> None:
    ours = {
        sample.name if metric.type != "histogram" else metric.name
        for metric in REGISTRY.collect()
        if metric.name.startswith("warroom_")
        for sample in _samples(metric.name, metric.type)
    }
    assert set(re.findall(r"^\| `(warroom_[a-z_0-9]+)`", README, re.MULTILINE)) == ours


class _Named:
    def __init__(self, name: str) -> None:
        self.name = name


def _samples(name: str, kind: str) -> list[_Named]:
    return [_Named(f"{name}_total" if kind == "counter" else name)]


def test_every_api_route_is_in_the_readme_and_has_a_role(api_routes: list[APIRoute]) -> None:
    named = set(re.findall(r"^\| `(?:GET|POST) ([^`]+)`", README, re.MULTILINE))
    assert named == {route.path for route in api_routes if route.include_in_schema}
    roles = {route.path: (route.openapi_extra or {}).get("x-role") for route in api_routes}
    assert {path for path, role in roles.items() if role not in {"public", "viewer", "signed"}} == set()
