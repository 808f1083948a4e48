"""A file as a source: JSON Lines or CSV, at full speed or as it was recorded. Import, rehearsal of an incident, replay.

Owns its settings, cursor and pace. Does not own reading (`file_reader`) nor what a row means (`file_rows`). The event
time of its arrivals is the latest publish time so far. The same file again gives nothing new: the cursor holds the hash
of its head, and a file of another head starts from its beginning (repeats are then dropped by identity). A last line
without a line break that can't be read is a dead letter, and is read again once the file has grown; what reads as a
whole row, or is a record of several lines, is taken as it stands.

Ids are those of the rows, for all sources of this kind together: a copy or a replay of a file gives no post twice.
Files of different channels that number their rows alike need ids of their own, or none (set fields: {id: ...}).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from streams.records import LIVE, DeadLetter, Mention
from streams.source import Arrival, SourceRefused, SourceSettings, SourceUnreachable
from streams.sources.checks import OLDEST
from streams.sources.file_reader import Place, Raw, Reader, head_of, size_of
from streams.sources.file_rows import NAMES, BadRow, Reading, csv_cells, from_csv, from_json
from streams.sources.letters import letter

PAGE: Final = 200
HEARTBEAT: Final = 1.0
_SECOND: Final = timedelta(seconds=1)


class FileSettings(SourceSettings):
    """`speed` None is as fast as possible, 1 as recorded, 60 an hour in a minute. `fields` maps our names to columns.

    `loop` begins again at the end, with new identities and with publish times that go on after those of the last round.
    """

    path: Path
    format: Literal["auto", "jsonl", "csv"] = "auto"
    speed: float | None = Field(default=None, gt=0)
    realm: Literal["live", "rehearsal", "replay"] = LIVE
    loop: bool = False
    longest_wait: float = Field(default=60.0, gt=0, description="seconds at most between two rows of a recorded pace")
    fields: Mapping[str, str] = {}
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    timezone: str = "UTC"

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, fields: Mapping[str, str]) -> Mapping[str, str]:
        unknown = sorted(set(fields) - set(NAMES))
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}; there are: {', '.join(NAMES)}")
        return fields

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone {name!r}; write it as in Asia/Jerusalem") from error
        return name

    @model_validator(mode="after")
    def _known_format(self) -> Self:
        if self.format == "auto" and not self.is_csv and self.bare_suffix not in {".jsonl", ".ndjson", ".json"}:
            raise ValueError(f"the format of {self.path.name} can't be told from its name; set format to jsonl or csv")
        return self

    @property
    def bare_suffix(self) -> str:
        """Return the name's ending, without .gz."""
        return (self.path.with_suffix("") if self.path.suffix.lower() == ".gz" else self.path).suffix.lower()

    @property
    def is_csv(self) -> bool:
        """Return whether it is CSV."""
        return self.format == "csv" or (self.format == "auto" and self.bare_suffix in {".csv", ".tsv"})


