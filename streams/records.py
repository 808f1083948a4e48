"""The datum: what flows through the log, as versioned, frozen, typed records.

Owns the shape of a mention, its score, a source's pulse, an alert event and a dead letter, and their one JSON encoding.
Does not own how records are stored, moved or scored. Nothing below this file; every room imports it.

Topics carry unions: `mentions` holds Mention | Pulse, `scored` holds ScoredMention | Pulse, `alerts` holds AlertEvent,
`dead` holds DeadLetter. A reader of an unknown `v` or `type` gets `UnreadableRecord`, never a guess.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MENTIONS: Final = "mentions"
SCORED: Final = "scored"
ALERTS: Final = "alerts"
DEAD: Final = "dead"
TOPICS: Final = (MENTIONS, SCORED, ALERTS, DEAD)

LIVE: Final = "live"
REHEARSAL: Final = "rehearsal"
REPLAY: Final = "replay"

MAX_TEXT: Final = 100_000
"""Characters of text that a mention may hold; a source that gets more dead-letters the payload."""


class UnreadableRecord(ValueError):
    """Bytes that are not a record of this version: the message names the reason and the remedy."""


_FIRST_YEAR: Final = 2
_LAST_YEAR: Final = 9998


def _utc(value: datetime) -> datetime:
    """Return the moment in UTC; pydantic words a ValueError, an OverflowError would go through it."""
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        moment = None
    if moment is None or not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"the date is out of range; write one of the years {_FIRST_YEAR} to {_LAST_YEAR} in UTC")
    return moment


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A moment in UTC, at least a year from the ends of the calendar: windows and offsets around it can be computed. Naive
datetimes are refused."""


