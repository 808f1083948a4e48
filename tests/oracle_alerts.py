"""An independent, brute-force oracle of the engine: every value from the whole history, nothing incremental.

It knows the rules of event time and of alerts, and none of the engine's structures. Use it on worlds without losses of
hearing: for those the unit tests state what must happen. `expected_alerts` returns (alert, seq, state, at) in order.

    history = [(record, partition), ...]            # in stream order
    assert transitions(engine_events) == expected_alerts(history, rules)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product

from alerts.rules import LEVELS, Measure, Rule
from streams.records import Action, AlertEvent, AlertState, AnyRecord, Mention, Pulse, ScoredMention, SourceStatus

Transition = tuple[str, str, tuple[tuple[str, str], ...], datetime, int, str, datetime, float]
"""(rule, realm, group, started, seq, state, at, value)."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def transitions(events: Iterable[AlertEvent]) -> list[Transition]:
    """Return each (alert, seq) once, in the order of event time, as the oracle states it."""
    found = {
        (event.alert_id, event.seq): (
            event.rule_id,
            event.realm,
            tuple(sorted(event.group.items())),
            event.started_at,
            event.seq,
            event.state.value,
            event.at,
            round(event.value, 9),
        )
        for event in events
    }
    return sorted(found.values(), key=lambda one: (one[6], one[0], one[1], one[2], one[4]))


@dataclass
class _Alert:
    started: datetime
    firing: bool = False
    calm: datetime | None = None
    seq: int = 0


@dataclass
class _World:
    lateness: timedelta
    partitions: int
    seen: list[ScoredMention] = field(default_factory=list)
    standing: tuple[int, list[ScoredMention]] = (0, [])
    pulses: dict[str, dict[int, Pulse]] = field(default_factory=dict)
    watermark: datetime | None = None
    ended: bool = False


def expected_alerts(
    history: Sequence[tuple[AnyRecord, int]],
    rules: Sequence[Rule],
    *,
    lateness: timedelta = timedelta(seconds=5),
    partitions: int = 1,
) -> list[Transition]:
    """Return all transitions that the history must lead to."""
    found: list[Transition] = []
    for realm in ("live", "rehearsal", "replay"):
        mine = [(one, at) for one, at in history if _realm(one) == realm]
        for rule in rules:
            if mine and rule.watches(realm):
                heard = [(one, at) for one, at in mine if _heard(one, rule, realm)]
                found += _run(heard, rule, realm, _World(lateness, partitions), _tail(rules))
    return sorted(found, key=lambda one: (one[6], one[0], one[1], one[2], one[4]))


def _realm(record: AnyRecord) -> str:
    return record.mention.realm if isinstance(record, ScoredMention) else getattr(record, "realm", "")


def _heard(record: AnyRecord, rule: Rule, realm: str) -> bool:
    """A rule that names its sources has event time of its own, save in a replay."""
    if not rule.sources or realm == "replay" or not isinstance(record, Pulse):
        return True
    return record.source_id in rule.sources


def _tail(rules: Sequence[Rule]) -> timedelta:
    return max(rule.window + rule.hold + rule.keep_firing + 2 * rule.every for rule in rules)


def _run(
    history: Sequence[tuple[AnyRecord, int]], rule: Rule, realm: str, world: _World, tail: timedelta
) -> list[Transition]:
    found: list[Transition] = []
    alerts: dict[tuple[str, ...], _Alert] = {}
    quiet: dict[tuple[str, ...], datetime] = {}
    evaluated: datetime | None = None
    for record, partition in history:
        if isinstance(record, ScoredMention):
            world.seen.append(record)
            continue
        assert isinstance(record, Pulse)
        world.pulses.setdefault(record.source_id, {})[partition] = record
        watermark = _watermark(world, tail)
        if watermark is None or watermark == world.watermark:
            continue
        if world.watermark is None:
            evaluated = _start(world, watermark, rule)
        world.watermark = watermark
        while evaluated is not None and evaluated + rule.every <= watermark:
            evaluated += rule.every
            found += _evaluate(world, rule, realm, evaluated, alerts, quiet)
    return found


def _start(world: _World, watermark: datetime, rule: Rule) -> datetime:
    newest = [pulse for by in world.pulses.values() for pulse in by.values() if pulse.status is SourceStatus.LIVE]
    real_time = bool(newest) and max(pulse.sent_at - pulse.at for pulse in newest) < timedelta(seconds=60)
    times = [_event_time(one.mention) for one in world.seen if one.mention.action is Action.PUBLISH]
    first = watermark if real_time or not times else min(*times, watermark)
    return first - (first - EPOCH) % rule.every - (timedelta(0) if real_time else rule.every)


