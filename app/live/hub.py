"""The hub: tails [scored] and [alerts], keeps a board per realm, cuts frames five times a second into shared rings.

Owns epoch, sequence, the ticker and the snapshot. Does not own sockets, history or what a board counts. At start and
once a minute a board is filled from the store at the store's own offsets and what the tails have read since is applied
again: figures and alerts are exact whatever the hub missed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import structlog

from app.frames import Bye, Delta, Heartbeat, Item, Resync, Snapshot, WallSource
from app.live.board import Board, Changes, Spans, ms
from app.live.items import RANK
from app.live.ring import Encoded, Ring
from app.store import TRANSIENT
from streams.metrics import LATENCY, SHOWN
from streams.pump import Received, Rejected
from streams.records import LIVE, REHEARSAL, REPLAY, Action, AlertEvent, DeadLetter, Pulse, ScoredMention
from streams.stream import Position

REALMS: Final = (LIVE, REHEARSAL, REPLAY)
TICK: Final = 0.2
RATES: Final = {5: 1, 2: 3, 1: 5}
"""Rate class in Hz -> ticks a frame (2 Hz is 600 ms)."""
MOST_INSERTED: Final = 10
REFRESH: Final = 60.0
"""Seconds between refreshes, and that the store may take for one board."""
LIVE_SEEN: Final = timedelta(hours=1)
TAIL_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Offsets:
    """Of [scored] and of [alerts]: the next offset of each partition; one left out begins at the beginning."""

    scored: Mapping[int, int]
    alerts: Mapping[int, int]


Seed = Callable[[str, datetime, Spans], Awaitable[tuple[Board, Offsets]]]
"""Given a realm and now: a board filled from the store, and the offsets that it is complete up to."""

_R = TypeVar("_R")
_PASSING: Final[tuple[type[Exception], ...]] = (*TRANSIENT, OSError, TimeoutError)
_log = structlog.get_logger("hub")


@dataclass(slots=True)
class Channel:
    """One realm's board with its sequence, rings and what each rate class has not cut yet."""

    board: Board
    seq: int = 1
    rings: dict[int, Ring] = field(default_factory=dict)
    pending: dict[int, Changes] = field(default_factory=dict)
    tail: deque[tuple[Position, ScoredMention]] = field(default_factory=lambda: deque(maxlen=TAIL_KEPT))
    transitions: deque[tuple[Position, AlertEvent]] = field(default_factory=lambda: deque(maxlen=TAIL_KEPT))

    def forget(self, stored: Offsets) -> bool:
        """Drop what the store has by now; False when the store is so far behind that a tail does not reach back."""
        tail, transitions = _since(self.tail, stored.scored), _since(self.transitions, stored.alerts)
        if TAIL_KEPT in {len(tail), len(transitions)}:
            return False
        self.tail, self.transitions = tail, transitions
        return True

    def __post_init__(self) -> None:
        self.rings = {rate: Ring(self.seq, lambda: self.seq) for rate in RATES}
        self.pending = {rate: Changes() for rate in RATES}


@dataclass(frozen=True)
class HubSettings:
    """What the hub is told: the wall's title, its clocks and the front end's build hash."""

    title: str
    zones: tuple[str, ...]
    build: str


