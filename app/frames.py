"""The wire: every frame that the hub sends, as pydantic models. `frontend/src/protocol.ts` is generated from this file.

Owns the shapes and the version. Does not own when frames are built (`app.hub`) or sent (`app.live`). Times are
milliseconds since 1970 UTC of the server's clock; shares are 0 to 1. All text is untrusted and shown as text only.

`pulse` is when the newest sign of life that passed the WHOLE pipeline was sent (None before the first): the page's age
is now - pulse, not the age of the last frame, so a dead ingest or a lagging scorer makes the wall DELAYED, then STALE,
though the server still talks. A client applies a frame if from <= its seq < frame.seq (all content is absolute, so an
overlap is harmless), ignores seq <= its own, and resyncs when from > its seq or the epoch differs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Realm = Literal["live", "rehearsal", "replay"]


class Frame(BaseModel):
    """A frozen value on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(Frame):
    """A chosen mention. `id` is stable for an identity: a later item of the same id replaces it (an edit).

    `marks` are [start, end) spans of matched words in UTF-16 code units of `text`.
    """

    id: str
    source: str
    kind: str
    author: str
    text: str
    lang: str | None
    url: str | None
    sentiment: Literal["negative", "neutral", "positive"]
    urgency: Literal["low", "normal", "high", "critical"]
    intent: str
    queries: list[str]
    published: int
    received: int
    marks: list[tuple[int, int]]


class Usual(Frame):
    """What is expected, from the history of the same figure: its median and a robust band around it.

    None in its place means too little history.
    """

    low: float
    middle: float
    high: float


class Figures(Frame):
    """The KPI tiles. `delay_p95` is seconds from receipt to frame; None until something was measured."""

    per_minute: float
    per_minute_usual: Usual | None
    negative: float | None
    negative_usual: Usual | None
    urgent: int
    urgent_oldest: int | None
    delay_p95: float | None
    heard_today: int
    stored_total: int


class Minute(Frame):
    """One minute of the chart: its start, all mentions and the negative ones."""

    at: int
    total: int
    negative: int


class WallAlert(Frame):
    """An open alert, or one that was resolved in the last minutes. `title` may be in any language."""

    id: str
    title: str
    severity: Literal[1, 2, 3]
    state: Literal["firing", "acknowledged", "resolved", "no_data"]
    started: int
    changed: int
    by: str
    reason: str
    count: int
    realm: Realm


class WallSource(Frame):
    """A source with its own age. `status` is the source's word; `last` the time of its last mention, None before it."""

    id: str
    kind: str
    realm: Realm
    status: Literal["live", "stalled", "unreachable", "finished", "lost"]
    detail: str
    last: int | None
    received: int
    matched: int
    duplicated: int
    dead: int
    late: int
    gaps: int
    reconnects: int


class Snapshot(Frame):
    """The whole wall at (epoch, seq): what `GET /api/wall/{realm}/snapshot` answers."""

    t: Literal["snap"] = "snap"
    v: Literal[1] = 1
    epoch: str
    seq: int
    ts: int
    build: str
    pulse: int | None
    realm: Realm
    live_seen: bool
    title: str
    zones: list[tuple[str, str]]
    figures: Figures
    minutes: list[Minute]
    usual: Usual | None
    items: list[Item]
    alerts: list[WallAlert]
    sources: list[WallSource]


class Delta(Frame):
    """What changed in (from, seq]. Figures, alerts and sources are whole and replace; None means unchanged.

    `ins` are the most urgent of what came (at most 10), `more` counts the rest; `gone` are ids to remove at once.
    `minutes` are the minutes whose counts changed.
    """

    t: Literal["d"] = "d"
    epoch: str
    from_: Annotated[int, Field(alias="from")]
    seq: int
    ts: int
    pulse: int | None
    ins: list[Item] = []
    more: int = 0
    gone: list[str] = []
    figures: Figures | None = None
    minutes: list[Minute] = []
    usual: Usual | None = None
    alerts: list[WallAlert] | None = None
    sources: list[WallSource] | None = None
    live_seen: bool = False


class Heartbeat(Frame):
    """Sent every 2 s when nothing changed: the server lives and its clock says `ts`."""

    t: Literal["hb"] = "hb"
    epoch: str
    seq: int
    ts: int
    pulse: int | None


class Resync(Frame):
    """Load the snapshot again, after a random delay of at most `within_ms`."""

    t: Literal["resync"] = "resync"
    reason: str
    within_ms: int = 3000


class Bye(Frame):
    """The server stops; come back not before `retry_ms`."""

    t: Literal["bye"] = "bye"
    retry_ms: int


class Build(Frame):
    """The front end's build hash; a page of another build reloads within five minutes."""

    t: Literal["build"] = "build"
    hash: str


AnyFrame = Snapshot | Delta | Heartbeat | Resync | Bye | Build
