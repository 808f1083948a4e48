"""Routes of history: mentions, alerts with their evidence and notifications, counts over time, the ledger.

Owns the parameters and the answers' shapes. Does not own the queries behind them (`app.store`). Answers are JSON of the
log's own records; texts are untrusted and nothing here is HTML.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, status
from pydantic import BaseModel

from app.api.access import Access
from app.store import Store
from app.store.alerts import AlertFilter
from app.store.rollups import Span
from app.store.search import MentionFilter
from streams.records import AlertEvent, Instant, Pulse, ScoredMention

Realm = Literal["live", "rehearsal", "replay"]
Word = Annotated[str | None, Query(max_length=200)]
Moment = Annotated[Instant | None, Query()]


class MentionPage(BaseModel):
    """Mentions, newest first; `after` asks for the next page, None on the last."""

    items: list[ScoredMention]
    after: str | None


class MinuteRow(BaseModel):
    """Counts of one step from `start` on."""

    start: datetime
    counts: dict[str, int]


class Attempt(BaseModel):
    """One delivery attempt of an alert's event."""

    receiver: str
    result: str
    reason: str
    at: datetime


class AlertStory(BaseModel):
    """One alert: each transition, and each attempt to tell somebody."""

    events: list[AlertEvent]
    notifications: list[Attempt]


class LedgerRow(BaseModel):
    """One source: its last pulse and how many mentions each stage counted."""

    pulse: Pulse
    counters: dict[str, int]


def history_routes(store: Store, access: Access) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api", dependencies=[Depends(access.viewer)])
    role = {"x-role": "viewer"}

    @router.get("/mentions", openapi_extra=role)
    async def mentions(
        wanted: Annotated[MentionFilter, Depends(mention_filter)], limit: Limit = 50, after: Word = None
    ) -> MentionPage:
        """Mentions, newest first: filter by realm, time, query, source, language, scores, author and text."""
        try:
            page = await store.mentions(wanted, limit, after)
        except ValueError as error:
            raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, str(error)) from error
        return MentionPage(items=list(page.items), after=page.after)

    @router.get("/mentions/{source_kind}/{native_id:path}", openapi_extra=role)
    async def mention(source_kind: str, native_id: str, realm: Realm = "live") -> ScoredMention:
        """One mention; 404 when it is not there or was deleted upstream."""
        found = await store.mention(source_kind, native_id, realm)
        if found is None:
            raise HTTPException(status.HTTP_404_NOT_FOUND, "no such mention, or it was deleted by its author")
        return found

    @router.get("/counts", openapi_extra=role)
    async def counts(
        start: Annotated[Instant, Query(alias="from")],
        end: Annotated[Instant, Query(alias="to")],
        realm: Realm = "live",
        query: Word = None,
        source: Word = None,
        step: Annotated[int, Query(ge=1, le=10_080)] = 1,
    ) -> list[MinuteRow]:
        """Mentions by step of minutes: total, sentiments, urgencies. `to` is not included; at most 100,000 steps."""
        if (end - start).total_seconds() / 60 / step > MOST_STEPS:
            raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "from, to: too many steps; take a longer step")
        span = Span(realm, start, end, query or "", source, step)
        return [MinuteRow(start=row.at, counts=dict(row.counts)) for row in await store.rollups(span)]

    _alert_routes(router, store)
    return router


def _alert_routes(router: APIRouter, store: Store) -> None:
    role = {"x-role": "viewer"}

    @router.get("/alerts", openapi_extra=role)
    async def alerts(realm: Realm = "live", rule: Word = None, limit: Limit = 50) -> list[AlertEvent]:
        """Return the alerts as they stand now, newest first."""
        return list(await store.alerts(AlertFilter(realm=realm, rule=rule), limit))

    @router.get("/alerts/{alert_id}", openapi_extra=role)
    async def alert(alert_id: str) -> AlertStory:
        """Return one alert's transitions and notifications."""
        events = list(await store.alert_events(alert_id))
        if not events:
            raise HTTPException(status.HTTP_404_NOT_FOUND, "no such alert")
        sent = [
            Attempt(receiver=row.receiver, result=row.result, reason=row.reason, at=row.at)
            for row in await store.notifications(alert_id)
        ]
        return AlertStory(events=events, notifications=sent)

    @router.get("/sources", openapi_extra=role)
    async def sources(realm: Realm | None = None) -> list[LedgerRow]:
        """Return the ledger: per source its state, and what each stage counted."""
        return [LedgerRow(pulse=state.pulse, counters=dict(state.counters)) for state in await store.sources(realm)]


MOST_STEPS = 100_000
Limit = Annotated[int, Query(ge=1, le=500)]


def mention_filter(  # noqa: PLR0913, PLR0917  each is a query parameter
    realm: Realm = "live",
    start: Annotated[Instant | None, Query(alias="from")] = None,
    end: Annotated[Instant | None, Query(alias="to")] = None,
    query: Annotated[list[str] | None, Query(max_length=50)] = None,
    source: Word = None,
    lang: Word = None,
    sentiment: Word = None,
    urgency: Word = None,
    intent: Word = None,
    author: Word = None,
    text: Word = None,
) -> MentionFilter:
    """Return the filter that the query parameters describe."""
    return MentionFilter(
        realm=realm,
        start=start,
        end=end,
        queries=query,
        source=source,
        lang=lang,
        sentiment=sentiment,
        urgency=urgency,
        intent=intent,
        author=author,
        text=text,
    )