class Hub:
    """The live state of one serving process."""

    def __init__(self, settings: HubSettings, seed: Seed, spans: Spans, clock: Callable[[], datetime]) -> None:
        self.epoch = secrets.token_hex(6)
        self.stopping = asyncio.Event()
        self.filled = False
        self._settings = settings
        self._seed = seed
        self._spans = spans
        self._clock = clock
        self._channels = {realm: Channel(Board(spans)) for realm in REALMS}
        self._replay_clock: datetime | None = None
        self._ticks = 0
        self._live_at: datetime | None = None

    def respell(self, spans: Spans) -> None:
        """Use the matched-word spans of a new configuration."""
        self._spans = spans

    async def start(self) -> Offsets:
        """Fill the boards from the store; return the lowest offsets from which [scored] and [alerts] must be tailed."""
        now = self._clock()
        stored: list[Offsets] = []
        for realm in REALMS:
            self._channels[realm].board, offsets = await self._seed(realm, now, self._spans)
            stored.append(offsets)
        live = self._channels[LIVE].board.last_mention
        self._live_at = datetime.fromtimestamp(live / 1000, UTC) if live else None
        self.filled = True
        return Offsets(_lowest([each.scored for each in stored]), _lowest([each.alerts for each in stored]))

    async def refresh(self) -> None:
        """Fill each board anew from the store and apply again what the tail read since: exact figures."""
        for realm, channel in self._channels.items():
            async with asyncio.timeout(REFRESH):
                board, stored = await self._seed(realm, self._now(realm), self._spans)
            if channel.forget(stored):
                now = ms(self._now(realm))
                for _, scored in channel.tail:
                    board.mention(scored, now)
                for _, event in channel.transitions:
                    board.alert(event)
                board.adopt(channel.board, now)
                channel.board = board

    def _now(self, realm: str) -> datetime:
        if realm == REPLAY and self._replay_clock is not None:
            return self._replay_clock
        return self._clock()

    async def take_scored(self, batch: Sequence[Received]) -> Sequence[Rejected]:
        """Pump handler of [scored]."""
        for received in batch:
            record = received.record
            if isinstance(record, Pulse):
                if record.realm == REPLAY:
                    self._replay_clock = max(self._replay_clock or record.at, record.at)
                board = self._channels[record.realm].board
                board.beat(record, received.delivery.position.partition, ms(self._clock()))
            elif isinstance(record, ScoredMention):
                self._take(received.delivery.position, record)
        return ()

    def _take(self, position: Position, scored: ScoredMention) -> None:
        """Take a mention on its realm's wall; what is withdrawn upstream leaves every wall, as it does the store."""
        mention = scored.mention
        everywhere = mention.realm == LIVE and mention.action is not Action.PUBLISH
        for realm in REALMS if everywhere else (mention.realm,):
            channel = self._channels[realm]
            channel.tail.append((position, scored))
            changed = channel.board.mention(scored, ms(self._now(realm)))
            if changed and realm == mention.realm:
                SHOWN.labels(mention.source_id).inc()
                if realm == LIVE:
                    self._live_at = self._clock()

    async def take_alerts(self, batch: Sequence[Received]) -> Sequence[Rejected]:
        """Pump handler of [alerts]."""
        for received in batch:
            if isinstance(received.record, AlertEvent):
                channel = self._channels[received.record.realm]
                channel.transitions.append((received.delivery.position, received.record))
                channel.board.alert(received.record)
        return ()

    async def take_dead(self, batch: Sequence[Received]) -> Sequence[Rejected]:
        """Pump handler of [dead]."""
        for received in batch:
            if isinstance(received.record, DeadLetter):
                self._channels[received.record.realm].board.bury(received.record)
        return ()

    @property
    def live_seen(self) -> bool:
        """Whether a live mention came within the last hour."""
        return self._live_at is not None and self._clock() - self._live_at < LIVE_SEEN

    def realm(self, name: str) -> str | None:
        """Return the realm that `name` means (`auto`: live if live mentions come, else rehearsal); None for unknown."""
        if name == "auto":
            return LIVE if self.live_seen else REHEARSAL
        return name if name in self._channels else None

    def ring(self, realm: str, rate: int) -> Ring:
        """Return the ring of a realm for the fastest rate class that is not above `rate`."""
        fitting = max((known for known in RATES if known <= rate), default=min(RATES))
        return self._channels[realm].rings[fitting]

    def snapshot(self, realm: str) -> Snapshot:
        """Return the whole wall now."""
        channel = self._channels[realm]
        board = channel.board
        now = self._now(realm)
        figures = board.figures(ms(now))
        return Snapshot(
            epoch=self.epoch,
            seq=channel.seq,
            ts=ms(now),
            pulse=self._pulse(realm),
            build=self._settings.build,
            realm=realm,
            live_seen=self.live_seen,
            title=self._settings.title,
            zones=[(zone_label(name), name) for name in self._settings.zones],
            figures=figures,
            minutes=board.minutes.chart(ms(now)),
            usual=figures.per_minute_usual,
            items=board.chosen(),
            alerts=board.open_alerts(),
            sources=self._sources(realm),
        )

    def _sources(self, realm: str) -> list[WallSource]:
        """Return the realm's sources; a rehearsal also says how the live ones are, for it may stand in for them."""
        now = ms(self._clock())
        own = self._channels[realm].board.source_states(now)
        return own if realm != REHEARSAL else [*own, *self._channels[LIVE].board.source_states(now)]

    def _pulse(self, realm: str) -> int | None:
        pulse = self._channels[realm].board.pulse
        if realm != REPLAY or pulse is None:
            return pulse
        behind = ms(self._clock()) - pulse
        return ms(self._now(realm)) - behind

    async def run(self) -> None:
        """Cut frames until stopped; beside it refresh from the store, which may take its time or hang."""
        async with asyncio.TaskGroup() as tasks:
            refreshing = tasks.create_task(self._refresh_often())
            while not self.stopping.is_set():
                started = asyncio.get_running_loop().time()
                self.tick()
                await asyncio.sleep(max(0.01, TICK - (asyncio.get_running_loop().time() - started)))
            refreshing.cancel()

    async def _refresh_often(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            await self._refresh_quietly()

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except _PASSING as error:
            _log.warning("store_unreachable", action="figures go on from the tail", error=str(error) or repr(error))

    def tick(self) -> None:
        """Let time pass on every board and cut what each rate class is due."""
        self._ticks += 1
        for realm, channel in self._channels.items():
            if self._ticks % RATES[1] == 0:
                channel.board.age(ms(self._now(realm)), ms(self._clock()))
            now = ms(self._now(realm))
            for delay in channel.board.cut(now):
                LATENCY.labels("frame").observe(delay)
            changes = channel.board.tick(now)
            for rate, ticks in RATES.items():
                channel.pending[rate].merge(changes)
                if self._ticks % ticks == 0 and channel.pending[rate]:
                    self._cut(realm, channel, rate)

    def _cut(self, realm: str, channel: Channel, rate: int) -> None:
        ring, changes = channel.rings[rate], channel.pending[rate]
        channel.pending[rate] = Changes()
        if ring.seq >= channel.seq:
            channel.seq += 1
        delta = self._delta(realm, channel, changes, ring.seq)
        ring.append(Encoded(ring.seq, channel.seq, delta.model_dump_json(by_alias=True)))

    def _delta(self, realm: str, channel: Channel, changes: Changes, start: int) -> Delta:
        board = channel.board
        now = ms(self._now(realm))
        inserted = most_urgent(list(changes.items.values()))
        figures = board.figures(now) if changes.figures or changes.minutes or changes.sources else None
        return Delta(
            **{"from": start},
            epoch=self.epoch,
            seq=channel.seq,
            ts=now,
            pulse=self._pulse(realm),
            ins=inserted,
            more=len(changes.items) - len(inserted),
            gone=sorted(changes.gone),
            figures=figures,
            minutes=[board.minutes.minute(at) for at in sorted(changes.minutes)],
            usual=figures.per_minute_usual if figures else None,
            alerts=board.open_alerts() if changes.alerts else None,
            sources=self._sources(realm) if changes.sources else None,
            live_seen=self.live_seen,
        )

    def heartbeat(self, realm: str, seq: int) -> str:
        """Return a heartbeat for a client that is at `seq`."""
        beat = Heartbeat(epoch=self.epoch, seq=seq, ts=ms(self._now(realm)), pulse=self._pulse(realm))
        return beat.model_dump_json()

    async def stop(self) -> None:
        """Say bye to every socket: each loop wakes, says it and closes."""
        self.stopping.set()
        for channel in self._channels.values():
            for ring in channel.rings.values():
                ring.wake()
        await asyncio.sleep(TICK)

    def bye(self) -> str:
        """Return the farewell of a stopping server."""
        return Bye(retry_ms=1000).model_dump_json()


def _since(tail: deque[tuple[Position, _R]], stored: Mapping[int, int]) -> deque[tuple[Position, _R]]:
    return deque((one for one in tail if one[0].offset >= stored.get(one[0].partition, 0)), maxlen=TAIL_KEPT)


def _lowest(stored: Sequence[Mapping[int, int]]) -> Mapping[int, int]:
    """Return where all of `stored` are complete up to, for the partitions that all of them know."""
    known = set(stored[0]).intersection(*stored[1:])
    return {partition: min(offsets[partition] for offsets in stored) for partition in known}


def resync(reason: str) -> str:
    """Return the frame that makes a client load the snapshot again."""
    return Resync(reason=reason).model_dump_json()


def most_urgent(items: Sequence[Item]) -> list[Item]:
    """Return at most ten, the most urgent and then the newest first: nobody reads two hundred a second."""
    ranked = sorted(items, key=lambda item: (RANK[item.urgency], item.published), reverse=True)
    return ranked[:MOST_INSERTED]


def zone_label(name: str) -> str:
    """Return the short label of a zone's clock: its city's first letters, or the name where it is short."""
    city = ZoneInfo(name).key.rsplit("/", maxsplit=1)[-1].replace("_", " ")
    return city if len(city) <= len("Jerusalem") else city[:9]