def _watermark(world: _World, tail: timedelta) -> datetime | None:
    clocks = []
    for by_partition in world.pulses.values():
        if len(by_partition) < world.partitions:
            return world.watermark
        slowest = min(by_partition.values(), key=lambda pulse: pulse.sent_at)
        if slowest.status is SourceStatus.LIVE:
            clocks.append(min(pulse.at for pulse in by_partition.values()))
    if clocks:
        world.ended = False
        reached = min(clocks) - world.lateness
    else:
        times = [_event_time(one.mention) for one in _standing(world)]
        times += [] if world.watermark is None else [world.watermark]
        if world.ended or not times:
            return world.watermark
        world.ended = True
        reached = max(times) + tail
    return reached if world.watermark is None else max(reached, world.watermark)


def _event_time(mention: Mention) -> datetime:
    assert mention.published_at is not None
    return min(mention.published_at, mention.received_at)


def _standing(world: _World) -> list[ScoredMention]:
    if world.standing[0] != len(world.seen):
        world.standing = (len(world.seen), _latest(world.seen))
    return world.standing[1]


def _latest(seen: Sequence[ScoredMention]) -> list[ScoredMention]:
    """The highest revision of each identity that is neither deleted nor by a withdrawn author."""
    best: dict[tuple[str, str], ScoredMention] = {}
    withdrawn: dict[tuple[str, str], int] = {}
    for one in seen:
        mention = one.mention
        name = (mention.source_kind, mention.native_id)
        if mention.action is Action.DELETE_AUTHOR:
            withdrawn[name] = max(mention.revision, withdrawn.get(name, -1))
        elif name not in best or mention.revision > best[name].mention.revision:
            best[name] = one
    return [
        one
        for one in best.values()
        if one.mention.action is Action.PUBLISH
        and one.mention.author is not None
        and withdrawn.get((one.mention.source_kind, one.mention.author.id), -1) < one.mention.revision
    ]


def _groups(rule: Rule, mention: Mention) -> list[tuple[str, ...]]:
    if rule.query and not set(rule.query) & set(mention.queries):
        return []
    if rule.sources and mention.source_id not in rule.sources:
        return []
    values = {
        "query": [query for query in set(mention.queries) if not rule.query or query in rule.query],
        "source": [mention.source_id],
        "lang": [mention.lang or "und"],
    }
    return list(product(*(values[part] for part in rule.group_by)))


def _values(world: _World, rule: Rule, at: datetime) -> dict[tuple[str, ...], tuple[float, int]]:
    rows: dict[tuple[str, ...], list[bool]] = {}
    for one in _standing(world):
        assert one.score is not None
        if not at - rule.window < _event_time(one.mention) <= at:
            continue
        hit = {
            Measure.COUNT: True,
            Measure.NEGATIVE_SHARE: one.score.sentiment.label == "negative",
            Measure.URGENCY: LEVELS.index(one.score.urgency.label) >= LEVELS.index(rule.level or "high"),
        }[rule.measure]
        for group in _groups(rule, one.mention):
            rows.setdefault(group, []).append(hit)
    share = rule.measure is Measure.NEGATIVE_SHARE
    return {group: (sum(hits) / len(hits) if share else float(sum(hits)), len(hits)) for group, hits in rows.items()}


def _evaluate(
    world: _World,
    rule: Rule,
    realm: str,
    at: datetime,
    alerts: dict[tuple[str, ...], _Alert],
    quiet: dict[tuple[str, ...], datetime],
) -> list[Transition]:
    found: list[Transition] = []
    values = _values(world, rule, at)
    least = rule.at_least or 10 if rule.measure is Measure.NEGATIVE_SHARE else 0
    for group in sorted(set(values) | set(alerts)):
        value, mentions = values.get(group, (0.0, 0))
        alert = alerts.get(group)
        breach = value >= rule.threshold and mentions >= least
        if alert is None:
            if not breach or at < quiet.get(group, at):
                continue
            alert = alerts[group] = _Alert(at)
        state = _next(rule, alert, breach, value >= (rule.resolve_below or rule.threshold) and mentions >= least, at)
        if state is None:
            continue
        if state == "":
            del alerts[group]
            continue
        names = tuple(sorted(zip(rule.group_by, group, strict=True)))
        found.append((rule.id, realm, names, alert.started, alert.seq, state, at, round(value, 9)))
        alert.seq += 1
        if state == AlertState.RESOLVED.value:
            del alerts[group]
            quiet[group] = at + rule.cooldown
    return found


def _next(rule: Rule, alert: _Alert, breach: bool, held: bool, at: datetime) -> str | None:
    """The state to go to; None for no change, "" for a pending group that calmed down."""
    if not alert.firing:
        if not breach:
            return ""
        alert.firing = at - alert.started >= rule.hold
        return AlertState.FIRING.value if alert.firing else None
    if held:
        alert.calm = None
        return None
    alert.calm = alert.calm or at
    return AlertState.RESOLVED.value if at - alert.calm >= rule.keep_firing else None
