"""Records as the wall shows them: pure conversions from the log's records to the wire's lines.

Owns what of a mention, an alert and a pulse leaves the process. Does not own choosing or counting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from app.frames import Item, WallAlert, WallSource
from streams.records import AlertEvent, Mention, Pulse, ScoredMention

RANK: Final = {"low": 0, "normal": 1, "high": 2, "critical": 3}
MAX_SHOWN: Final = 600
"""Characters of a text that go to a wall: more than its largest card can hold."""


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def event_ms(mention: Mention) -> int:
    """Return the mention's event time: when it was published, but never after it was received."""
    return _ms(min(mention.published_at or mention.received_at, mention.received_at))


def item_of(scored: ScoredMention, spans: Callable[[str, Sequence[str]], list[tuple[int, int]]]) -> Item | None:
    """Return the wall's line; None for a deletion or for a score whose labels the wall does not know."""
    mention, score = scored.mention, scored.score
    if score is None:
        return None
    text = mention.text[:MAX_SHOWN]
    author = mention.author
    try:
        return Item(
            id=mention.key,
            source=mention.source_id,
            kind=mention.source_kind,
            author=(author.name or author.handle or author.id)[:120] if author else "",
            text=text,
            lang=mention.lang,
            url=mention.url,
            sentiment=score.sentiment.label,
            urgency=score.urgency.label,
            intent=score.intent.label,
            queries=list(mention.queries),
            published=event_ms(mention),
            received=_ms(mention.received_at),
            marks=spans(text, mention.queries),
        )
    except ValidationError:
        return None


def alert_line(event: AlertEvent) -> WallAlert:
    """Return the wall's line of an alert."""
    return WallAlert(
        id=event.alert_id,
        title=event.rule_name,
        severity=event.severity,
        state=event.state.value,  # pending never gets here
        started=_ms(event.started_at),
        changed=_ms(event.at),
        by=event.by,
        reason=event.reason,
        count=event.count,
        realm=event.realm,  # the record's pattern allows these alone
    )


def source_line(pulse: Pulse, dead: int) -> WallSource:
    """Return the wall's line of a source; `dead` are its dead letters of the stages behind ingest."""
    tally = pulse.tally
    return WallSource(
        id=pulse.source_id,
        kind=pulse.source_kind,
        realm=pulse.realm,  # the record's pattern allows these alone
        status=pulse.status.value,
        detail=pulse.detail,
        last=_ms(pulse.last_mention_at) if pulse.last_mention_at else None,
        received=tally.received,
        matched=tally.matched,
        duplicated=tally.duplicated,
        dead=tally.dead + dead,
        late=tally.late,
        gaps=tally.gaps,
        reconnects=tally.reconnects,
    )
