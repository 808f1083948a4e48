from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

import pytest

from nlp import batch_command
from nlp.batch_command import chunks, score_lines
from nlp.onnx_cpu import OnnxScorer
from nlp.rows import MAX_LINE, Form, Row
from nlp.scorer import LABELS, Prepared, Scorer
from streams.records import Score
from tests.nlp.counting import LetterScorer


def run(
    source: bytes, scorer: Scorer | None = None, form: Form | None = None, column: str = "text"
) -> tuple[int, list[dict[str, Any]], str]:
    sink, report = io.BytesIO(), io.StringIO()
    code = score_lines(io.BytesIO(source), sink, scorer or LetterScorer(), report, form=form, column=column)
    return code, [json.loads(line) for line in sink.getvalue().splitlines()], report.getvalue()


def test_one_line_each_in_order_with_all_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_command, "_CHUNK_ROWS", 7)
    rows = [{"id": n, "text": f"{'long ' * (n % 5)}text {n}", "lang": "en"} for n in range(50)]
    code, found, report = run(b"\n".join(json.dumps(row).encode() for row in rows))
    assert (code, report) == (0, "")
    assert [{k: row[k] for k in ("id", "text", "lang")} for row in found] == rows
    for row in found:
        assert row["model"] == "letters@1"
        for task, labels in LABELS.items():
            assert row[task]["label"] in labels
            assert sorted(row[task]["probabilities"]) == sorted(labels)
            assert abs(sum(row[task]["probabilities"].values()) - 1) < 1e-9


BAD = [
    (b"{not json", "not valid JSON"),
    (b'{"text": "\xff\xfe"}', "not valid UTF-8"),
    (b'"just a string"', "not a JSON object but str"),
    (b"[1, 2]", "not a JSON object but list"),
    (b"null", "not a JSON object but NoneType"),
    (b'{"id": 7}', "no field `text`"),
    (b'{"id": 7, "text": null}', "no field `text`"),
    (b'{"id": 7, "text": 5}', "no field `text`"),
    (b'{"id": 7, "text": ""}', "empty"),
    (b'{"id": 7, "text": " \\u200b\\n"}', "empty"),
    (b'{"text": "a", "n": NaN}', "NaN"),
    (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "digits"),
    (b"[" * 200_000, "nested too deeply"),
    (b'{"text": "' + b"x" * (16 << 20) + b'"}', "more than"),
    (b'{"text": "b\xe2\x98\xa0d"}', "poison"),
    (b"\x00\x00", "not valid JSON"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_line_is_answered_on_its_line_and_costs_no_other(line: bytes, reason: str) -> None:
    code, found, report = run(b'{"text": "before"}\n' + line + b'\n\n  \n{"text": "after"}')
    assert code == 1
    assert report == "1 of 3 lines have an error\n"
    assert [row.get("text") for row in (found[0], found[2])] == ["before", "after"]
    assert reason in found[1]["error"]
    assert found[1]["error"].startswith("line 2: ")
    assert "sentiment" not in found[1]
    if b'"id"' in line:
        assert found[1]["id"] == 7


def test_a_long_but_allowed_line_is_scored() -> None:
    line = json.dumps({"text": "\U0001f600 word " * 14_000}).encode()
    assert 16 * 14_000 < len(line) < MAX_LINE
    assert run(line)[0] == 0


def test_line_ends_byte_order_mark_and_surrogates() -> None:
    code, found, _ = run(
        b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two", "x": "\\ud800"}\r\n{"text": "\\ud83d\\ude00"}'
    )
    assert code == 0
    assert found[1]["x"] == "\ud800"
    assert found[2]["text"] == "\U0001f600"


def test_an_empty_file_is_no_error() -> None:
    assert run(b"") == (0, [], "")


def test_csv_and_tsv_are_scored_as_json_lines_are() -> None:
    wanted = run(b'{"id": "1", "text": "one, two"}\n{"id": "2", "text": "three"}')
    assert run(b'id,text\n1,"one, two"\n2,three\n') == wanted
    assert run(b"id\ttext\n1\tone, two\n2\tthree\n", form="tsv") == wanted
    code, found, report = run(b"id,body\n1,one\n2\n", column="body")
    assert (code, report) == (1, "1 of 2 lines have an error\n")
    assert found[0]["sentiment"]["label"]
    assert found[1] == {"error": "line 3: 1 columns, the header has 2"}


def test_memory_is_bounded_by_rows_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_command, "_CHUNK_ROWS", 5)
    monkeypatch.setattr(batch_command, "_CHUNK_BYTES", 1000)
    small = [Row(n, size=10) for n in range(12)]
    assert [len(chunk) for chunk in chunks(small)] == [5, 5, 2]
    large = [Row(n, size=600) for n in range(5)]
    assert [len(chunk) for chunk in chunks(large)] == [2, 2, 1]


def test_a_large_file_streams() -> None:
    taken = written = ahead = 0

    class Source(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            nonlocal taken, ahead
            if taken > 3_000_000:
                return 0
            line = json.dumps({"text": f"text {taken % 50}", "padding": "x" * 4000}).encode() + b"\n"
            buffer[: len(line)] = line
            taken += len(line)
            ahead = max(ahead, taken - written)
            return len(line)

    class Sink(io.BytesIO):
        def write(self, data: Any) -> int:
            nonlocal written
            written += len(data)
            return len(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_command, "_CHUNK_ROWS", 20)
        assert score_lines(cast("BinaryIO", Source()), Sink(), LetterScorer()) == 0
    assert written > taken > 3_000_000
    assert ahead < 500_000


class DoubtfulScorer(LetterScorer):
    """In doubt of the urgency of every text."""

    def run(self, batch: Sequence[Prepared]) -> list[Score]:
        return [score.model_copy(update={"uncertain": ("urgency",)}) for score in super().run(batch)]


def test_doubt_is_written() -> None:
    assert run(b'{"text": "one"}')[1][0]["uncertain"] == []
    assert run(b'{"text": "one"}', DoubtfulScorer())[1][0]["uncertain"] == ["urgency"]


def test_on_the_shipped_model(shipped: OnnxScorer) -> None:
    texts = ["thank you, great service!", "", "תודה רבה, שירות מעולה!", "how do I reset my password?"]
    code, found, _ = run(b"\n".join(json.dumps({"text": text}).encode() for text in texts), shipped)
    assert code == 1
    assert [row["sentiment"]["label"] if "error" not in row else "error" for row in found][:3] == [
        "positive",
        "error",
        "positive",
    ]
    assert found[0]["model"] == f"{shipped.model_id}@{shipped.model_revision}"


def test_what_an_earlier_run_wrote_does_not_stay_beside_the_new_answer() -> None:
    source = b'{"text": "a", "error": "line 9: old"}\n{"text": "", "sentiment": {"label": "x"}, "model": "old@1"}\n'
    _, (scored, failed), _ = run(source)
    assert "error" not in scored
    assert sorted(failed) == ["error", "text"]
