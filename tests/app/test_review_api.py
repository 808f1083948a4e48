"""The routes of the review queue and of labels on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, get_args

import httpx
import pytest

from app.api import ingest
from app.api.review import MAX_BODY, Labels
from app.store import SKIP
from app.store.database import StoreUnavailable
from nlp.scorer import LABELS
from tests.app.conftest import TOKEN, Served
from tests.app.store_world import NOON, placed, post, withdrawal
from tests.app.test_store_review import doubted

Serve = Callable[..., AbstractAsyncContextManager[Served]]
SLASHED = "https://news.example/a//b/../c?x=1#y"


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.http) as opened:
        yield opened


def answer(native_id: str = "a", revision: int = 1, **changes: Any) -> dict[str, Any]:
    given = {"source_kind": "bluesky", "native_id": native_id, "revision": revision, "labels": {"urgency": "low"}}
    return given | changes


def test_the_labels_of_the_api_are_the_models() -> None:
    for task, field in Labels.model_fields.items():
        words = [word for part in get_args(field.annotation) for word in get_args(part)]
        assert words == [*LABELS[task], SKIP]
    assert set(Labels.model_fields) == set(LABELS)


async def test_from_the_queue_to_the_export(served: Served, client: httpx.AsyncClient) -> None:
    text = "דחוף! האתר נפל \u2028 https://x"
    batch = [doubted(SLASHED, text=text, lang="he", urgency="high"), doubted("b", tasks=("sentiment",)), post("c")]
    await served.process.store.keep("store", placed(batch))
    page = (await client.get("/api/review", params={"by": "noa", "limit": 1})).json()
    (item,) = page["items"]
    assert item["mention"]["text"] == text
    assert item["mention"]["url"] == f"https://example.org/{SLASHED}"
    assert item["score"]["uncertain"] == item["tasks"] == ["sentiment", "urgency"]
    assert item["score"]["urgency"]["probabilities"]["high"] == 0.75
    assert item["score"]["embedding"] is None
    assert item["labels"] == {}
    shown = {name: item["mention"][name] for name in ("source_kind", "native_id", "realm", "revision")}
    given = {
        "labels": {"sentiment": "negative", "urgency": "critical", "intent": "skip"},
        "by": "  no\u0308a  b ",
        "note": "x",
    }
    kept = await client.post("/api/review", json=shown | given)
    assert kept.json() == {"by": "n\u00f6a b", "labels": given["labels"], "waiting": []}
    assert (await client.post("/api/review", json=shown | given)).json() == kept.json()
    rest = (await client.get("/api/review", params={"after": page["after"]})).json()
    assert [one["mention"]["native_id"] for one in rest["items"]] == ["b"]
    assert rest["after"] is None
    again = (await client.get("/api/review", params={"state": "answered", "by": "ali"})).json()
    assert [one["labels"] for one in again["items"]] == [{"sentiment": 1, "urgency": 1}]
    figures = (await client.get("/api/review/figures")).json()
    assert figures["waiting"] == [{"task": "sentiment", "lang": "en", "count": 1}]
    assert {"task": "urgency", "lang": "he", "count": 1} in figures["labelled"]
    assert figures["answered_today"] == {"sentiment": 1, "urgency": 1}
    assert figures["skipped_today"] == {"intent": 1}
    exported = await client.get("/api/labels.jsonl")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    (line,) = [json.loads(line) for line in exported.content.split(b"\n") if line]
    assert line.pop("at")
    assert line == {
        "id": f"bluesky/{SLASHED}",
        "text": text,
        "lang": "he",
        "sentiment": "negative",
        "urgency": "critical",
        "by": "n\u00f6a b",
    }


async def test_the_export_by_mention_has_what_most_people_say(served: Served, client: httpx.AsyncClient) -> None:
    await served.process.store.keep("store", placed([doubted("a"), doubted("tied")]))
    for by, urgency, sentiment in (("noa", "low", "neutral"), ("ali", "high", "negative"), ("sara", "high", None)):
        labels = {"urgency": urgency} | ({"sentiment": sentiment} if sentiment else {})
        assert (await client.post("/api/review", json=answer(labels=labels, by=by))).status_code == 200
        if sentiment:
            await client.post("/api/review", json=answer("tied", labels=labels, by=by))

    async def lines(**params: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (await client.get("/api/labels.jsonl", params=params)).text.splitlines()]

    (line,) = await lines(each="mention")
    assert (line["id"], line["urgency"], "sentiment" in line) == ("bluesky/a", "high", False)
    assert line["votes"] == {"urgency": {"low": 1, "high": 2}, "sentiment": {"neutral": 1, "negative": 1}}
    assert [(one["by"], one["urgency"]) for one in await lines(by="noa")] == [("noa", "low"), ("noa", "low")]
    assert len(await lines()) == 5
    assert len(await lines(task="sentiment")) == 4
    assert await lines(lang="fa") == await lines(realm="replay") == []


async def test_a_mention_that_changed_or_went(served: Served, client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/review", json=answer())).status_code == 404
    await served.process.store.keep("store", placed([doubted("a", 2)]))
    refused = await client.post("/api/review", json=answer(revision=1))
    assert refused.status_code == 409
    assert refused.json()["mention"]["text"] == "post a revision 2"
    assert refused.json()["mention"]["revision"] == 2
    assert (await client.post("/api/review", json=answer(revision=2))).status_code == 200
    await served.process.store.keep("store", placed([withdrawal("a", 2)], start=1))
    assert (await client.post("/api/review", json=answer(revision=2))).status_code == 404
    assert (await client.get("/api/labels.jsonl")).text == ""


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"labels": {"urgency": "urgent"}}, "'low', 'normal', 'high', 'critical' or 'skip'"),
        ({"labels": {"mood": "low"}}, "mood"),
        ({"labels": {}}, "at least one of sentiment, urgency, intent"),
        ({"labels": None}, "labels"),
        ({"revision": -1}, "revision"),
        ({"revision": 2**63}, "revision"),
        ({"native_id": ""}, "native_id"),
        ({"realm": "moon"}, "'live', 'rehearsal' or 'replay'"),
        ({"by": " \n "}, "by"),
        ({"by": "a\u0000b"}, "by"),
        ({"by": "x" * 101}, "by"),
        ({"note": "x" * 2001}, "note"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_a_wrong_answer_names_the_field_and_what_may_stand_there(
    client: httpx.AsyncClient, changes: dict[str, Any], named: str
) -> None:
    refused = await client.post("/api/review", json=answer(**changes))
    assert refused.status_code == 422
    assert named in json.dumps(refused.json()["detail"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"by": "\\ud800"}', b"[" * 10_000])
async def test_what_is_no_answer_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    refused = await client.post("/api/review", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 422


async def test_a_body_without_end_is_refused_and_other_types_too(client: httpx.AsyncClient) -> None:
    json_type = {"content-type": "application/json; charset=utf-8"}
    assert (await client.post("/api/review", content=b" " * (MAX_BODY + 1), headers=json_type)).status_code == 413
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        refused = await client.post("/api/review", content=b"{}", headers={"content-type": kind})
        assert refused.status_code == 415
    assert (await client.post("/api/review", content=b"{}")).status_code == 415


async def test_a_body_that_does_not_come_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "BODY_WITHIN", 0.2)
    reader, writer = await asyncio.open_connection(*served.host.split(":"))
    head = ("POST /api/review HTTP/1.1", f"Host: {served.host}", "Content-Type: application/json", "Content-Length: 9")
    writer.write("\r\n".join((*head, "", "{")).encode())
    with contextlib.closing(writer):
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "query",
    [
        "task=intent",
        "limit=0",
        "limit=501",
        "after=x",
        "after=newest.1.2",
        "order=odd",
        "state=odd",
        "by=",
        "realm=moon",
    ],
)
async def test_wrong_parameters_are_named(client: httpx.AsyncClient, query: str) -> None:
    refused = await client.get(f"/api/review?{query}")
    assert refused.status_code == 422
    assert query.partition("=")[0] in json.dumps(refused.json()["detail"])


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_page_of_another_site_can_not_answer(
    served: Served, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await served.process.store.keep("store", placed([doubted("a")]))
    assert (await client.post("/api/review", json=answer(), headers=headers)).status_code == 403
    own = {"origin": served.http, "sec-fetch-site": "same-origin"}
    assert (await client.post("/api/review", json=answer(), headers=own)).status_code == 200


async def test_access_comes_before_everything(serve_with: Serve) -> None:
    async with (
        serve_with(access_token=TOKEN, origins=("https://war.example",)) as served,
        httpx.AsyncClient(base_url=served.http) as client,
    ):
        await served.process.store.keep("store", placed([doubted("a")]))
        for path in ("/api/review", "/api/review/figures", "/api/labels.jsonl"):
            assert (await client.get(path)).status_code == 401
        assert (await client.post("/api/review", content=b"x" * (MAX_BODY + 1))).status_code == 401
        known = {"authorization": f"Bearer {TOKEN.get_secret_value()}"}
        listed = known | {"origin": "https://war.example", "sec-fetch-site": "cross-site"}
        assert (await client.post("/api/review", json=answer(), headers=listed)).status_code == 200
        foreign = known | {"origin": "https://evil.example"}
        assert (await client.post("/api/review", json=answer(), headers=foreign)).status_code == 403


async def test_a_foreign_host_name_is_turned_away(client: httpx.AsyncClient) -> None:
    evil = {"host": "evil.example"}
    assert (await client.get("/api/review", headers=evil)).status_code == 421
    assert (await client.post("/api/review", json=answer(), headers=evil)).status_code == 421


async def test_many_people_answer_at_once(served: Served, client: httpx.AsyncClient) -> None:
    await served.process.store.keep("store", placed([doubted("a", published_at=NOON)]))
    people = [f"person {at}" for at in range(9)]
    levels = ["low"] * 4 + ["high"] * 5
    sent = [
        client.post("/api/review", json=answer(labels={"urgency": level}, by=by))
        for by, level in zip(people, levels, strict=True)
    ]
    assert {one.status_code for one in await asyncio.gather(*sent)} == {200}
    exported = (await client.get("/api/labels.jsonl", params={"each": "mention"})).json()
    assert exported["votes"] == {"urgency": {"low": 4, "high": 5}}
    assert exported["urgency"] == "high"


async def test_the_description_has_the_body(client: httpx.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()["paths"]["/api/review"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"source_kind", "native_id", "realm", "revision", "labels", "note", "by"}


async def test_a_database_that_is_away_is_said_and_can_be_tried_again(
    served: Served, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("connection refused at db.internal")

    with monkeypatch.context() as fault:
        fault.setattr(type(served.process.store), "queue_figures", away)
        told = await client.get("/api/review/figures")
    assert (told.status_code, told.headers["retry-after"]) == (503, "5")
    assert "try again" in told.json()["detail"]
    assert "db.internal" not in told.text
    assert (await client.get("/api/review/figures")).status_code == 200


@pytest.mark.parametrize("name", ["\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u05e0\u05d5\u05e2\u05d4", "O'Neil"])
async def test_a_person_signs_in_any_script(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get("/api/review", params={"by": name})).status_code == 200
    assert (await client.get("/api/review", params={"by": "\u200c"})).status_code == 422
