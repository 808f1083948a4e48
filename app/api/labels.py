"""The route of labels: texts with what people said of them, as lines that evaluation and training read.

Owns the lines' form. Does not own which labels are valid (`app.store.labels`) nor giving them (`app.api.review`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from app.api.access import Access
from app.api.history import Realm
from app.api.review import Lang, Person, Task
from app.store import LabelFilter, LabelledText, Store


def label_filter(
    realm: Realm = "live", task: Task | None = None, lang: Lang = None, by: Person | None = None
) -> LabelFilter:
    """Return the filter that the query parameters describe."""
    return LabelFilter(realm, task, lang, by)


def label_routes(store: Store, access: Access) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/api", dependencies=[Depends(access.viewer)])

    @router.get("/labels.jsonl", openapi_extra={"x-role": "viewer"})
    async def labels(
        wanted: Annotated[LabelFilter, Depends(label_filter)], each: Literal["person", "mention"] = "person"
    ) -> StreamingResponse:
        """Labelled texts as JSON Lines, as `warroom model eval` and `adapt` read them.

        One line a mention and person, or, with `each=mention`, one a mention with what most people say; a tie leaves
        the task out.
        """

        async def lines() -> AsyncIterator[str]:
            async for one in store.rulings(wanted):
                for row in _by_person(one) if each == "person" else _by_mention(one):
                    yield json.dumps({"id": f"{one.source_kind}/{one.native_id}", **row}, ensure_ascii=False) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    return router


def _by_person(one: LabelledText) -> list[dict[str, object]]:
    people: dict[str, dict[str, str]] = {}
    last: dict[str, datetime] = {}
    for ruling in one.rulings:
        people.setdefault(ruling.person, {})[ruling.task] = ruling.label
        last[ruling.person] = max(ruling.at, last.get(ruling.person, ruling.at))
    return [
        {"text": one.text, "lang": one.lang, **said, "by": person, "at": last[person].isoformat()}
        for person, said in sorted(people.items())
    ]


def _by_mention(one: LabelledText) -> list[dict[str, object]]:
    at = max(ruling.at for ruling in one.rulings).isoformat()
    votes = {task: dict(votes) for task, votes in one.votes.items()}
    return [{"text": one.text, "lang": one.lang, **one.labels, "votes": votes, "at": at}] if one.labels else []