class _Cursor(BaseModel):
    """Where the next row is, in which file, and how far its clock was moved by earlier rounds.

    `half` is the size of a last line that could not be read as it was: until it has grown it is no news.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    head: str
    head_bytes: int = Field(ge=0)
    offset: int = Field(default=0, ge=0)
    line: int = Field(default=0, ge=0)
    half: int = Field(default=0, ge=0)
    round: int = Field(default=0, ge=0)
    shift: timedelta = timedelta(0)
    first: datetime | None = None
    last: datetime | None = None

    def after(self, place: Place, published: datetime | None) -> _Cursor:
        """Return the cursor behind a row that was published then, as written in the file."""
        times = [moment for moment in (self.first, self.last, published) if moment is not None]
        reach = {"first": min(times, default=None), "last": max(times, default=None)}
        return self.model_copy(update={"offset": place.offset, "line": place.line, "half": 0, **reach})

    def next_round(self) -> _Cursor:
        """Return the cursor at the beginning of the next round."""
        span = self.last - self.first + _SECOND if self.first and self.last else timedelta(0)
        start: dict[str, object] = {"offset": 0, "line": 0, "half": 0, "first": None, "last": None}
        return self.model_copy(update={**start, "round": self.round + 1, "shift": self.shift + span})


class FileSource:
    """Reads one file. `clock` gives the time of receipt."""

    settings_model: ClassVar[type[SourceSettings]] = FileSettings

    def __init__(self, settings: FileSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._clock = clock
        own = settings.fields
        self._names = {name: (own[name],) if name in own else common for name, common in NAMES.items()}
        self._zone = ZoneInfo(settings.timezone)

    async def listen(self, cursor: str | None) -> AsyncIterator[Arrival]:
        """Yield pages of rows, or with a `speed` each row when it is due; ends with the file. See the port."""
        settings = self._settings
        pace = Pace(settings.speed, settings.longest_wait, min(HEARTBEAT, settings.stall_after / 3))
        try:
            place = await asyncio.to_thread(self._resume, cursor)
            while True:
                before = place
                async for after, arrival in self._round(place, pace):
                    place = after
                    yield arrival
                if not settings.loop or (place.last is None and before.offset == 0):
                    return
                place = place.next_round()
        except IsADirectoryError as error:
            raise SourceRefused(f"{settings.path} is a folder; name a file") from error
        except (OSError, EOFError, zlib.error) as error:
            raise SourceUnreachable(f"{settings.path} can't be read: {error}") from error

    async def _round(self, place: _Cursor, pace: Pace) -> AsyncIterator[tuple[_Cursor, Arrival]]:
        """Yield arrivals from `place` to the end of the file, each with the cursor after it."""
        header, reader = await asyncio.to_thread(self._open, place)
        try:
            while page := await asyncio.to_thread(reader.page, PAGE):
                reading = self._reading(place)
                mentions: list[Mention] = []
                dead: list[DeadLetter] = []
                for raw in page:
                    row = self._row(raw, header, reading)
                    published = row.published_at if isinstance(row, Mention) else None
                    async for at in pace.until(published):
                        yield place, Arrival(at=at)
                    if isinstance(row, Mention):
                        mentions.append(row.model_copy(update={"received_at": self._clock()}) if pace.speed else row)
                    elif row is not None and (raw.ended or raw.size != place.half):
                        dead.append(row)
                    if isinstance(row, DeadLetter) and not raw.ended:
                        place = place.model_copy(update={"half": raw.size})
                    else:
                        place = place.after(raw.after, None if published is None else published - place.shift)
                    if pace.speed or raw is page[-1]:
                        yield place, Arrival(tuple(mentions), tuple(dead), place.model_dump_json(), pace.at)
                        mentions, dead = [], []
                if place.half:
                    return
        finally:
            reader.close()

    def _row(self, raw: Raw, header: Sequence[str], reading: Reading) -> Mention | DeadLetter | None:
        """Return what a record becomes; None for a pulse of ours."""
        reason = raw.fault
        try:
            if not reason:
                delimiter = self._settings.delimiter
                return from_csv(raw.data, header, reading, delimiter) if header else from_json(raw.data, reading)
        except BadRow as error:
            reason = str(error)
        if not raw.ended:
            reason += "; the line is not ended: it is read again when it has grown"
        settings = self._settings
        where = f"{settings.path.name}:{raw.line}"
        made = letter(
            f"line {raw.line}: {reason}",
            raw.data,
            source_id=settings.id,
            at=self._clock(),
            origin=where,
            realm=settings.realm,
        )
        return made.model_copy(update={"payload_bytes": raw.size})

    def _resume(self, cursor: str | None) -> _Cursor:
        """Return the saved place if this is the file that it was saved in, else the beginning."""
        path = self._settings.path
        if cursor is not None:
            try:
                saved = _Cursor.model_validate_json(cursor)
            except ValidationError as error:
                raise SourceRefused("the saved cursor is none of a file's; give the source another id") from error
            if head_of(path, saved.head_bytes) == (saved.head, saved.head_bytes) and saved.offset <= size_of(path):
                return saved
        head, head_bytes = head_of(path)
        return _Cursor(head=head, head_bytes=head_bytes)

    def _open(self, place: _Cursor) -> tuple[Sequence[str], Reader]:
        """Return the header (empty for JSON) and a reader behind it, or at `place`."""
        path, start = self._settings.path, Place(place.offset, place.line)
        if not self._settings.is_csv:
            return (), Reader(path, csv=False, place=start)
        delimiter = self._settings.delimiter
        reader = Reader(path, csv=True, place=Place(), delimiter=delimiter)
        try:
            header = self._header(reader)
        finally:
            reader.close()
        return header[0], Reader(path, csv=True, place=start if place.line else header[1], delimiter=delimiter)

    def _header(self, reader: Reader) -> tuple[Sequence[str], Place]:
        found = reader.page(1)
        if not found:
            return ("",), Place()
        try:
            cells = csv_cells(found[0].data, self._settings.delimiter)
        except BadRow as error:
            raise SourceRefused(f"{self._settings.path} has no CSV header: {error}") from error
        for name in ("text", "published_at"):
            if not set(self._names[name]) & set(cells):
                columns = ", ".join(cells)[:200]
                raise SourceRefused(f"no column is {name}; set fields: {{{name}: ...}} to one of: {columns}")
        return cells, found[0].after

    def _reading(self, place: _Cursor) -> Reading:
        settings = self._settings
        return Reading(settings.id, settings.realm, self._clock(), self._zone, self._names, place.round, place.shift)


class Pace:
    """When a row is due, and the event time reached. A silence of more than `longest` seconds is cut to that."""

    def __init__(self, speed: float | None, longest: float, heartbeat: float) -> None:
        self.speed = speed
        self.at = OLDEST
        self._longest = longest
        self._heartbeat = heartbeat
        self._anchor: tuple[datetime, float] | None = None

    async def until(self, published: datetime | None) -> AsyncIterator[datetime]:
        """Wait until a row of that time is due; yield the event time reached meanwhile, often enough to show life."""
        if published is None:
            return
        if self.speed is not None:
            tick = asyncio.get_running_loop().time
            event, began = self._anchor or (published, tick())
            due = began + (published - event).total_seconds() / self.speed
            if self._anchor is None or due - tick() > self._longest:
                due = due if self._anchor is None else tick() + self._longest
                event, began = self._anchor = (published, due)
            while (left := due - tick()) > 0:
                await asyncio.sleep(min(left, self._heartbeat))
                reached = event + timedelta(seconds=(tick() - began) * self.speed)
                self.at = max(self.at, min(reached, published))
                yield self.at
        self.at = max(self.at, published)
