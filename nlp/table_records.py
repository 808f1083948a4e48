"""Records of CSV and TSV from numbered lines: cells, and the faults of single records.

Owns quoting and records over several lines. Does not own headers or what a cell means (`rows`).
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator


class BadLine(ValueError):
    """The line can't be used; the message says why."""


class _TooLong(Exception):
    """A quote was opened and no end came within the limit."""


Line = tuple[int, str | BadLine]
"""A line's number and its text, or why it can't be read."""

Record = tuple[int, list[str] | BadLine, int]
"""The number of a record's first line, its cells or its fault, and its size in characters."""


def records(lines: Iterator[Line], delimiter: str, most: int) -> Iterator[Record]:
    """Yield the records that are not blank; one of CSV may have up to `most` characters."""
    return iter(_CsvRecords(lines, most)) if delimiter == "," else _tsv_records(lines)


def _tsv_records(lines: Iterator[Line]) -> Iterator[Record]:
    for number, line in lines:
        if isinstance(line, BadLine):
            yield number, line, 0
        elif line.strip():
            yield number, [_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")], len(line)


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    whole = len(cell) > 1 and cell[0] == cell[-1] == '"' and inner.count('"') == 2 * inner.count('""')
    return inner.replace('""', '"') if whole else cell


class _CsvRecords:
    """CSV records from numbered lines; a quote that is never closed costs its first line, not the rest of the file."""

    def __init__(self, lines: Iterator[Line], most: int) -> None:
        self._lines, self._most = lines, most
        csv.field_size_limit(max(most, csv.field_size_limit()))  # of the whole process; the record's limit is our own
        self._held: deque[Line] = deque()
        self._taken: list[Line] = []
        self._size = 0

    def __iter__(self) -> Iterator[Record]:
        while (first := self._next()) is not None:
            number, line = first
            self._taken, self._size = [], 0
            if isinstance(line, BadLine):
                yield number, line, 0
                continue
            if not line.strip():
                continue
            try:
                cells = next(csv.reader(self._feed(line), strict=True))
            except (csv.Error, _TooLong, BadLine) as error:
                self._held.extendleft(reversed(self._taken))
                yield number, BadLine(f"bad CSV: {str(error) or 'a quote is never closed'}"), 0
            else:
                yield number, cells, self._size

    def _next(self) -> Line | None:
        return self._held.popleft() if self._held else next(self._lines, None)

    def _feed(self, first: str) -> Iterator[str]:
        """Yield the record's first line, then as many as its open quote asks for."""
        self._size = len(first)
        yield first
        while (more := self._next()) is not None:
            self._taken.append(more)
            if isinstance(more[1], BadLine):
                raise more[1]
            self._size += len(more[1])
            if self._size > self._most:
                raise _TooLong
            yield more[1]
