"""`warroom score FILE > out.jsonl`: labels for a file of texts, one output line per row of input, in order.

Owns the output's form and its errors. Does not own reading rows (`rows`), the command line (the app's) or the model.

A row is a JSON object with `text`, or a row of CSV or TSV with that column. Out comes a JSON object: the row's fields
with `sentiment`, `urgency` and `intent`, each `{"label": ..., "probabilities": {label: p, ...}}`, with `model`, and
with `uncertain`, the tasks in doubt; fields of these names, and an `error` of an earlier run, are replaced. A row that
can't be read or scored comes out with `error` instead, beside the other fields that could be read. Blank lines are
skipped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, TextIO

from nlp.grouping import Answer, score_each
from nlp.rows import Form, Row, read_rows
from nlp.scorer import INTENT, SENTIMENT, URGENCY, Scorer
from streams.records import Score

_CHUNK_ROWS: Final = 4096
_CHUNK_BYTES: Final = 32 << 20
_ANSWERS: Final = {SENTIMENT, URGENCY, INTENT, "uncertain", "model", "error"}


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows in chunks that are sorted by length as a whole: large enough for speed, small enough for memory."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += row.size
        if len(chunk) >= _CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _fault(row: Row, column: str) -> str:
    """Return why the row has no text; empty if it has one."""
    if row.fault or isinstance(row.fields.get(column), str):
        return row.fault
    return f"no field `{column}` that holds a string"


def _finished(row: Row, answer: Answer | str) -> dict[str, Any]:
    """Return the object to print: the row with its score, or with the error that stands in for one."""
    given = {name: value for name, value in row.fields.items() if name not in _ANSWERS}
    if not isinstance(answer, Score):
        return {**given, "error": f"line {row.line}: {answer}"}
    opinions = {SENTIMENT: answer.sentiment, URGENCY: answer.urgency, INTENT: answer.intent}
    return {
        **given,
        **{task: opinion.model_dump() for task, opinion in opinions.items()},
        "uncertain": list(answer.uncertain),
        "model": f"{answer.model_id}@{answer.model_revision}",
    }


def _encoded(value: dict[str, Any]) -> bytes:
    """Return one line; lone surrogates in foreign fields cannot be UTF-8, so such a line is written in escapes."""
    try:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


def score_lines(
    source: BinaryIO,
    sink: BinaryIO,
    scorer: Scorer,
    report: TextIO = sys.stderr,
    *,
    form: Form | None = None,
    column: str = "text",
) -> int:
    """Score `source` into `sink`; return 0 if every row was scored, 1 if any has an error (the count on `report`).

    `form` None: told by the first line. Memory holds one chunk, however long the source is. Raise NoHeader for CSV or
    TSV without the column.
    """
    total = failed = 0
    for chunk in chunks(read_rows(source, form, column)):
        faults = [_fault(row, column) for row in chunk]
        answers = iter(
            score_each(scorer, [row.fields[column] for row, fault in zip(chunk, faults, strict=True) if not fault])
        )
        for row, fault in zip(chunk, faults, strict=True):
            answer = fault or next(answers)
            failed += not isinstance(answer, Score)
            sink.write(_encoded(_finished(row, answer)))
        total += len(chunk)
        sink.flush()
    if failed:
        print(f"{failed} of {total} lines have an error", file=report)
    return 1 if failed else 0
