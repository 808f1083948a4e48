"""The board: everything one realm's wall shows, as a state that records change and frames are cut from.

Owns dedup by identity and revision, the figures, the chosen mentions, open alerts and source states. Pure: no I/O, no
clock of its own. Does not own rings, sockets or history; `app.live.seed` fills it from the store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from app.frames import Figures, Item, Usual, WallAlert, WallSource
from app.live.figures import MinuteCounts, Window, percentile
from app.live.items import RANK, alert_line, item_of, source_line
from app.live.withdrawn import Withdrawals
from streams.records import Action, AlertEvent, AlertState, DeadLetter, Mention, Pulse, ScoredMention

Spans = Callable[[str, Sequence[str]], list[tuple[int, int]]]

SEEN: Final = 200_000
CHOSEN: Final = 50
_CHOSEN_SPAN: Final = 30 * 60_000
_URGENT_SPAN: Final = 15 * 60_000
_RESOLVED_SPAN: Final = 10 * 60_000
_RATE_SPAN: Final = 60_000
_DELAY_SPAN: Final = 60_000
_SETTLES: Final = 15 * 60_000
"""What is older when it comes is history, and says nothing of how long a minute takes to be complete."""
_AGES: Final = 2000
LOST_AFTER: Final = 15_000
"""A source whose pulses stopped for so many ms is shown as lost: its ingest process is gone or cut off."""


def ms(moment: datetime) -> int:
    """Return milliseconds since 1970 UTC."""
    return int(moment.timestamp() * 1000)


@dataclass(slots=True)
class Seen:
    """What a known identity has contributed to the figures: its highest published `revision` (-1: it never came).

    `stone` is the revision up to and with which it may not be shown.
    """

    revision: int
    at: int
    negative: int
    author: str
    stone: int = -1

    @property
    def gone(self) -> bool:
        """Whether it may not be shown."""
        return self.stone >= self.revision


_UNKNOWN: Final = Seen(-1, 0, 0, "", -2)


@dataclass(slots=True)
class Changes:
    """What happened since the last frame was cut."""

    items: dict[str, Item] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    minutes: set[int] = field(default_factory=set)
    alerts: bool = False
    sources: bool = False
    figures: bool = False

    def __bool__(self) -> bool:
        return bool(self.items or self.gone or self.minutes or self.alerts or self.sources or self.figures)

    def merge(self, other: Changes) -> None:
        """Take over what `other` has."""
        for gone in other.gone:
            self.items.pop(gone, None)
        self.items |= other.items
        self.gone |= other.gone
        self.minutes |= other.minutes
        self.alerts |= other.alerts
        self.sources |= other.sources
        self.figures |= other.figures


class Board:
    """One realm's wall. Times are ms of the board's clock."""

    def __init__(self, spans: Spans) -> None:
        self.minutes = MinuteCounts()
        self.items: dict[str, Item] = {}
        self.alerts: dict[str, tuple[int, WallAlert]] = {}
        self.sources: dict[str, WallSource] = {}
        self.sent: dict[str, int] = {}
        self._beats: dict[str, dict[int, int]] = {}
        self.dead: dict[str, int] = {}
        self.heard_today = 0
        self.stored_total = 0
        self.day = 0
        self.pulse: int | None = None
        self.last_mention: int | None = None
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._withdrawals = Withdrawals()
        self._urgent: dict[str, tuple[int, str]] = {}
        self._rate = Window(_RATE_SPAN, SEEN)
        self._delays = Window(_DELAY_SPAN)
        self._ages = Window(_SETTLES, _AGES)
        self._fresh: list[int] = []
        self._changes = Changes()
        self._spans = spans
        self._aged: object = None

    def remember(self, key: str, seen: Seen) -> None:
        """Know an identity (bounded: the oldest is forgotten)."""
        self._seen[key] = seen
        self._seen.move_to_end(key)
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)

    def mention(self, scored: ScoredMention, now: int) -> bool:
        """Take a scored mention; False when nothing new is shown (a repeat, or what was withdrawn before it came).

        What was withdrawn before it came counts like any other: heard is heard, here as in the store.
        """
        mention = scored.mention
        if mention.action is not Action.PUBLISH:
            return self._withdraw(mention)
        before = self._seen.get(mention.key, _UNKNOWN)
        item = item_of(scored, self._spans) if mention.revision > before.revision else None
        if item is None:
            return False
        self._count(item, before, mention.received_at, now)
        self.remember(mention.key, self._seen_of(mention, item, before.stone))
        if self._seen[mention.key].gone:
            self._hide(mention.key)
            return False
        self._show(item, now)
        return True

    def _count(self, item: Item, before: Seen, received_at: datetime, now: int) -> None:
        self._changes.figures = True
        self.minutes.add(item.published, 1, int(item.sentiment == "negative"))
        if before.revision >= 0:
            self.minutes.add(before.at, -1, -before.negative)
        else:
            self._first(item, received_at, now)

    def _seen_of(self, mention: Mention, item: Item, stone: int = -1) -> Seen:
        author = f"{mention.source_kind}\x1f{mention.author.id if mention.author else ''}"
        stone = max(stone, self._withdrawals.stone(author))
        return Seen(mention.revision, item.published, int(item.sentiment == "negative"), author, stone)

    def outdated(self, key: str, known: Mapping[str, Seen]) -> bool:
        """Whether `known` has a later revision of a mention than this board."""
        return known.get(key, _UNKNOWN).revision > self._seen.get(key, _UNKNOWN).revision

    def know(self, mention: Mention, item: Item) -> None:
        """Know an identity by its mention, unless more is known of it."""
        if mention.key not in self._seen:
            self.remember(mention.key, self._seen_of(mention, item))

    def _first(self, item: Item, received_at: datetime, now: int) -> None:
        received = ms(received_at)
        if received // 86_400_000 == self.day:
            self.heard_today += 1
        self.stored_total += 1
        self.last_mention = max(self.last_mention or 0, item.received)
        if item.published > now - _RATE_SPAN:  # history that comes at once is no storm
            self._rate.add(item.published, 1)
        if item.published > now - _SETTLES:
            self._ages.add(now, item.received - item.published)
        self._fresh.append(received)

    def _show(self, item: Item, now: int) -> None:
        self._changes.items[item.id] = item
        self._changes.gone.discard(item.id)
        if item.published > now - _CHOSEN_SPAN:
            self.items[item.id] = item
        else:  # the words before an edit
            self.items.pop(item.id, None)
        if RANK[item.urgency] >= RANK["high"] and item.published > now - _URGENT_SPAN:
            self.note_urgent(item.id, item.published, self._seen[item.id].author)
        else:
            self._urgent.pop(item.id, None)

    def _withdraw(self, mention: Mention) -> bool:
        if mention.action is Action.DELETE_AUTHOR:
            return self._withdraw_author(mention.key, mention.revision)
        before = self._seen.get(mention.key, _UNKNOWN)
        self.remember(mention.key, replace(before, stone=max(mention.revision, before.stone)))
        if not self._seen[mention.key].gone:  # published again since
            return False
        self._hide(mention.key)
        return True

    def _withdraw_author(self, author: str, revision: int) -> bool:
        """Take an author's posts off the wall now, and leave those that are not on it to the search of the ticks."""
        self._withdrawals.note(author, revision)
        urgent = [key for key, (_, theirs) in self._urgent.items() if theirs == author]
        found = {*self._forbidden([*urgent, *self.items, *self._changes.items])}
        found |= {key for key in urgent if key not in self._seen}
        for key in found:
            self._hide(key)
        return bool(found)

    def _forbidden(self, keys: Iterable[str]) -> list[str]:
        """Return which of `keys` their authors withdrew, and note it."""
        found: list[str] = []
        for key in keys:
            seen = self._seen.get(key)
            if seen is not None and seen.stone < seen.revision <= self._withdrawals.stone(seen.author):
                seen.stone = self._withdrawals.stone(seen.author)
                found.append(key)
        return found

    def _hide(self, key: str) -> None:
        """Take a mention off the wall, and off those that are open; what it counted stays."""
        self.items.pop(key, None)
        self._urgent.pop(key, None)
        self._changes.items.pop(key, None)
        self._changes.gone.add(key)
        self._changes.figures = True

    def beat(self, pulse: Pulse, partition: int, wall_now: int) -> None:
        """Take a source's pulse as it arrived in one partition; the slowest partition speaks for the source.

        It is a sign of life of `wall_now` at the latest, for a sender's clock may run ahead.
        """
        self.sources[pulse.source_id] = source_line(pulse, self.dead.get(pulse.source_id, 0))
        partitions = self._beats.setdefault(pulse.source_id, {})
        partitions[partition] = min(ms(pulse.sent_at), wall_now)
        self.sent[pulse.source_id] = min(partitions.values())
        self.pulse = max(self.sent.values())
        self._changes.sources = True

    def recall(self, pulse: Pulse, wall_now: int) -> None:
        """Take the last pulse that the store knows: shown, but no sign of life until a new one comes."""
        self.sources[pulse.source_id] = source_line(pulse, self.dead.get(pulse.source_id, 0))
        self.sent[pulse.source_id] = min(ms(pulse.sent_at), wall_now)

    def bury(self, letter: DeadLetter) -> None:
        """Count a dead letter of a stage behind ingest; a source's own are in its tally."""
        if letter.stage != "source":
            self._more_dead(letter.source_id, 1)

    def _more_dead(self, source_id: str, more: int) -> None:
        self.dead[source_id] = self.dead.get(source_id, 0) + more
        line = self.sources.get(source_id)
        if line is not None and more:  # a source that is finished sends no pulse that would bring the new count
            self.sources[source_id] = line.model_copy(update={"dead": line.dead + more})
            self._changes.sources = True

    def note_urgent(self, key: str, published: int, author: str) -> None:
        """Count a mention among the urgent ones of the last 15 minutes."""
        self._urgent[key] = (published, author)

    def alert(self, event: AlertEvent) -> bool:
        """Take an alert's transition; False for one that is known or older."""
        known = self.alerts.get(event.alert_id)
        if (known is not None and event.seq <= known[0]) or event.state is AlertState.PENDING:
            return False
        self.alerts[event.alert_id] = (event.seq, alert_line(event))
        self._changes.alerts = True
        return True

    def tick(self, now: int) -> Changes:
        """Let time pass to `now` and return what changed since the last tick."""
        if now // 86_400_000 != self.day:
            self.day, self.heard_today = now // 86_400_000, 0
        for key in self._forbidden(self._withdrawals.search(self._seen)):
            self._hide(key)
        for key in [key for key, (at, _) in self._urgent.items() if at <= now - _URGENT_SPAN]:
            del self._urgent[key]
        self._drop_old(now)
        changes, self._changes = self._changes, Changes()
        changes.minutes, self.minutes.changed = self.minutes.changed, set()
        return changes

    def _drop_old(self, now: int) -> None:
        for key in [key for key, item in self.items.items() if item.published <= now - _CHOSEN_SPAN]:
            del self.items[key]
        if len(self.items) > 4 * CHOSEN:
            self.items = {item.id: item for item in self.chosen()}
        over = [
            key
            for key, (_, alert) in self.alerts.items()
            if alert.state == "resolved" and alert.changed <= now - _RESOLVED_SPAN
        ]
        for key in over:
            del self.alerts[key]
            self._changes.alerts = True

    def cut(self, now: int) -> list[float]:
        """Return the seconds from receipt to `now`, when a frame is cut, of what came since the last one."""
        delays = [max(0.0, (now - received) / 1000) for received in self._fresh]
        for delay in delays:
            self._delays.add(now, delay)
        self._fresh = []
        return delays

    def chosen(self) -> list[Item]:
        """Return the most urgent, then newest mentions: at most 50."""
        ranked = sorted(self.items.values(), key=lambda item: (RANK[item.urgency], item.published), reverse=True)
        return ranked[:CHOSEN]

    def figures(self, now: int) -> Figures:
        """Return the KPI tiles at `now`."""
        rate_usual, share_usual = self.minutes.usual(now)
        return Figures(
            per_minute=self._per_minute(now, rate_usual),
            per_minute_usual=rate_usual,
            negative=self.minutes.share(now),
            negative_usual=share_usual,
            urgent=len(self._urgent),
            urgent_oldest=min((at for at, _ in self._urgent.values()), default=None),
            delay_p95=percentile(self._delays.values(now), 0.95),
            heard_today=self.heard_today,
            stored_total=self.stored_total,
        )

    def _per_minute(self, now: int, expected: Usual | None) -> float:
        """Return how many were published in the last minute and heard within it.

        Where that is low, what is delivered in batches may only not have come yet, while what is usual has all of it:
        then the last whole minute counts that should be complete by now, as long as recent mentions took to come. It
        may say that all is as usual, not that there is more: a burst is shown while it lasts.
        """
        rate = len(self._rate.values(now))
        if expected is None or rate >= expected.low:
            return float(rate)
        took = int(percentile(self._ages.values(now), 0.95) or 0)
        return max(float(rate), min(float(self.minutes.whole(now - took).total), expected.middle))

    def open_alerts(self) -> list[WallAlert]:
        """Return alerts, the open ones first, most severe first, newest first."""
        return sorted(
            (alert for _, alert in self.alerts.values()),
            key=lambda alert: (alert.state == "resolved", alert.severity, -alert.started),
        )[:CHOSEN]

    def source_states(self, wall_now: int) -> list[WallSource]:
        """Return sources by id; one whose pulses stopped is `lost`, whatever it said last."""
        lines = []
        for key in sorted(self.sources):
            line = self.sources[key]
            if line.status != "finished" and self.sent[key] < wall_now - LOST_AFTER:
                line = line.model_copy(update={"status": "lost", "detail": "no sign of life from its process"})
            lines.append(line)
        return lines

    def age(self, now: int, wall_now: int) -> None:
        """Note what passing time alone has changed: figures that fell, sources that were lost."""
        aged = (self.figures(now), self.source_states(wall_now))
        if aged != self._aged:
            self._changes.figures = True
            self._changes.sources = True
        self._aged = aged

    def adopt(self, old: Board, now: int) -> None:
        """Take over from the board that this one replaces what only a tail knows: rates, pulses and open changes.

        What differs from it is a change, too. Alerts are this one's alone: who filled it knows all of them.
        """
        self._rate, self._delays, self._ages, self._fresh = old._rate, old._delays, old._ages, old._fresh
        stored, self.dead = self.dead, dict(old.dead)
        alive = max(old.sent.values(), default=0) - LOST_AFTER
        heard = {key: line for key, line in old.sources.items() if key in self.sources or old.sent[key] > alive}
        self.sources = {**self.sources, **heard}
        for source_id, count in stored.items():  # lines that were not shown yet have the stored count in them
            missed = max(0, count - old.dead.get(source_id, 0))
            if source_id in old.sources:
                self._more_dead(source_id, missed)
            else:
                self.dead[source_id] = old.dead.get(source_id, 0) + missed
        self.sent, self._beats = {**self.sent, **old.sent}, old._beats
        self.pulse = max(filter(None, (self.pulse, old.pulse)), default=None)
        known, self._seen = self._seen, OrderedDict(old._seen)
        for key, seen in known.items():
            before_seen = self._seen.get(key, _UNKNOWN)
            better = seen if before_seen.revision <= seen.revision else before_seen
            self.remember(key, replace(better, stone=max(seen.stone, before_seen.stone)))
        self.items = {key: item for key, item in old.items.items() if not old.outdated(key, known)} | self.items
        self._withdrawals.adopt(old._withdrawals)
        before, after = old.minutes.chart(now), self.minutes.chart(now)
        self.minutes.changed = old.minutes.changed | {
            new.at for new, was in zip(after, before, strict=True) if new != was
        }
        self._changes.merge(old._changes)
        self._changes.figures = True
        self._changes.alerts |= self.alerts != old.alerts
        self._changes.sources |= self.sources != old.sources
        shown = {*old.items, *self.items, *self._urgent, *self._changes.items}
        self._forbidden(shown)
        for key in [key for key in shown if self._seen.get(key, _UNKNOWN).gone]:
            self._hide(key)
