"""Cell: one rule in one realm, with its window, its open groups and their cooldowns; it turns verdicts into events.

Owns the identity of alerts (`alert_id`, `seq`), the reasons in words, and the rule-level no-data alert. Does not own
time (`alerts.clocks`, `alerts.engine`) nor the verdict (`alerts.machine`).

The rule-level no-data alert (group {}) opens when all sources of an idle rule that were ever live have been away for
`no_data_after`, unless the rule says `no_data: ignore`: a source that was never heard pages nobody. It is resolved at
the first evaluation at which one of them is heard again. A rule that was changed or added meanwhile opens its own: it
starts when the rule began, and no other alert of the rule did then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from alerts.clocks import RealmClock
from alerts.machine import Hearing, Opening, Phase, Verdict, breaches, judge
from alerts.moments import instant, span
from alerts.rules import LEVELS, Measure, Rule, write_duration
from alerts.windows import Exhibit, Group, Reading, Window
from streams.records import AlertEvent, AlertState


def alert_id(rule_id: str, realm: str, group: Mapping[str, str] | None, started: int) -> str:
    """Return 32 hex digits that the same firing always gets; `group` None is the rule-level no-data alert."""
    name = json.dumps([rule_id, realm, group, started], ensure_ascii=False, sort_keys=True)
    return blake2b(name.encode(), digest_size=16).hexdigest()


@dataclass(slots=True)
class Cell:
    """The state of one rule in one realm.

    `began` is the pulse time before which no no-data alert may start: that since when this revision is in force, or
    the last start of one; 0: always. `used` is the last time at which an alert may have started before time was set
    back; 0: never.
    """

    rule: Rule
    realm: str
    window: Window
    openings: dict[Group, Opening] = field(default_factory=dict)
    quiet_until: dict[Group, int] = field(default_factory=dict)
    blind: Opening | None = None
    began: int = 0
    used: int = 0

    @property
    def due(self) -> int | None:
        """The next grid step that has to be evaluated; None where nothing is in sight."""
        if self.window.at is not None and (self.openings or self.blind):
            return self.window.at + self.window.step
        return self.window.next_step()

    def evaluate(self, at: int, clock: RealmClock) -> list[AlertEvent]:
        """Move to the grid step `at` and return the transitions there, in the order of the groups."""
        self.window.move(at)
        self.quiet_until = {group: until for group, until in self.quiet_until.items() if until > at}
        events = self._see_again(at, clock)
        for group in sorted(self.openings.keys() | self.window.sums.keys()):
            reading = self.window.read(group)
            opening = self.openings.get(group)
            if opening is None:
                if not breaches(self.rule, reading) or group in self.quiet_until:
                    continue
                opening = self.openings[group] = Opening(Phase.PENDING, at)
            verdict = judge(self.rule, opening, reading, self._hearing(group, clock), at)
            events += self._act(group, opening, verdict, reading, at, clock)
        return events

    def settle(self, at: int, clock: RealmClock) -> list[AlertEvent]:
        """Turn firing groups that nothing can be heard of any more to no-data, while time stands still."""
        events: list[AlertEvent] = []
        at = at if self.window.at is None else max(at, self.window.at)
        for group, opening in sorted(self.openings.items()):
            if opening.phase is Phase.FIRING and self._hearing(group, clock) is Hearing.NONE:
                opening.calm = None
                events += self._act(group, opening, Verdict.LOSE_SIGHT, self.window.read(group), at, clock)
        return events

    def look(self, heard: int, no_data_after: int, clock: RealmClock) -> list[AlertEvent]:
        """Open the rule-level no-data alert where all sources have been away for long enough of pulse time."""
        if self.blind or self.rule.no_data == "ignore" or any(one.phase is not Phase.PENDING for one in self._open()):
            return []
        away, all_away = clock.missing(self.rule.sources)
        if not all_away:
            return []
        started = max(self.began, max(clock.away[name].since for name in away) + no_data_after)
        if heard < started:
            return []
        self.blind = Opening(Phase.NO_DATA, started)
        reason = f"nothing can be heard: {_spell(away, clock)}"
        return [self._event(None, self.blind, AlertState.NO_DATA, Reading(0.0, 0, enough=False), started, reason)]

    def set_back(self, present: int) -> None:
        """Go on from `present` after time was found to have run ahead: open alerts stay, what waited for then does not.

        A pending group begins anew; a cooldown lasts no longer than from now on. Alerts that start at a time which was
        there before get names of their own.
        """
        self.used = max(self.used, self.window.at or 0)
        self.window.clear()
        self.openings = {group: one for group, one in self.openings.items() if one.phase is not Phase.PENDING}
        for opening in self.openings.values():
            opening.calm = None
        latest = present + span(self.rule.cooldown)
        self.quiet_until = {group: min(until, latest) for group, until in self.quiet_until.items()}

    def disown(self, starts: Iterable[int]) -> None:
        """Leave their names to alerts of this rule as it was, which began at `starts`.

        One that began before what is known was saved has a name that no new one would take. The others may have been
        named in place of one that began with them: hence one further for each.
        """
        at = self.window.at or 0
        since = [start for start in starts if start > at or start >= self.began]
        self.used = max([self.used, *since]) + len(since)

    def _open(self) -> list[Opening]:
        return list(self.openings.values())

    def _see_again(self, at: int, clock: RealmClock) -> list[AlertEvent]:
        if self.blind is None or clock.missing(self.rule.sources)[1]:
            return []
        opening, self.blind = self.blind, None
        self.began = max(self.began, opening.started + 1)
        return [
            self._event(
                None, opening, AlertState.RESOLVED, Reading(0.0, 0, enough=False), at, "the sources are heard again"
            )
        ]

    def _hearing(self, group: Group, clock: RealmClock) -> Hearing:
        if clock.deserted or self._dropped(group, clock):
            return Hearing.NONE
        if not clock.away:
            return Hearing.FULL
        away, all_away = clock.missing(self._sources(group))
        return Hearing.NONE if all_away else Hearing.PART if away else Hearing.FULL

    def _dropped(self, group: Group, clock: RealmClock) -> list[str]:
        """Return the source that the group is of, if it is configured no more."""
        return [name for name in self._sources(group) if "source" in self.rule.group_by and name in clock.dropped]

    def _sources(self, group: Group) -> tuple[str, ...]:
        by = self.rule.group_by
        return (group[by.index("source")],) if "source" in by else self.rule.sources

    def _act(
        self, group: Group, opening: Opening, verdict: Verdict, reading: Reading, at: int, clock: RealmClock
    ) -> list[AlertEvent]:
        if verdict is Verdict.FIRE:
            state, opening.phase, reason = AlertState.FIRING, Phase.FIRING, self._measured(reading)
        elif verdict is Verdict.LOSE_SIGHT:
            state, opening.phase = AlertState.NO_DATA, Phase.NO_DATA
            away = self._dropped(group, clock) or clock.missing(self._sources(group))[0] or clock.dropped
            reason = f"can't be seen: {_spell(away, clock)}"
        elif verdict is Verdict.RESOLVE:
            state, reason = AlertState.RESOLVED, f"calm: {self._measured(reading)}"
            self.quiet_until[group] = at + span(self.rule.cooldown)
        if verdict in (Verdict.LAPSE, Verdict.RESOLVE):
            del self.openings[group]
        if verdict in (Verdict.LAPSE, Verdict.STAY):
            return []
        return [self._event(group, opening, state, reading, at, reason)]

    def _event(
        self, group: Group | None, opening: Opening, state: AlertState, reading: Reading, at: int, reason: str
    ) -> AlertEvent:
        rule = self.rule
        names: dict[str, str] | None = None if group is None else dict(zip(rule.group_by, group, strict=True))
        event = AlertEvent(
            alert_id=opening.last.alert_id if opening.last else self._new_id(names, opening.started),
            seq=opening.seq,
            rule_id=rule.id,
            rule_name=rule.name,
            rule_revision=rule.revision,
            team=rule.team,
            realm=self.realm,
            group=names or {},
            severity=rule.severity,
            state=state,
            at=instant(at),
            started_at=instant(opening.started),
            value=reading.value,
            threshold=rule.threshold,
            count=reading.mentions,
            reason=reason,
            receivers=rule.receivers,
        )
        opening.seq, opening.last = opening.seq + 1, event
        shown = self.window.evidence(group) if group is not None and state is AlertState.FIRING else ()
        return event.model_copy(update={"evidence": shown})

    def _new_id(self, group: Mapping[str, str] | None, started: int) -> str:
        if started <= self.used:
            started = self.used = self.used + 1
        return alert_id(self.rule.id, self.realm, group, started)

    def _measured(self, reading: Reading) -> str:
        rule, over = self.rule, write_duration(self.rule.window)
        if rule.measure is Measure.NEGATIVE_SHARE:
            return (
                f"{reading.value:.0%} of {reading.mentions} mentions in {over} are negative "
                f"(threshold {rule.threshold:.0%} of at least {rule.least})"
            )
        at_level = f" at {LEVELS[rule.lowest_level]} urgency or above" if rule.measure is Measure.URGENCY else ""
        return f"{reading.value:g} mentions{at_level} in {over} (threshold {rule.threshold:g})"

    def dump(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "revision": self.rule.revision,
            "began": self.began,
            "used": self.used,
            "at": self.window.at,
            "openings": [[list(group), _pack(opening)] for group, opening in self.openings.items()],
            "quiet": [[list(group), until] for group, until in self.quiet_until.items()],
            "blind": None if self.blind is None else _pack(self.blind),
            "exhibits": self.window.dump(),
        }

    def restore(self, data: Mapping[str, Any], exhibits: Mapping[int, Exhibit]) -> None:
        """Take over what `dump` gave for the same revision of the rule."""
        self.began, self.used = data.get("began", 0), data.get("used", 0)
        self.window.at = data["at"]
        self.window.exhibits = {tuple(group): [exhibits[key] for key in keys] for group, keys in data["exhibits"]}
        self.openings = {tuple(group): _unpack(packed) for group, packed in data["openings"]}
        self.quiet_until = {tuple(group): until for group, until in data["quiet"]}
        self.blind = None if data["blind"] is None else _unpack(data["blind"])


def after(data: Mapping[str, Any]) -> int:
    """Return the first pulse time that is later than each start of a no-data alert of a dumped cell."""
    began: int = data.get("began", 0)
    return 1 + (began if data["blind"] is None else max(began, _unpack(data["blind"]).started))


def closings(data: Mapping[str, Any], reason: str) -> list[AlertEvent]:
    """Return the events that resolve what a dumped cell had open: its rule was changed or removed."""
    packed = [one for _, one in data["openings"]] + ([data["blind"]] if data["blind"] is not None else [])
    lasts = [last for last in (_unpack(one).last for one in packed) if last is not None]
    return [
        last.model_copy(
            update={
                "seq": last.seq + 1,
                "state": AlertState.RESOLVED,
                "at": last.at if data["at"] is None else max(last.at, instant(data["at"])),
                "reason": reason,
            }
        )
        for last in lasts
    ]


def _pack(opening: Opening) -> list[Any]:
    last = None if opening.last is None else opening.last.model_dump(mode="json")
    return [opening.phase.value, opening.started, opening.seq, opening.calm, last]


def _unpack(packed: list[Any]) -> Opening:
    phase, started, seq, calm, last = packed
    event = None if last is None else AlertEvent.model_validate(last)
    return Opening(Phase(phase), started, seq, calm, event)


def _spell(away: list[str], clock: RealmClock) -> str:
    return ", ".join(f"{name} is {clock.away[name].status}" for name in away) or "no source is left"
