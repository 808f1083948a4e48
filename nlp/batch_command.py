"""`warroom score < in.jsonl > out.jsonl`: labels for a file of texts, one output line per line of input.

Owns the line format and its errors. Does not own the command line (the app's) or the model.

A line is a JSON object with `text`. Out comes the same object with `sentiment`, `urgency` and `intent`, each
`{"label": ..., "probabilities": {label: p, ...}}`, and `model`. A line that cannot be read or scored comes out with
`error` instead, beside the fields that could be read. Empty lines are skipped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NoReturn, TextIO

from nlp.grouping import Answer, score_each
from nlp.scorer import INTENT, SENTIMENT, URGENCY, Scorer
from streams.records import Score

MAX_LINE: Final = 4 << 20
"""Bytes of a line; a text of 100,000 characters fits even where each is escaped."""
_CHUNK_LINES: Final = 4096
_CHUNK_BYTES: Final = 32 << 20
_BOM: Final = b"\xef\xbb\xbf"


class _BadLine(ValueError):
    """The line cannot be used; the message says why."""


@dataclass(slots=True)
class _Row:
    """One line of output in the making: an answer or an error will be added to `fields`."""

    fields: dict[str, Any] = field(default_factory=dict)
    text: str | None = None
    error: str = ""


def _lines(source: BinaryIO) -> Iterator[bytes | _BadLine]:
    """Yield the lines that are not blank, without holding one that is too long."""
    while line := source.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            size = len(line)
            while line and not line.endswith(b"\n"):
                line = source.readline(MAX_LINE)
                size += len(line)
            yield _BadLine(f"the line has {size} bytes, more than {MAX_LINE}")
        elif stripped := line.removeprefix(_BOM).strip():
            yield stripped


def _no_constant(name: str) -> NoReturn:
    raise _BadLine(f"not valid JSON: {name} is not a JSON number")


def _parsed(line: bytes) -> Any:
    """Return the JSON value of a line; raise _BadLine."""
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _BadLine(f"not valid UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise _BadLine("not valid JSON: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise _BadLine(f"not valid JSON: {error}") from error


def _row(line: bytes | _BadLine) -> _Row:
    if isinstance(line, _BadLine):
        return _Row(error=str(line))
    try:
        value = _parsed(line)
    except ValueError as error:  # _BadLine, or a number with more digits than Python reads
        return _Row(error=str(error))
    if not isinstance(value, dict):
        return _Row(error=f"not a JSON object but {type(value).__name__}")
    text = value.get("text")
    return _Row(value, text) if isinstance(text, str) else _Row(value, error="no field `text` that holds a string")


def _chunks(source: BinaryIO) -> Iterator[list[_Row]]:
    """Yield rows in chunks that are sorted by length as a whole: large enough for speed, small enough for memory."""
    chunk: list[_Row] = []
    size = 0
    for line in _lines(source):
        chunk.append(_row(line))
        size += len(line) if isinstance(line, bytes) else 0
        if len(chunk) >= _CHUNK_LINES or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _finished(row: _Row, answer: Answer | None) -> dict[str, Any]:
    """Return the object to print."""
    if not isinstance(answer, Score):
        return {**row.fields, "error": row.error or str(answer)}
    opinions = {SENTIMENT: answer.sentiment, URGENCY: answer.urgency, INTENT: answer.intent}
    return {
        **row.fields,
        **{task: opinion.model_dump() for task, opinion in opinions.items()},
        "model": f"{answer.model_id}@{answer.model_revision}",
    }


def _encoded(value: dict[str, Any]) -> bytes:
    """Return one line; lone surrogates in foreign fields cannot be UTF-8, so such a line is written in escapes."""
    try:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


def score_lines(source: BinaryIO, sink: BinaryIO, scorer: Scorer, report: TextIO = sys.stderr) -> int:
    """Score `source` into `sink`; return 0 if every line was scored, 1 if any has an error (the count on `report`)."""
    total = failed = 0
    for chunk in _chunks(source):
        answers = iter(score_each(scorer, [row.text for row in chunk if row.text is not None]))
        for row in chunk:
            answer = None if row.text is None else next(answers)
            failed += not isinstance(answer, Score)
            sink.write(_encoded(_finished(row, answer)))
        total += len(chunk)
        sink.flush()
    if failed:
        print(f"{failed} of {total} lines have an error", file=report)
    return 1 if failed else 0
