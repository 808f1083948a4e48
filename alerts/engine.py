"""Engine: scored mentions and pulses in, alert events out; a pure and deterministic function of its input.

Owns the order of things: a mention counts for every evaluation that comes after it, a pulse moves its realm's frontier
and evaluates each grid step up to it. So all mentions of the windows are in when their step is evaluated, whatever the
order within the lateness; a mention that comes later is late: it is counted, and it still enters the windows that
contain it from the next evaluation on. Realms (live, rehearsal, replay) never meet. Does not own the log, the saved
state's place, nor any clock (`alerts.worker`): the same records give the same events, in one batch or in many, before
or after a dump and load. Invariant 4: a source that can't be heard never resolves an alert (`alerts.machine`).

The first frontier of a realm decides where time begins: at the first mention, if its sources tell of the past (a file,
a replay); at the frontier itself, if they are in real time, so that a feed's old entries page nobody.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from alerts.cells import Cell, after, closings
from alerts.clocks import HOLE, RealmClock
from alerts.contributions import event_time
from alerts.moments import AHEAD, grid_to, instant, moment, span
from alerts.orphans import ends
from alerts.realms import Realm, by_sources
from alerts.rules import Rule
from alerts.windows import Exhibit
from streams.records import Action, AlertEvent, AnyRecord, Pulse, ScoredMention, SourceStatus

VERSION: Final = 2
READABLE: Final = (1, VERSION)
"""Version 1 had one clock a realm."""
LATENESS: Final = timedelta(seconds=5)
LOST_AFTER: Final = timedelta(seconds=60)
NO_DATA_AFTER: Final = timedelta(minutes=2)


class UnreadableState(ValueError):
    """Saved state that is damaged or of another version: the process must stop (design.md, invariant 3)."""


@dataclass(slots=True)
class Step:
    """What a batch brought: events in order, and by source, late mentions and what a clock ahead of ours dated."""

    events: list[AlertEvent]
    late: Counter[str]
    ahead: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Engine:
    """All rules over all realms. `sources`, if given, are the configured ones: pulses of others are passed over."""

    rules: Sequence[Rule]
    lateness: timedelta = LATENESS
    lost_after: timedelta = LOST_AFTER
    no_data_after: timedelta = NO_DATA_AFTER
    sources: frozenset[str] | None = None
    realms: dict[str, Realm] = field(default_factory=dict, init=False)
    _partitions: frozenset[int] = field(default=frozenset(), init=False)
    _heard: int | None = field(default=None, init=False)
    _observed: int = field(default=0, init=False)
    _events: list[AlertEvent] = field(default_factory=list, init=False)
    _late: Counter[str] = field(default_factory=Counter, init=False)
    _ahead: Counter[str] = field(default_factory=Counter, init=False)
    _present: int | None = field(default=None, init=False)
    exchanged: bool = field(default=False, init=False)
    """Whether the state was saved under other rules."""

    def assign(self, partitions: frozenset[int]) -> None:
        """Say which partitions the input has: a source's clock is its least pulse over all of them."""
        self._partitions = partitions
        for realm in self.realms.values():
            realm.clock.partitions = partitions

    def feed(self, record: AnyRecord, partition: int = 0) -> None:
        """Take one record of [scored]; ValueError for one that the topic must not hold. Events wait for `drain`."""
        if isinstance(record, Pulse):
            self._pulse(record, partition)
        elif isinstance(record, ScoredMention):
            self._mention(record)
        else:
            raise TypeError(f"[scored] holds no {record.type}; append it to its own topic")

    def drain(self) -> Step:
        """Return the events and late mentions since the last call."""
        step = Step(self._events, self._late, self._ahead)
        self._events, self._late, self._ahead = [], Counter(), Counter()
        return step

    def step(self, records: Iterable[tuple[AnyRecord, int]]) -> Step:
        """Feed (record, partition) pairs in stream order and return what came of them."""
        for record, partition in records:
            self.feed(record, partition)
        return self.drain()

    def tick(self, now: datetime) -> None:
        """Let observed time pass without any pulse, by at most 5 s a call; what follows from it waits for `advance`."""
        self._observe(moment(now))

    def believe(self, now: datetime) -> None:
        """Say what time it is: nothing more than a minute later is believed from here on, nor what was before.

        A clock that was wrong for a second would else make every mention late until its time had come. A realm whose
        time ran ahead goes on from the present, with its open alerts; live pulses from the future are passed over, so
        that a source that sends no others is lost, and said to be.
        """
        present = self._present = moment(now)
        if self._heard is not None and self._heard > present + AHEAD:
            self._heard = present
        for realm in self.realms.values():
            realm.set_back(present)

    def advance(self) -> None:
        """Do what the state asks for: after a tick, or after a load. A second call does nothing."""
        for realm in self.realms.values():
            realm.clock.watch(self._observed, self._heard or 0)
            self._advance(realm)

    def disown(self, last: Iterable[AlertEvent]) -> None:
        """Resolve what [alerts] has open of rules as they were; `last` is the last event of each alert there.

        New alerts don't take the names of those that began since the state was saved, though they may start at the
        same time.
        """
        revisions = self._revisions
        old = [event for event in last if revisions.get(event.rule_id) != event.rule_revision]
        starts: dict[tuple[str, str], list[int]] = {}
        for event in old:
            starts.setdefault((event.realm, event.rule_id), []).append(moment(event.started_at))
        for name in dict.fromkeys(realm for realm, _ in starts):
            for realm in self._realms(name):
                for cell in realm.cells:
                    cell.disown(starts.get((name, cell.rule.id), ()))
        seqs = {event.alert_id: event.seq for event in old}
        self._events = [event for event in self._events if event.seq > seqs.get(event.alert_id, -1)]
        ended = {event.alert_id for event in self._events}
        self._events += [event for event in ends(old, revisions) if event.alert_id not in ended]

    @property
    def _revisions(self) -> dict[str, str]:
        return {rule.id: rule.revision for rule in self.rules}

    def _observe(self, sent: int) -> None:
        if self._heard is not None:
            self._observed += min(max(sent - self._heard, 0), HOLE)
        self._heard = sent if self._heard is None else max(self._heard, sent)

    def _pulse(self, pulse: Pulse, partition: int) -> None:
        if self.sources is not None and pulse.source_id not in self.sources:
            return
        believed = self._believed(pulse)
        if believed is None:
            self._ahead[pulse.source_id] += 1
            return
        self._observe(moment(believed.sent_at))
        for realm in self._realms(pulse.realm):
            if realm.hears(pulse.source_id):
                realm.clock.pulse(believed, partition, self._observed)
        self.advance()

    def _believed(self, pulse: Pulse) -> Pulse | None:
        """Return the pulse with no time after the present; None for one that would move event time beyond it."""
        limit = None if self._present is None else self._present + AHEAD
        if limit is None or max(moment(pulse.at), moment(pulse.sent_at)) <= limit:
            return pulse
        if pulse.status is SourceStatus.LIVE:
            return None
        now = instant(self._present or 0)
        return pulse.model_copy(update={"at": min(pulse.at, now), "sent_at": min(pulse.sent_at, now)})

    def _mention(self, scored: ScoredMention) -> None:
        mention = scored.mention
        if mention.action is Action.PUBLISH and (mention.published_at is None or scored.score is None):
            raise ValueError(
                "a published mention needs published_at and score; the scorer must append to [dead] instead"
            )
        if self._present is not None and event_time(mention) > self._present + AHEAD:
            self._ahead[mention.source_id] += 1
        late = False
        for realm in self._realms(mention.realm):
            if realm.concerns(scored):
                late |= self._take(realm, scored)
        if late:
            self._late[mention.source_id] += 1

    def _take(self, realm: Realm, scored: ScoredMention) -> bool:
        """Count a mention; return whether it is late: new, though its time has passed here."""
        frontier, late = realm.clock.frontier, False
        cutoff = None if frontier is None else frontier - self._horizon
        for change in realm.contributions.take(scored, frontier, cutoff, self._present):
            if change.fresh and scored.mention.action is Action.PUBLISH and frontier is not None:
                late = event_time(scored.mention) <= frontier
            realm.apply(change, scored)
        return late

    def _realms(self, name: str) -> list[Realm]:
        """Return the realm's parts: the one that hears all sources, and one for each choice of sources."""
        if name not in self.realms:
            for sources, rules in by_sources(self.rules, name).items():
                clock = RealmClock(span(self.lateness), span(self.lost_after), self._partitions)
                realm = Realm.of(name, sources, rules, clock)
                self.realms[realm.key] = realm
        return [realm for realm in self.realms.values() if realm.name == name]

    @property
    def _horizon(self) -> int:
        """What has to be kept behind the frontier: the longest window, one step of it, and the lateness."""
        longest = max((span(rule.window) + span(rule.every) for rule in self.rules), default=60_000_000)
        return longest + span(self.lateness)

    @property
    def _tail(self) -> int:
        """How far time goes on after all sources finished."""
        spans = (rule.window + rule.hold + rule.keep_firing + 2 * rule.every for rule in self.rules)
        return span(max(spans, default=timedelta(0)))

    def _advance(self, realm: Realm) -> None:
        clock = realm.clock
        target = clock.target(realm.contributions.newest, self._tail)
        if target is not None and target != clock.frontier:
            if clock.frontier is None and clock.real_time:
                for cell in realm.cells:
                    cell.window.move(grid_to(target, cell.window.step))
            self._walk(realm, target)
            clock.frontier = target
            forgotten = realm.contributions.forget(target - self._horizon)
            for cell in realm.cells:
                cell.window.forget_facets(forgotten)
        if clock.stands_still:
            self._settle(realm)
        elif clock.frontier is not None:
            clock.turn_to(min((cell.window.at or 0 for cell in realm.cells), default=clock.frontier))
        for cell in realm.cells:
            self._events += cell.look(self._heard or 0, span(self.no_data_after), clock)

    def _settle(self, realm: Realm) -> None:
        """Say at once what can't be heard any more, as time will not come to it."""
        last = realm.clock.turn_to(None)
        if last is None and realm.clock.deserted:
            last = realm.clock.frontier or self._heard
        if last is not None:
            for cell in realm.cells:
                self._events += cell.settle(last, realm.clock)

    def _walk(self, realm: Realm, target: int) -> None:
        """Evaluate every step up to `target` at which something can change, in order of time."""
        while True:
            dues = [cell.due for cell in realm.cells]
            at = min((due for due in dues if due is not None and due <= target), default=None)
            if at is None:
                break
            realm.clock.turn_to(at)
            for cell, due in zip(realm.cells, dues, strict=True):
                if due == at:
                    self._events += cell.evaluate(at, realm.clock)
        for cell in realm.cells:
            cell.window.move(grid_to(target, cell.window.step))

    def dump(self) -> str:
        """Return the whole state as JSON text; events not drained yet are not part of it."""
        realms = {key: realm.dump() for key, realm in self.realms.items()}
        time = {"heard": self._heard, "observed": self._observed, "partitions": sorted(self._partitions)}
        state = {"v": VERSION, **time, "rules": self._revisions, "realms": realms}
        return json.dumps(state, ensure_ascii=False, separators=(",", ":"))

    def restore(self, text: str) -> None:
        """Take over what `dump` gave; open alerts of rules that were changed or removed are resolved.

        Raises UnreadableState.
        """
        try:
            state = json.loads(text)
            if state["v"] in READABLE:
                self._heard, self._observed = state["heard"], state["observed"]
                self.exchanged = state.get("rules") != self._revisions
                self._partitions = frozenset(state["partitions"])
                for name in {data.get("realm", key): None for key, data in state["realms"].items()}:
                    self._restore_realm(name, state["realms"])
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise UnreadableState(f"the saved engine state is damaged: {type(error).__name__}: {error}") from error
        if state["v"] not in READABLE:
            raise UnreadableState(f"engine state of version {state['v']}, not {VERSION}; run the program that wrote it")

    def _restore_realm(self, name: str, dumps: Mapping[str, Any]) -> None:
        """Restore a realm's parts; a choice of sources that is new begins with what the whole realm knew."""
        cells: dict[str, tuple[Realm, Cell]] = {}
        ours = {key: data for key, data in dumps.items() if data.get("realm", key) == name}
        exhibits = {key: {row[0]: Exhibit(*row) for row in data["exhibits"]} for key, data in ours.items()}
        for realm in self._realms(name):
            realm.restore_time(ours.get(realm.key, ours[name]), self.sources)
            cells |= {cell.rule.id: (realm, cell) for cell in realm.cells}
        for _, cell in cells.values():
            cell.began = self._heard or 0
        kept: set[str] = set()
        for key, data in ours.items():
            kept |= self._restore_cells(data, cells, exhibits[key])
        for realm, cell in cells.values():
            if cell.window.at is None and realm.clock.frontier is not None:
                cell.window.at = grid_to(realm.clock.frontier, cell.window.step)
            realm.fill(cell, {} if cell.rule.id in kept else exhibits.get(realm.key, exhibits[name]))

    def _restore_cells(
        self, data: Mapping[str, Any], cells: Mapping[str, tuple[Realm, Cell]], exhibits: Mapping[int, Exhibit]
    ) -> set[str]:
        """Restore the cells of unchanged rules, and return which those are; close what others had open."""
        kept = set()
        for rule_id, saved in data["cells"].items():
            cell = cells[rule_id][1] if rule_id in cells else None
            if cell is not None and cell.rule.revision == saved["revision"]:
                cell.restore(saved, exhibits)
                kept.add(rule_id)
            else:
                if cell is not None:
                    cell.began, cell.used = max(cell.began, after(saved)), saved.get("used", 0)
                self._events += closings(saved, "the rule was removed" if cell is None else "the rule was changed")
        return kept

    @classmethod
    def load(cls, text: str, rules: Sequence[Rule], **settings: Any) -> Engine:
        """Return an engine with `rules` that goes on from `text`; see `restore`."""
        engine = cls(rules, **settings)
        engine.restore(text)
        return engine
