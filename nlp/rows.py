"""Rows of a file of texts: JSON Lines, CSV or TSV, read one by one, each fault on its own row.

Owns the three forms, their limits and how the form is told. Does not own what a row means (`batch_command`,
`labelled`). Memory is bounded whatever the file holds.

CSV and TSV need a header line; CSV is quoted as RFC 4180 says (cells may hold line ends), TSV cells are taken as they
are but for quotes that a spreadsheet put around a whole cell. All is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain, dropwhile, islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NoReturn, cast

from nlp.table_records import BadLine, Line, records

MAX_LINE: Final = 4 << 20
"""Bytes of a line; a text of 100,000 characters fits even where each is escaped."""
_BOM: Final = b"\xef\xbb\xbf"

Form = Literal["jsonl", "csv", "tsv"]
FORMS: Final[tuple[Form, ...]] = ("jsonl", "csv", "tsv")
_DELIMITERS: Final[dict[Form, str]] = {"csv": ",", "tsv": "\t"}
_ENDINGS: Final[dict[str, Form]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}


@dataclass(slots=True)
class Row:
    """One row: the line it begins on (from 1), its fields by name, or the `fault` for which it can't be used.

    `size` is its bytes, for those who bound what they hold.
    """

    line: int
    fields: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    size: int = 0


class NoHeader(ValueError):
    """A CSV or TSV file without a header that can be read."""


def open_rows(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked if its name ends in `.gz`; raise OSError."""
    if path.suffix == ".gz":
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", gzip.open(path, "rb"))))
    return path.open("rb")


def form_of(name: str) -> Form | None:
    """Return the form that a file's name tells; None where it does not."""
    return _ENDINGS.get(Path(name.removesuffix(".gz")).suffix.lower())


def form_told_by(first: bytes | BadLine, column: str) -> Form:
    """Return the form of a file whose first line is `first`: CSV or TSV where it names `column`, CSV if alone."""
    header = "{" if isinstance(first, BadLine) else first.decode("utf-8", "replace").strip()
    for form, delimiter in _DELIMITERS.items():
        if not header.startswith("{") and column in [cell.strip().strip('"') for cell in header.split(delimiter)]:
            return form
    return "jsonl"


def read_rows(
    source: BinaryIO, form: Form | None = None, column: str = "text", also: Collection[str] = ()
) -> Iterator[Row]:
    """Yield the rows that are not blank. A `form` of None is told by the first line, where a header names `column`.

    A table of one column whose form is told so may be a mere list: commas without quotes are its texts' own. Raise
    NoHeader for CSV and TSV whose first line is none, or names `column` or one of `also`, the others that are read,
    twice; OSError for a damaged archive.
    """
    lines, listed = _lines(source), form is None
    if form is None:
        first = list(islice(dropwhile(_is_blank, lines), 1))
        form, lines = form_told_by(first[0][1] if first else b"", column), chain(first, lines)
    if form == "jsonl":
        return (_json_row(number, line) for number, line in lines if not _is_blank((number, line)))
    return _table_rows(_decoded(lines), _DELIMITERS[form], (column, *also), listed=listed)


def _is_blank(numbered: tuple[int, bytes | BadLine]) -> bool:
    return isinstance(numbered[1], bytes) and not numbered[1].strip()


def _line(source: BinaryIO, most: int) -> bytes:
    try:
        return source.readline(most)
    except (EOFError, zlib.error) as error:
        raise OSError(f"the file is packed by gzip and damaged: {error}") from error


def _lines(source: BinaryIO) -> Iterator[tuple[int, bytes | BadLine]]:
    """Yield the numbered lines, without holding one that is too long."""
    number = 0
    while line := _line(source, MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            size = len(line)
            while line and not line.endswith(b"\n"):
                line = _line(source, MAX_LINE)
                size += len(line)
            yield number, BadLine(f"the line has {size} bytes, more than {MAX_LINE}")
            continue
        yield number, line.removeprefix(_BOM) if number == 1 else line


def _no_constant(name: str) -> NoReturn:
    raise BadLine(f"not valid JSON: {name} is not a JSON number")


def _number(digits: str) -> float:
    """Return a number that JSON can hold again: 1e999 is infinite here, and `Infinity` is no JSON."""
    number = float(digits)
    if math.isinf(number):
        raise BadLine(f"not valid JSON: {digits[:40]} is too large a number")
    return number


def _json_row(number: int, line: bytes | BadLine) -> Row:
    if isinstance(line, BadLine):
        return Row(number, fault=str(line))
    try:
        value = json.loads(_text(line.strip()), parse_constant=_no_constant, parse_float=_number)
    except json.JSONDecodeError as error:
        return Row(number, fault=f"not valid JSON: {error}")
    except RecursionError:
        return Row(number, fault="not valid JSON: nested too deeply")
    except ValueError as error:  # BadLine, or a number with more digits than Python reads
        return Row(number, fault=str(error))
    if not isinstance(value, dict):
        return Row(number, fault=f"not a JSON object but {type(value).__name__}")
    return Row(number, value, size=len(line))


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLine(f"not valid UTF-8 at byte {error.start}") from error


def _decoded(lines: Iterator[tuple[int, bytes | BadLine]]) -> Iterator[Line]:
    for number, line in lines:
        try:
            yield number, line if isinstance(line, BadLine) else _text(line)
        except BadLine as error:
            yield number, error


def _table_rows(lines: Iterator[Line], delimiter: str, read: tuple[str, ...], *, listed: bool) -> Iterator[Row]:
    found = records(lines, delimiter, MAX_LINE)
    first: list[str] | BadLine = next(found, (0, [], 0))[1]
    if isinstance(first, BadLine):
        raise NoHeader(f"the header line can't be read: {first}")
    header = [name.strip() for name in first]
    if read[0] not in header:
        raise NoHeader(f"the first line names no column `{read[0]}`; it has: {', '.join(header)[:300] or 'nothing'}")
    if doubled := [name for name in read if header.count(name) > 1]:
        count = header.count(doubled[0])
        raise NoHeader(f"the first line names the column `{doubled[0]}` {count} times: which is meant?")
    for number, cells, size in found:
        if isinstance(cells, BadLine):
            yield Row(number, fault=str(cells))
        elif listed and len(header) == 1:
            yield Row(number, {header[0]: delimiter.join(cells)}, size=size)
        elif len(cells) != len(header):
            yield Row(number, fault=f"{len(cells)} columns, the header has {len(header)}")
        else:
            yield Row(number, dict(zip(header, cells, strict=True)), size=size)
