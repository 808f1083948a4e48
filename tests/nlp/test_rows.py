from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp.rows import MAX_LINE, Form, NoHeader, Row, form_of, open_rows, read_rows


def rows(source: bytes, form: Form | None = None, column: str = "text") -> list[Row]:
    return list(read_rows(io.BytesIO(source), form, column))


def test_one_form_or_the_other_gives_the_same_rows() -> None:
    wanted = [{"text": "one", "label": "low"}, {"text": "two, and more", "label": "high"}]
    assert [row.fields for row in rows(b"".join(json.dumps(row).encode() + b"\n" for row in wanted))] == wanted
    assert [row.fields for row in rows(b'text,label\r\none,low\r\n"two, and more",high\r\n')] == wanted
    assert [row.fields for row in rows(b"\xef\xbb\xbftext\tlabel\none\tlow\n\ntwo, and more\thigh")] == wanted


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.jsonl", "jsonl"), ("A.CSV", "csv"), ("b.tsv.gz", "tsv"), ("c.ndjson", "jsonl"), ("d.txt", None), ("-", None)],
)
def test_a_name_tells_the_form(name: str, form: Form | None) -> None:
    assert form_of(name) == form


def test_the_first_line_tells_the_form_only_where_it_names_the_column() -> None:
    assert rows(b'{"text": "a, text"}\n')[0].fields == {"text": "a, text"}
    assert "not valid JSON" in rows(b"comment,label\nx,y\n")[0].fault
    assert rows(b"comment,label\nx,y\n", column="comment")[0].fields == {"comment": "x", "label": "y"}
    assert rows(b'"id","text"\n1,x\n')[0].fields == {"id": "1", "text": "x"}


def test_csv_cells_hold_line_ends_and_blank_lines_and_line_numbers_stay_true() -> None:
    found = rows(b'id,text\n1,"first\n\nparagraph ""quoted"""\n\n2,second\n3\n', "csv")
    assert [(row.line, row.fields.get("text")) for row in found[:2]] == [
        (2, 'first\n\nparagraph "quoted"'),
        (6, "second"),
    ]
    assert (found[2].line, found[2].fault) == (7, "1 columns, the header has 2")


def test_a_cell_may_be_as_long_as_a_line() -> None:
    long = "x" * 1_000_000
    found = rows(f'text,label\n{long},low\n"{long}\n{long}",high\n'.encode(), "csv")
    assert [row.fields.get("text") for row in found] == [long, f"{long}\n{long}"]


@pytest.mark.parametrize("open_end", [b'1,"never closed\n', b'1,"closed"too late\n'])
def test_a_quote_that_goes_wrong_costs_its_line_and_no_other(open_end: bytes) -> None:
    rest = b"".join(b"%d,row %d\n" % (number, number) for number in range(20_000))
    found = rows(b"id,text\n" + open_end + rest, "csv")
    assert "bad CSV" in found[0].fault
    assert [row.fields.get("id") for row in found[1:]] == [str(number) for number in range(20_000)]


def test_tsv_takes_quotes_as_they_are_but_those_of_a_spreadsheet() -> None:
    found = rows(b'text\tlabel\n"Great" he said\tlow\n"it says ""no"""\tlow\n5" screen\tlow\n', "tsv")
    assert [row.fields["text"] for row in found] == ['"Great" he said', 'it says "no"', '5" screen']


def test_bad_bytes_and_endless_lines_cost_only_themselves() -> None:
    for form, head in (("csv", b"text,n\n"), ("tsv", b"text\tn\n")):
        cut = b"," if form == "csv" else b"\t"
        source = head + b"\xff\xfe" + cut + b"1\n" + b"x" * (MAX_LINE + 5) + b"\n" + "שלום".encode() + cut + b"2\n"
        first, second, third = rows(source, "csv" if form == "csv" else "tsv")
        assert "not valid UTF-8" in first.fault
        assert "more than" in second.fault
        assert third.fields == {"text": "שלום", "n": "2"}
        assert third.line == 4


@pytest.mark.parametrize("source", [b"", b"id,comment\n1,x\n", b"\xff\xfe\n", b'"text\n', b"text,id,text\na,1,b\n"])
def test_csv_without_a_header_is_refused(source: bytes) -> None:
    with pytest.raises(NoHeader):
        rows(source, "csv")


@pytest.mark.parametrize(
    ("header", "read"), [("text,label,label", ["label"]), ("text,lang,lang", ["label", "lang"]), ("text,text", [])]
)
def test_a_column_that_is_read_is_there_once(header: str, read: list[str]) -> None:
    source = f"{header}\n{'a,' * header.count(',')}b\n".encode()
    with pytest.raises(NoHeader, match="2 times: which is meant"):
        list(read_rows(io.BytesIO(source), also=read))
    assert len(rows(b"text,x,x,,\na,b,c,,\n")) == 1, "of others nobody asks"


def test_one_column_without_a_name_is_csv_or_a_list() -> None:
    found = rows(b'\ntext\r\n"first line\r\nsecond, line"\r\nHello, "world", hello\n\nother\n')
    assert [row.fields["text"] for row in found] == ["first line\r\nsecond, line", 'Hello, "world", hello', "other"]
    assert rows(b"text\na, b\n", "csv")[0].fault == "2 columns, the header has 1"


def test_the_first_line_of_a_pipe_may_come_in_pieces() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"id,")
    later = threading.Timer(0.2, os.write, (writing, b"text\n1,hello\n"))
    later.start()
    with os.fdopen(reading, "rb") as source:
        assert next(read_rows(source)).fields == {"id": "1", "text": "hello"}
    later.join()
    os.close(writing)


def test_gzip_and_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "in.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"hello\n" * 50_000))
    with open_rows(path) as source:
        assert sum(row.fields["text"] == "hello" for row in read_rows(source, "csv")) == 50_000
    path.write_bytes(path.read_bytes()[:-20])
    for content in (path.read_bytes(), path.read_bytes()[:60], b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 50):
        path.write_bytes(content)
        for form in ("csv", None):
            with open_rows(path) as source, pytest.raises(OSError, match="damaged"):
                list(read_rows(source, form))


CELLS = st.text(st.characters(exclude_characters="\x00\r", exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=20))
def test_whatever_python_writes_as_csv_is_read_back(cells: list[tuple[str, str]]) -> None:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *cells])
    found = rows(sink.getvalue().encode(), "csv")
    assert [(row.fields.get("text"), row.fields.get("label")) for row in found] == cells


def test_a_number_that_json_can_not_hold_again_costs_its_row() -> None:
    first, second = rows(b'{"text": "a", "n": 1e999}\n{"text": "a", "n": 1e9}\n')
    assert "too large a number" in first.fault
    assert second.fields["n"] == 1e9