class Record(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Action(StrEnum):
    """What happened upstream. A delete carries no text; `delete_author` withdraws all that an author wrote."""

    PUBLISH = "publish"
    DELETE = "delete"
    DELETE_AUTHOR = "delete_author"


class Author(Record):
    """Who wrote it. `id` is stable within the source kind and never empty; name and handle are untrusted text."""

    id: str = Field(min_length=1, max_length=1024)
    name: str = Field(default="", max_length=512)
    handle: str = Field(default="", max_length=512)


class Reach(Record):
    """Public counters at the time of receipt; None where the channel does not say."""

    followers: int | None = Field(default=None, ge=0)
    likes: int | None = Field(default=None, ge=0)
    shares: int | None = Field(default=None, ge=0)
    replies: int | None = Field(default=None, ge=0)


class Identity(Record):
    """(source_kind, native_id): one post, however often and by however many sources it was delivered."""

    source_kind: str = Field(min_length=1, max_length=64)
    native_id: str = Field(min_length=1, max_length=2048)

    @property
    def key(self) -> str:
        """The log's key: records of one identity share a partition and keep their order."""
        return f"{self.source_kind}\x1f{self.native_id}"


class Mention(Identity):
    """One post, edit or deletion that a source delivered and that a query matched.

    `revision` orders what is known of one identity: the higher wins, whatever the order of arrival. `published_at` is
    the upstream's word and is never replaced by `received_at`; it is None only for deletions. For `delete_author`,
    `native_id` is the author's id.
    """

    type: Literal["mention"] = "mention"
    v: Literal[1] = 1
    source_id: str = Field(min_length=1, max_length=128)
    revision: int = Field(ge=0, lt=2**63)
    action: Action = Action.PUBLISH
    realm: str = Field(default=LIVE, pattern=r"^(live|rehearsal|replay)$")
    received_at: Instant
    published_at: Instant | None = None
    author: Author | None = None
    text: str = Field(default="", max_length=MAX_TEXT)
    lang: str | None = Field(default=None, max_length=35)
    url: str | None = Field(default=None, max_length=2048)
    thread_id: str | None = Field(default=None, max_length=2048)
    reply_to: str | None = Field(default=None, max_length=2048)
    reach: Reach = Reach()
    place: str | None = Field(default=None, max_length=256)
    queries: tuple[str, ...] = ()


class SourceStatus(StrEnum):
    """What a source says of itself: live, connected but silent for too long, not reachable, finished, or stopped."""

    LIVE = "live"
    STALLED = "stalled"
    UNREACHABLE = "unreachable"
    FINISHED = "finished"


class Tally(Record):
    """The ledger's counters of one source at the ingest stage, since the source was first started. Monotone."""

    received: int = 0
    matched: int = 0
    duplicated: int = 0
    dead: int = 0
    late: int = 0
    gaps: int = 0
    reconnects: int = 0


class Pulse(Record):
    """A source's sign of life, appended to every partition of [mentions] and passed on to [scored].

    `at` is event time: the source promises that what it delivers after this pulse was published after `at`, save
    lateness. It alone moves the engine's clock. `sent_at` is the wall clock of the sender, in a replay too. A source
    that is not `live` makes its rules no-data.
    """

    type: Literal["pulse"] = "pulse"
    v: Literal[1] = 1
    source_id: str = Field(min_length=1, max_length=128)
    source_kind: str = Field(min_length=1, max_length=64)
    realm: str = Field(default=LIVE, pattern=r"^(live|rehearsal|replay)$")
    at: Instant
    sent_at: Instant
    status: SourceStatus
    detail: str = Field(default="", max_length=500)
    last_mention_at: Instant | None = None
    tally: Tally = Tally()


class Opinion(Record):
    """One task's answer: the winning label and the probability of every class (they sum to 1)."""

    label: str
    probabilities: dict[str, float]


class Score(Record):
    """What a model says of a text. Never invented: where the model failed there is no score but an error.

    `uncertain` names the tasks whose best probability is under the model's threshold: a person should look.
    """

    sentiment: Opinion
    urgency: Opinion
    intent: Opinion
    model_id: str = Field(min_length=1)
    model_revision: str = Field(min_length=1)
    embedding: str | None = None
    """base64 of little-endian float16, unit length; None where the model has no embedding head."""
    uncertain: tuple[Literal["sentiment", "urgency"], ...] = ()


class ScoredMention(Record):
    """A mention with its score; deletions pass with `score` None and nothing else does."""

    type: Literal["scored"] = "scored"
    v: Literal[1] = 1
    mention: Mention
    score: Score | None
    scored_at: Instant


class AlertState(StrEnum):
    """pending -> firing -> acknowledged -> resolved; no_data where the rule cannot see."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    NO_DATA = "no_data"


class Evidence(Record):
    """A mention that made an alert fire: identity and an excerpt of at most 280 characters."""

    source_kind: str
    native_id: str
    excerpt: str
    lang: str | None = None
    url: str | None = None
    author: str = ""
    published_at: Instant


class AlertEvent(Record):
    """One transition of one alert. `(alert_id, seq)` identifies it; the same input gives the same events again."""

    type: Literal["alert"] = "alert"
    v: Literal[1] = 1
    alert_id: str = Field(min_length=1, max_length=64)
    seq: int = Field(ge=0)
    rule_id: str
    rule_name: str
    rule_revision: str
    team: str
    realm: str
    group: dict[str, str]
    severity: Literal[1, 2, 3]
    state: AlertState
    at: Instant
    started_at: Instant
    value: float
    threshold: float
    count: int
    reason: str
    receivers: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    by: str = ""

    @property
    def key(self) -> str:
        """The log's key."""
        return self.alert_id


class DeadLetter(Record):
    """What could not be decoded or scored: why, where it came from, and the start of what it was (at most 4 KiB)."""

    type: Literal["dead"] = "dead"
    v: Literal[1] = 1
    stage: Literal["source", "score", "store", "alert", "notify"]
    reason: str = Field(max_length=1000)
    source_id: str = ""
    origin: str = ""
    realm: str = LIVE
    payload: str = Field(default="", max_length=4096)
    payload_bytes: int = 0
    at: Instant

    @property
    def key(self) -> str:
        """The log's key."""
        return self.origin or self.source_id


AnyRecord = Mention | Pulse | ScoredMention | AlertEvent | DeadLetter
_ADAPTER: Final[TypeAdapter[AnyRecord]] = TypeAdapter(Annotated[AnyRecord, Field(discriminator="type")])


def encode(record: AnyRecord) -> bytes:
    """Return the record as compact UTF-8 JSON. Text must be free of lone surrogates (sources clean it)."""
    return record.model_dump_json(exclude_defaults=False).encode()


def decode(payload: bytes) -> AnyRecord:
    """Return the record in `payload`; raise UnreadableRecord with the first fault's field and reason."""
    try:
        return _ADAPTER.validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise UnreadableRecord(f"{where}: {first['msg']}") from error


def bounded(payload: bytes | str, limit: int = 4096) -> str:
    """Return the start of an untrusted payload as text for a dead letter: NUL and surrogates replaced."""
    raw = payload.encode("utf-8", "replace") if isinstance(payload, str) else payload
    return raw[: limit // 4 * 3].decode("utf-8", "replace").replace("\x00", "�")[:limit]
