"""Routes of the review queue: what the model is uncertain of, and what people say of it.

Owns the parameters and the answers' shapes. Does not own the queue's rules (`app.store.verdicts`, `app.store.review`),
what becomes of the labels (`app.api.labels`), nor who a person is: until accounts exist, whoever may view says by which
name. A mention is named in the body of the POST, not in its path: native ids are often addresses, and proxies fold the
slashes and dots of a path.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.responses import Response

from app.api.access import Access
from app.api.history import Realm
from app.api.ingest import bounded_body
from app.store import OtherRevision, QueueFilter, Store, UnknownMention, Verdict
from app.store.review import MOST
from streams.records import Identity, Mention, Score, ScoredMention

ANYONE: Final = "viewer"
"""Who says it, where no name is given."""
MAX_BODY: Final = 16 * 1024
_ROLE: Final = {"x-role": "viewer"}
_JOINERS: Final = {0x200C: None, 0x200D: None}
"""Persian spells names with the first, emoji have the second; Python counts neither as printable."""

Doubt = Literal["sentiment", "urgency"]
Task = Literal["sentiment", "urgency", "intent"]


def _name(name: str) -> str:
    """Return the name as one line of composed characters: the same person is the same text."""
    plain = unicodedata.normalize("NFC", " ".join(name.split()))
    visible = plain.translate(_JOINERS)
    if not visible or not visible.isprintable():
        raise ValueError("a name of 1 to 100 printable characters")
    return plain


Person = Annotated[str, Query(max_length=100), AfterValidator(_name)]
Lang = Annotated[str | None, Query(max_length=35)]


class Labels(BaseModel):
    """One person's words: a label, `skip` for "can't tell", or null to take an earlier word back."""

    model_config = ConfigDict(extra="forbid")

    sentiment: Literal["negative", "neutral", "positive", "skip"] | None = None
    urgency: Literal["low", "normal", "high", "critical", "skip"] | None = None
    intent: Literal["complaint", "question", "praise", "idea", "purchase", "distress", "other", "skip"] | None = None

    @model_validator(mode="after")
    def _some(self) -> Labels:
        if not self.model_fields_set:
            raise ValueError("at least one of sentiment, urgency, intent")
        return self


class Answer(BaseModel):
    """What `POST /api/review` takes: the mention as it was shown, and what `by` says of it."""

    model_config = ConfigDict(extra="forbid")

    source_kind: str = Field(min_length=1, max_length=64)
    native_id: str = Field(min_length=1, max_length=2048)
    realm: Realm = "live"
    revision: int = Field(ge=0, lt=2**63)
    labels: Labels
    note: str = Field(default="", max_length=2000)
    by: Annotated[str, Field(max_length=100), AfterValidator(_name)] = ANYONE


class Answered(BaseModel):
    """The words are kept; `waiting` are the tasks that this mention still waits for."""

    by: str
    labels: dict[str, str | None]
    waiting: list[Doubt]


class ReviewItem(BaseModel):
    """A mention in the queue: which tasks ask this person, and how many people labelled or skipped each so far."""

    mention: Mention
    score: Score
    tasks: list[Doubt]
    labels: dict[str, int]
    skips: dict[str, int]


class ReviewPage(BaseModel):
    """Part of the queue; `after` asks for the next page, None on the last."""

    items: list[ReviewItem]
    after: str | None


class TaskCount(BaseModel):
    """A number of mentions of one task and language."""

    task: Task
    lang: str | None
    count: int


class ReviewFigures(BaseModel):
    """How many mentions wait and have valid labels, and what was said since midnight UTC, by task."""

    waiting: list[TaskCount]
    labelled: list[TaskCount]
    answered_today: dict[str, int]
    skipped_today: dict[str, int]


def queue_filter(
    realm: Realm = "live",
    task: Doubt | None = None,
    lang: Lang = None,
    by: Person = ANYONE,
    order: Literal["urgent", "newest"] = "urgent",
    state: Literal["waiting", "answered"] = "waiting",
) -> QueueFilter:
    """Return the filter that the query parameters describe."""
    return QueueFilter(realm, task, lang, by, order, answered=state == "answered")


def review_routes(store: Store, access: Access) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api", dependencies=[Depends(access.viewer)])

    @router.get("/review", openapi_extra=_ROLE)
    async def queue(
        wanted: Annotated[QueueFilter, Depends(queue_filter)],
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
        after: Annotated[str | None, Query(max_length=200)] = None,
    ) -> ReviewPage:
        """Mentions that a person should look at, without those that `by` labelled or skipped.

        Most urgent or newest first. `state=answered` are those that others settled, for a second opinion.
        """
        try:
            page = await store.queue(wanted, limit, after)
        except ValueError as error:
            raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, str(error)) from error
        items = [_item(one.scored, list(one.tasks), dict(one.labels), dict(one.skips)) for one in page.items]
        return ReviewPage(items=items, after=page.after)

    @router.get("/review/figures", openapi_extra=_ROLE)
    async def figures(realm: Realm = "live") -> ReviewFigures:
        """Count what waits, what is labelled, and what was said today."""
        found = await store.queue_figures(realm)
        return ReviewFigures(
            waiting=_counts(found.waiting),
            labelled=_counts(found.labelled),
            answered_today=dict(found.answered_today),
            skipped_today=dict(found.skipped_today),
        )

    _write_route(router, store, access)
    return router


def _item(scored: ScoredMention, tasks: list[Doubt], labels: dict[str, int], skips: dict[str, int]) -> ReviewItem:
    """Return the item without the embedding: no person reads it."""
    if scored.score is None:
        raise LookupError("a mention in the queue without a score")
    score = scored.score.model_copy(update={"embedding": None})
    return ReviewItem.model_construct(mention=scored.mention, score=score, tasks=tasks, labels=labels, skips=skips)


def _counts(found: Any) -> list[TaskCount]:
    rows = [TaskCount(task=task, lang=lang, count=count) for (task, lang), count in found.items()]
    return sorted(rows, key=lambda row: (row.task, -row.count, row.lang or ""))


def _write_route(router: APIRouter, store: Store, access: Access) -> None:
    schema = {"application/json": {"schema": Answer.model_json_schema()}}
    described = {**_ROLE, "requestBody": {"required": True, "content": schema}}

    @router.post(
        "/review", response_model=Answered, dependencies=[Depends(access.viewer_writes)], openapi_extra=described
    )
    async def answer(request: Request) -> Answered | Response:
        """Keep what a person says of one revision; the same again changes nothing.

        404: no such mention, or deleted. 409: it was edited; the answer has the mention as it now stands.
        """
        given = await _answer(request)
        said = given.labels.model_dump(exclude_unset=True)
        identity = Identity(source_kind=given.source_kind, native_id=given.native_id)
        try:
            waiting = await store.label(Verdict(identity, given.revision, said, given.by, given.note, given.realm))
        except UnknownMention as error:
            raise HTTPException(
                status.HTTP_404_NOT_FOUND, "no such mention, or it was deleted by its author"
            ) from error
        except OtherRevision as error:
            mention = error.current.mention.model_dump(mode="json")
            return JSONResponse({"detail": f"{error}; look at it again", "mention": mention}, status.HTTP_409_CONFLICT)
        return Answered(by=given.by, labels=said, waiting=list(waiting))


async def _answer(request: Request) -> Answer:
    """Return the checked body: read by hand, so that it is bounded, comes after access, and is of no form's type."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(status.HTTP_415_UNSUPPORTED_MEDIA_TYPE, "send application/json")
    body = await bounded_body(request, MAX_BODY, "shorten the note")
    try:
        return Answer.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error
