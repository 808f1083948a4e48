"""The clock of one realm: how far event time may go, and which sources can't be heard.

Owns each source's clock (the least pulse over the log's partitions), the frontier (the least clock of the live sources,
minus the lateness), and the changes of hearing in event-time order. Does not own what rules make of them, and reads no
clock: time passes by pulses alone.

A source that is stalled, unreachable, finished or lost does not hold time back. Lost: none of its pulses for
`lost_after` of *observed* time, in which a hole between two pulses of any source counts for at most five seconds; so a
machine that slept, or an ingest that was down, loses nobody. While no source is live, time stands still; when the first
is live again, time waits up to `lost_after` for those that went away with it: after an outage of the network each comes
back with what it missed, one sooner than another. A change of
hearing takes effect when event time reaches it, so that its place among the evaluations does not depend on how the
log's partitions interleave; only where no source is live it takes effect at once, as time will not come to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from alerts.moments import moment
from streams.records import Pulse, SourceStatus

LOST: Final = "lost"
DROPPED: Final = "switched off or removed"
_AWAY: Final = (SourceStatus.STALLED.value, SourceStatus.UNREACHABLE.value, LOST)
HOLE: Final = 5_000_000
"""Microseconds that a hole between two pulses counts for at most."""


class Beat(NamedTuple):
    """A source's last pulse in one partition: event time, the sender's wall clock, the status."""

    at: int
    sent: int
    status: str


class Away(NamedTuple):
    """Why a source can't be heard: its status, and the sender's wall clock when that began."""

    status: str
    since: int


class Turn(NamedTuple):
    """A change of hearing, in effect from event time `at`; `away` is None when the source is heard again."""

    at: int
    source: str
    away: Away | None


@dataclass(slots=True)
class SourceClock:
    """One source in one realm. `heard` is observed time at its last pulse; `turned` the last change queued for it."""

    beats: dict[int, Beat] = field(default_factory=dict)
    heard: int = 0
    live_seen: bool = False
    lost: bool = False
    away: Away | None = None
    turned: int = 0

    def beat(self, partitions: frozenset[int]) -> Beat | None:
        """Return the pulse that all partitions have reached; None while one of them has shown none."""
        expected = partitions or frozenset(self.beats)
        if not expected or not expected <= self.beats.keys():
            return None
        last = min((self.beats[partition] for partition in expected), key=lambda beat: beat.sent)
        return Beat(min(self.beats[partition].at for partition in expected), last.sent, last.status)


@dataclass(slots=True)
class RealmClock:
    """All sources of one realm. `frontier` is the watermark in microseconds; None before the first."""

    lateness: int
    lost_after: int
    partitions: frozenset[int] = frozenset()
    sources: dict[str, SourceClock] = field(default_factory=dict)
    away: dict[str, Away] = field(default_factory=dict)
    frontier: int | None = None
    ended: bool = False
    awaited: dict[str, int] = field(default_factory=dict)
    _turns: list[Turn] = field(default_factory=list)

    def pulse(self, pulse: Pulse, partition: int, observed: int) -> None:
        """Take a source's sign of life."""
        stood = self._gone_together() if self.stands_still else ()
        if pulse.source_id not in self.sources:
            self.away.pop(pulse.source_id, None)
        source = self.sources.setdefault(pulse.source_id, SourceClock())
        source.beats[partition] = Beat(moment(pulse.at), moment(pulse.sent_at), pulse.status.value)
        source.heard, source.lost = observed, False
        self._turn(pulse.source_id, source, moment(pulse.sent_at))
        if stood and not self.stands_still:
            self.awaited = dict.fromkeys(stood, observed + self.lost_after)
        if self._status(source) == SourceStatus.LIVE:
            self.awaited.pop(pulse.source_id, None)

    def _gone_together(self) -> list[str]:
        """Return the sources that went away when time came to a stand; not those that had been away before."""
        since = {name: source.away.since for name, source in self.sources.items() if source.away}
        last = max(since.values(), default=0)
        return [name for name, at in since.items() if at >= last - self.lost_after]

    def _turn(self, name: str, source: SourceClock, heard: int) -> None:
        """Queue the change of hearing, if there is one; `heard` is the sender's wall clock at the last pulse of all."""
        beat = source.beat(self.partitions)
        if beat is None and not source.lost:
            return
        # A clock that was set back may have left no pulse to go by.
        unheard = Beat(source.turned or heard, heard - self.lost_after, LOST)
        beat = beat or max(source.beats.values(), key=lambda one: one.sent, default=unheard)
        status = self._status(source)
        if status == SourceStatus.LIVE:
            source.live_seen, self.ended = True, False
        late = self.lost_after if source.lost else 0
        away = None
        if status in _AWAY:
            away = source.away._replace(status=status) if source.away else Away(status, beat.sent + late)
        if away == source.away or (away and not source.live_seen):
            return
        source.away, source.turned = away, max(source.turned, beat.at + late)
        self._turns.append(Turn(source.turned, name, away))
        self._turns.sort(key=lambda turn: (turn.at, turn.source))

    def watch(self, observed: int, heard: int) -> None:
        """Lose the sources that have not been heard for too long, and wait for none longer than that.

        `heard` is the sender's wall clock at the last pulse of all.
        """
        self.awaited = {name: until for name, until in self.awaited.items() if observed <= until}
        for name, source in self.sources.items():
            if not (source.lost and source.beats) and observed - source.heard > self.lost_after:
                source.lost = True
                self._turn(name, source, heard)

    def _status(self, source: SourceClock) -> str:
        if source.lost:
            statuses = {beat.status for beat in source.beats.values()}
            return SourceStatus.FINISHED.value if statuses == {SourceStatus.FINISHED} else LOST
        beat = source.beat(self.partitions)
        return "" if beat is None else beat.status

    def target(self, newest: Callable[[], int | None], tail: int) -> int | None:
        """Return how far time may go now; `newest` says the last mention's event time, `tail` is the longest span.

        When every source that was ever live has finished, nothing more will come: time goes on, once, until the last
        mention has left every window and every hold is over; also where none is left, since an alert may be open.
        """
        states = {name: self._status(source) for name, source in self.sources.items()}
        if any(not status for status in states.values()):
            return self.frontier
        live = [self.sources[name] for name, status in states.items() if status == SourceStatus.LIVE]
        if live and self.awaited:
            return self.frontier
        if live:
            clocks = [beat.at for beat in (source.beat(self.partitions) for source in live) if beat is not None]
            return _later(self.frontier, min(clocks) - self.lateness)
        if self.ended or not self._all_finished(states):
            return self.frontier
        self.ended, last = True, newest()
        base = self.frontier if last is None else _later(self.frontier, last)
        return None if base is None else base + tail

    def _all_finished(self, states: Mapping[str, str]) -> bool:
        concerned = [
            name for name, source in self.sources.items() if source.live_seen or states[name] == SourceStatus.FINISHED
        ]
        return bool(concerned) and all(states[name] == SourceStatus.FINISHED for name in concerned)

    @property
    def real_time(self) -> bool:
        """Whether a live source's event time is the wall clock: what is older than its first pulse is then old news."""
        beats = [beat for source in self.sources.values() for beat in source.beats.values() if beat.status == "live"]
        return bool(beats) and max(beat.sent - beat.at for beat in beats) < self.lost_after

    @property
    def stands_still(self) -> bool:
        """Whether no source is live, so that event time does not pass."""
        return not any(self._status(source) in (SourceStatus.LIVE, "") for source in self.sources.values())

    def turn_to(self, at: int | None) -> int | None:
        """Put the changes up to event time `at` (None: all) in effect; return the time of the last, None if none."""
        last: int | None = None
        while self._turns and (at is None or self._turns[0].at <= at):
            turn = self._turns.pop(0)
            last = turn.at
            if turn.away is None:
                self.away.pop(turn.source, None)
            else:
                self.away[turn.source] = turn.away
        return last

    @property
    def deserted(self) -> bool:
        """Whether nothing was ever heard of the sources that are left: those that were are configured no more."""
        return not any(
            source.live_seen or self._status(source) == SourceStatus.FINISHED for source in self.sources.values()
        )

    @property
    def dropped(self) -> list[str]:
        """Return the sources that were heard and are configured no more, as far as `forget` kept their names."""
        return sorted(name for name, away in self.away.items() if away.status == DROPPED)

    def missing(self, wanted: Iterable[str]) -> tuple[list[str], bool]:
        """Return which of `wanted` (empty: all) can't be heard, and whether that is all of those ever live."""
        names = set(wanted) or set(self.sources)
        concerned = [name for name in names if name in self.sources and self.sources[name].live_seen]
        away = sorted(name for name in concerned if name in self.away)
        return away, bool(away) and len(away) == len(concerned)

    def ahead_of(self, limit: int) -> bool:
        """Whether anything here claims a time after `limit`, but for the time that goes on after all have finished."""
        times = [self.frontier] if self.frontier is not None and not self.ended else []
        times += [turn.at for turn in self._turns]
        for source in self.sources.values():
            times += [source.turned, *(max(beat.at, beat.sent) for beat in source.beats.values())]
        return max(times, default=limit) > limit

    def set_back(self, present: int, limit: int) -> bool:
        """Forget what claims a time after `limit`; return whether the frontier did: it is found anew from pulses.

        A source none of whose pulses is left goes on from where they had come, and is lost in the end if that was all.
        """
        for source in self.sources.values():
            reached = max((beat.at for beat in source.beats.values()), default=0)
            source.beats = {
                partition: beat for partition, beat in source.beats.items() if max(beat.at, beat.sent) <= limit
            }
            source.turned = min(source.turned if source.beats else max(source.turned, reached), present)
            source.away = source.away and source.away._replace(since=min(source.away.since, present))
        self.away = {name: away._replace(since=min(away.since, present)) for name, away in self.away.items()}
        self._turns = [turn._replace(at=min(turn.at, present)) for turn in self._turns]
        if self.frontier is None or self.ended or self.frontier <= limit:
            return False
        self.frontier = None
        return True

    def forget(self, known: frozenset[str], open_for: frozenset[str] = frozenset()) -> None:
        """Drop the sources that are configured no more.

        The names of those that were heard stay while none is left that was, and those that alerts are `open_for`.
        """
        gone = {name: Away(DROPPED, 0) for name in self.dropped}
        for name in self.sources.keys() - known:
            if self.sources.pop(name).live_seen:
                gone[name] = Away(DROPPED, 0)
            self.awaited.pop(name, None)
        self.away = {name: away for name, away in self.away.items() if name in self.sources}
        self.away |= {name: away for name, away in gone.items() if self.deserted or name in open_for}
        self._turns = [turn for turn in self._turns if turn.source in known]

    def dump(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "frontier": self.frontier,
            "ended": self.ended,
            "away": self.away,
            "turns": self._turns,
            "awaited": self.awaited,
            "sources": {
                name: [source.beats, source.heard, source.live_seen, source.lost, source.away, source.turned]
                for name, source in self.sources.items()
            },
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.frontier, self.ended = data["frontier"], data["ended"]
        self.away = {name: Away(*away) for name, away in data["away"].items()}
        self._turns = [Turn(at, name, Away(*away) if away else None) for at, name, away in data["turns"]]
        self.awaited = dict(data.get("awaited", {}))
        for name, (beats, heard, live_seen, lost, away, turned) in data["sources"].items():
            by_partition = {int(partition): Beat(*beat) for partition, beat in beats.items()}
            gone = Away(*away) if away else None
            self.sources[name] = SourceClock(by_partition, heard, live_seen, lost, gone, turned)


def _later(one: int | None, other: int) -> int:
    return other if one is None else max(one, other)
