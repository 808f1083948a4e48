"""What README and Makefile promise exists, and what exists is in README: settings, rules, commands, routes, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import re
import urllib.request
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import click
import pytest
import yaml
from fastapi.routing import APIRoute
from prometheus_client import REGISTRY

from alerts.rules import Measure, Rule
from app.api.access import ROLES
from app.commands import main
from app.settings import Settings
from streams.records import DeadLetter, Mention
from streams.source import Arrival
from streams.sources.webhook import WebhookSettings, WebhookSource
from tests.app.conftest import Served

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    named = set(re.findall(r"^\| `(WARROOM_[A-Z_]+)`", README, re.MULTILINE))
    assert named == {f"WARROOM_{name.upper()}" for name in Settings.model_fields}


def test_every_command_is_in_the_readme_and_every_one_there_exists() -> None:
    assert isinstance(main, click.Group)
    named = set(re.findall(r"`warroom ([a-z]+)", README)) | set(re.findall(r"^warroom ([a-z]+)", README, re.MULTILINE))
    assert named == set(main.commands)


def test_every_file_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"[`(]((?:docs|docker|frontend|requirements)/[\w./-]+)", README))
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_field_of_a_rule_is_in_the_readme_and_no_other() -> None:
    (row,) = re.findall(r"^\| `rules` \|(.*)\|$", README, re.MULTILINE)
    values = {str(value) for value in Measure}
    assert set(re.findall(r"`([a-z_]+)`", row)) - values == {
        field.alias or name for name, field in Rule.model_fields.items()
    }


async def test_the_readmes_example_of_a_sender_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_SECRET", "sixteen bytes, or more")
    sent: list[urllib.request.Request] = []
    monkeypatch.setattr(urllib.request, "urlopen", sent.append)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "sender.py", "exec", dont_inherit=True), {})
    (line,) = re.findall(r"A source `(\{.*?kind: webhook.*?\})`", README)
    source = WebhookSource(WebhookSettings.model_validate(yaml.safe_load(line)))
    (request,) = sent
    assert request.full_url.endswith("/ingest/shop")
    assert isinstance(request.data, bytes)
    answering = asyncio.create_task(source.accept(dict(request.header_items()), request.data))
    async with contextlib.aclosing(cast("AsyncGenerator[Arrival]", source.listen(None))) as arrivals:
        async for arrival in arrivals:
            if arrival.settled is not None:
                assert [mention.text for mention in arrival.mentions] == ["AltoAir lost my bag"]
                arrival.settled()
                break
    assert (await answering).status == 202


def test_every_make_target_in_the_readme_exists_and_help_lists_all() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: ([a-z-]+)", makefile, re.MULTILINE))
    assert targets == phony
    assert set(re.findall(r"`make ([a-z-]+)", README)) <= targets


def test_every_metric_is_in_the_readme_and_no_other() -> None:
    ours = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in REGISTRY.collect()
        if metric.name.startswith("warroom_")
    }
    assert set(re.findall(r"^\| `(warroom_[a-z_0-9]+)`", README, re.MULTILINE)) == ours


async def test_every_api_route_is_in_the_readme_and_has_a_role(served: Served) -> None:
    routes = list(_routes(served.api.routes))
    named = set(re.findall(r"^\| `(?:GET|POST) ([^`]+)`", README, re.MULTILINE))
    assert named == {route.path.replace(":path", "") for route in routes if route.include_in_schema}
    roles = {route.path: (route.openapi_extra or {}).get("x-role") for route in routes}
    assert {path for path, role in roles.items() if role not in ROLES} == set()


def _routes(routes: Sequence[object]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        yield from _routes(getattr(getattr(route, "original_router", None), "routes", ()))


def test_the_guides_example_of_a_source_works(tmp_path: Path) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[0]
    module: dict[str, Any] = {}
    exec(compile(code, "warroom_forum.py", "exec", dont_inherit=True), module)
    now = datetime(2026, 5, 2, tzinfo=UTC)
    row = {"id": 7, "user": "noa", "text": "שלום", "at": "2026-05-01T10:00:00Z"}
    good = module["parse"](row, "f", now)
    assert isinstance(good, Mention)
    assert good.native_id == "7"
    for garbage in (None, {}, [1], {**row, "at": "soon"}, {**row, "at": "1066-01-01T00:00:00Z"}, {**row, "text": 5}):
        assert isinstance(module["parse"](garbage, "f", now), DeadLetter), garbage
    assert module["ForumSettings"](id="f", url="https://forum.example").kind == "forum"
