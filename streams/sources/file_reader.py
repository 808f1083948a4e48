"""Reads a file of records piece by piece, with the place after each: JSON Lines or CSV, plain or gzip.

Owns lines, CSV records over several lines, size limits and places. Does not own what a record means
(`streams.sources.file_rows`). Memory is bounded whatever the file holds. Everything here blocks: call it off the loop.
A line ends with LF; one of CSV also with a lone CR, as spreadsheets on a Mac write it.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

MAX_LINE: Final = 2**20
"""Bytes of a JSON line; a longer one is passed over."""

MAX_CSV: Final = 2**18
"""Bytes of a CSV record; a quote that is never closed costs one line, not the rest of the file."""

HEAD: Final = 2**16
_PAGE_BYTES: Final = 4 * 2**20
_SHOWN: Final = 4096
_LINES: Final = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where reading goes on: bytes (uncompressed) and lines before it."""

    offset: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Raw:
    """One record: its bytes (only their start if there is a `fault`), whole size, first line (from 1), place after.

    One that is not `ended` is the last of the file, without a line break: it may still be written.
    """

    data: bytes
    size: int
    line: int
    after: Place
    fault: str = ""
    ended: bool = True


class Reader:
    """An open file at a place."""

    def __init__(self, path: Path, *, csv: bool, place: Place, delimiter: str = ",") -> None:
        self._file = open_binary(path)
        self._csv = csv
        self._delimiter = delimiter
        self._place = place
        self._ends = (b"\n", b"\r") if csv else (b"\n",)
        self._cut: deque[bytes] = deque()
        self._file.seek(place.offset)

    def page(self, most: int) -> Sequence[Raw]:
        """Return up to `most` records, and up to about 4 MiB of them; empty at the end. Blank lines are passed over."""
        found: list[Raw] = []
        size = 0
        while len(found) < most and size < _PAGE_BYTES:
            raw = self._record() if self._csv else self._line(MAX_LINE)
            if raw is None:
                break
            if raw.fault or raw.data.strip():
                found.append(raw)
                size += len(raw.data)
        return found

    def close(self) -> None:
        """Free the file."""
        self._file.close()

    def _line(self, limit: int) -> Raw | None:
        data = self._read(limit + 1)
        if not data:
            return None
        size, ended = len(data), data.endswith(self._ends)
        if size > limit and not ended:
            data = data[:_SHOWN]
            while not ended and (part := self._read(limit)):
                size += len(part)
                ended = part.endswith(self._ends)
        line = self._place.line + 1
        self._place = Place(self._place.offset + size, line)
        fault = f"the line has {size} bytes, the limit is {limit}" if size > limit + 1 else ""
        return Raw(data, size, line, self._place, fault, ended)

    def _read(self, most: int) -> bytes:
        """Return a line, or up to `most` bytes of it."""
        if not self._csv:
            return self._file.readline(most)
        if len(self._cut) <= 1:  # what stands last may go on
            data = b"".join(self._cut)
            if not data.endswith(self._ends):
                data += self._file.readline(most - len(data))
            self._cut = deque(_LINES.findall(data) if b"\r" in data.removesuffix(b"\r\n") else [data])
        return self._cut.popleft()

    def _record(self) -> Raw | None:
        """Return a CSV record: lines are joined while a quote is open."""
        first = self._line(MAX_CSV)
        if first is None or first.fault or first.data.count(b'"') % 2 == 0 or self._is_one(first.data):
            return first
        parts, size = [first.data], first.size
        while size <= MAX_CSV and (more := self._line(MAX_CSV)) is not None:
            parts.append(more.data)
            size += more.size
            if more.data.count(b'"') % 2:
                whole = b"".join(parts)
                if self._is_one(whole):
                    return Raw(whole, size, first.line, more.after, ended=more.ended)
                break
        self._place = first.after
        self._cut.clear()
        self._file.seek(first.after.offset)
        return Raw(first.data[:_SHOWN], first.size, first.line, first.after, "a quote is never closed", first.ended)

    def _is_one(self, lines: bytes) -> bool:
        """Return whether lines are one record: with an inch sign in each of two lines, they are two."""
        text = io.StringIO(lines.decode("utf-8", "replace"), newline="")
        try:
            return len(list(itertools.islice(csv.reader(text, delimiter=self._delimiter, strict=True), 2))) == 1
        except csv.Error:
            return False


def open_binary(path: Path) -> BinaryIO:
    """Open `path` for reading bytes, unpacked if its name ends in .gz."""
    if path.suffix.lower() == ".gz":
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", gzip.open(path, "rb"))))
    return path.open("rb")


def head_of(path: Path, most: int = HEAD) -> tuple[str, int]:
    """Return the SHA-256 of the first `most` bytes (unpacked), and how many they were."""
    with open_binary(path) as file:
        head = file.read(most)
    return hashlib.sha256(head).hexdigest(), len(head)


def size_of(path: Path) -> int:
    """Return the size of `path`, unpacked."""
    with open_binary(path) as file:
        return file.seek(0, io.SEEK_END) if path.suffix.lower() != ".gz" else _skip(file)


def _skip(file: BinaryIO) -> int:
    while file.read(HEAD):
        pass
    return file.tell()
