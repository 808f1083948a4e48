"""The body of the generic webhook: JSON in, mentions and dead letters out.

Owns the fields that a sender may use. Does not own signatures, buffering or answers (`streams.sources.webhook`).

One object or an array of at most 1,000. `id`, `text` and `published_at` are needed; a deletion needs `id` and
`"deleted": true`, the withdrawal of an author `author.id` and `"deleted_author": true`. An edit is the same `id` with a
higher `revision`, or a later `updated_at` (milliseconds since 1970 as a revision); a post without both is the first of
its id, revision 0. Other text under the same id without both is a repeat: which of two came first can't be told when
deliveries are tried again. A deletion without both holds against all that came before it; the withdrawal of an author
has no `revision`, and what they publish after it is new, whatever it is numbered. Ids are the sender's: they are kept
apart by source.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from streams.addresses import AddressRefused, checked_url
from streams.records import LIVE, MAX_TEXT, Action, Author, DeadLetter, Instant, Mention, Reach
from streams.sources.checks import check_times, clean_text
from streams.sources.letters import letter

KIND: Final = "webhook"
MAX_ITEMS: Final = 1000

_HIGHEST: Final = 2**62
"""Above it there must be room for the deletion of what has it."""


def _cleaned(value: object) -> object:
    return clean_text(value) if isinstance(value, str) else value


def _written(value: object) -> object:
    # A number could be seconds or milliseconds: it is not guessed.
    if not isinstance(value, str):
        raise ValueError("write the time as text, as in 2026-05-25T14:23:28Z")  # noqa: TRY004  pydantic wants ValueError
    return value


def _web_address(value: object) -> object:
    try:
        return str(checked_url(value)) if isinstance(value, str) else value
    except AddressRefused as error:
        raise ValueError(str(error)) from error


def _keyable(value: str) -> str:
    # Taken here, it would be a dead letter later, when the sender has been told that all is well.
    if "\x1f" in value:
        raise ValueError("it holds the control character 0x1F, which no id may; leave it out")
    return value


_Text = Annotated[str, BeforeValidator(_cleaned)]
_Id = Annotated[_Text, AfterValidator(_keyable)]
_Time = Annotated[Instant, BeforeValidator(_written)]


class _Sender(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: _Id = Field(min_length=1, max_length=512)
    name: _Text = Field(default="", max_length=512)
    handle: _Text = Field(default="", max_length=512)


class _Sent(BaseModel):
    """One element as a sender writes it."""

    model_config = ConfigDict(extra="forbid")

    id: _Id = Field(default="", max_length=1024)
    text: _Text = Field(default="", max_length=MAX_TEXT)
    published_at: _Time | None = None
    updated_at: _Time | None = None
    revision: int | None = Field(default=None, ge=0, lt=_HIGHEST, strict=True)
    deleted: bool = Field(default=False, strict=True)
    deleted_author: bool = Field(default=False, strict=True)
    author: _Sender | None = None
    lang: str | None = Field(default=None, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35)
    url: Annotated[str | None, BeforeValidator(_web_address)] = Field(default=None, max_length=2048)
    thread_id: _Text | None = Field(default=None, max_length=1024)
    reply_to: _Text | None = Field(default=None, max_length=1024)
    reach: Reach = Reach()
    place: _Text | None = Field(default=None, max_length=256)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.deleted_author:
            if self.author is None:
                raise ValueError("author.id is missing; deleted_author needs it")
            if self.revision is not None:
                raise ValueError("revision counts what became of one post; leave it out beside deleted_author")
            return self
        if not self.id:
            raise ValueError("id is missing; give each mention an id that never changes")
        if not self.deleted and self.published_at is None:
            raise ValueError("published_at is missing; write when it was published, as in 2026-05-25T14:23:28Z")
        if not self.deleted and not self.text.strip():
            raise ValueError("text is missing or empty")
        return self

    def mention(self, received: Received) -> Mention:
        """Return the mention that was sent."""
        return Mention(
            source_kind=KIND,
            native_id=received.own(self.author.id if self.deleted_author and self.author else self.id),
            source_id=received.source_id,
            revision=self._revision(received),
            action=self._action(),
            realm=received.realm,
            received_at=received.at,
            published_at=self.published_at if self._action() is Action.PUBLISH else None,
            author=self.author and Author(**self.author.model_dump() | {"id": received.own(self.author.id)}),
            text=self.text if self._action() is Action.PUBLISH else "",
            lang=self.lang,
            url=self.url,
            thread_id=self.thread_id and received.own(self.thread_id),
            reply_to=self.reply_to and received.own(self.reply_to),
            reach=self.reach,
            place=self.place,
        )

    def _action(self) -> Action:
        if self.deleted_author:
            return Action.DELETE_AUTHOR
        return Action.DELETE if self.deleted else Action.PUBLISH

    def _revision(self, received: Received) -> int:
        if self.revision is not None:
            return self.revision
        if self.updated_at is None and self._action() is Action.PUBLISH:
            return 0
        return max(int((self.updated_at or received.sent_at).timestamp() * 1000), 0)


@dataclass(frozen=True, slots=True)
class Received:
    """By which source, when sent and when received a body came."""

    source_id: str
    sent_at: datetime
    at: datetime
    realm: str = LIVE

    def own(self, native: str) -> str:
        """Return an id of the sender's as one that no other webhook source can have."""
        return f"{self.source_id}/{native}"


@dataclass(frozen=True, slots=True)
class Body:
    """What a body holds. `fault` is the first thing wrong with it, in words for the sender.

    `unversioned` are those of `mentions` that are deletions without a revision of their own.
    """

    mentions: Sequence[Mention] = ()
    dead: Sequence[DeadLetter] = ()
    fault: str = ""
    unversioned: Collection[Mention] = ()


def parse(body: bytes, received: Received) -> Body:
    """Return what a body holds; never raises. An undecodable body is one dead letter, a bad element one each."""
    try:
        whole = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return _undecodable(body, received, f"the body is not JSON ({error}); send one object or an array of objects")
    elements = whole if isinstance(whole, list) else [whole]
    if len(elements) > MAX_ITEMS:
        return _undecodable(body, received, f"the array has {len(elements)} elements; send at most {MAX_ITEMS} at once")
    mentions: list[Mention] = []
    unversioned: list[Mention] = []
    dead: list[DeadLetter] = []
    faults: list[str] = []
    for index, element in enumerate(elements):
        found = _one(element, received)
        if isinstance(found, Mention):
            mentions.append(found)
            stated = any(element.get(name) is not None for name in ("revision", "updated_at"))
            if found.action is not Action.PUBLISH and not stated:
                unversioned.append(found)
            continue
        faults.append(f"element {index}: {found}" if isinstance(whole, list) else found)
        shown = json.dumps(element, ensure_ascii=False)
        dead.append(letter(faults[-1], shown, source_id=received.source_id, at=received.at, realm=received.realm))
    return Body(mentions, dead, faults[0] if faults else "", unversioned)


def _undecodable(body: bytes, received: Received, fault: str) -> Body:
    return Body((), [letter(fault, body, source_id=received.source_id, at=received.at, realm=received.realm)], fault)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _one(element: Any, received: Received) -> Mention | str:
    if not isinstance(element, dict):
        return "it is not an object with id, text and published_at"
    try:
        mention = _Sent.model_validate(element).mention(received)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        return f"{clean_text(where)}: {reason}" if where else reason
    except (OverflowError, OSError) as error:
        return f"published_at or updated_at is out of range: {error}"
    return check_times(mention) or mention
