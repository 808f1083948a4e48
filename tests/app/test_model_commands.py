"""Arguments, messages and exit codes of `warroom score` and `warroom model ...`, with a small real scorer."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from app import scoring
from app.commands import main
from app.migrations import migrate
from app.model_commands import model
from app.store import Store, Verdict
from nlp.onnx_cpu import SHIPPED
from nlp.scorer import LABELS, Scorer
from streams.records import Identity
from tests.app.store_world import NOON, placed, post
from tests.nlp.counting import LetterScorer

README = (Path(__file__).resolve().parent.parent.parent / "README.md").read_text(encoding="utf-8")
ROWS = [{"text": f"text {n}", "urgency": LABELS["urgency"][n % 4], "lang": ("he", "en")[n % 2]} for n in range(40)]
JSONL = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def letters(*_folder: object, **_options: object) -> Scorer:
        return LetterScorer()

    monkeypatch.setattr(scoring, "open_scorer", letters)
    monkeypatch.setattr("nlp.bootstrap.ROUNDS", 200)
    monkeypatch.setenv("WARROOM_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, said: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, list(arguments), input=said)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def as_csv(delimiter: str = ",") -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, ["text", "urgency", "lang"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return sink.getvalue().encode()


def figures(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.csv.gz", "plain"])
def test_every_form_gives_the_same_scores_and_the_same_figures(place: Path, name: str) -> None:
    content = as_csv("\t") if ".tsv" in name else as_csv() if ".csv" in name else JSONL
    (place / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    scored = run("score", name)
    assert (scored.exit_code, scored.stdout) == (0, run("score", said=JSONL).stdout)
    assert [json.loads(line)["text"] for line in scored.stdout.splitlines()] == [row["text"] for row in ROWS]
    from_file = figures(run("model", "eval", name, "--task", "urgency", "--format", "json"))
    from_input = figures(run("model", "eval", "-", "--task", "urgency", "--format", "json", said=content))
    assert from_file == from_input
    assert from_file["texts"] == 40
    assert set(from_file["models"][0]["languages"]) == {"he", "en"}


def test_both_take_the_same_options_for_the_file(place: Path) -> None:
    options = {
        command.name: {option for parameter in command.params for option in parameter.opts}
        for command in (main.commands["score"], model.commands["eval"])
    }
    assert options["score"] - {"file"} <= options["eval"]
    content = b"review;stars\n"
    (place / "x.txt").write_bytes(content.replace(b";", b"\t") + b"good\t5\nbad\t1\n" * 10)
    assert run("score", "x.txt", "--column", "text=review", "--input", "tsv").exit_code == 0
    result = run(
        *("model", "eval", "x.txt", "--task", "sentiment", "--column", "text=review", "--column", "label=stars"),
        *("--labels", "5=positive", "--labels", "1=negative"),
    )
    assert result.exit_code == 0, result.output
    assert "sentiment: 20 texts" in result.stdout
    assert "english (by script)" in result.stdout


def test_the_table_has_what_was_asked_for() -> None:
    result = run("model", "eval", "-", "--task", "urgency", "--precision", "0.4", said=JSONL)
    assert result.exit_code == 0
    for cell in ("macro-F1", "macro-recall", "accuracy", "ECE", "kept at 0.4 precision", "marked uncertain"):
        assert f"| {cell}" in result.stdout
    for cell in ("recall of critical at 0.7 precision", "| he ", "| as critical |", "mean of languages"):
        assert cell in result.stdout


def test_two_models_side_by_side(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(LetterScorer):
        @property
        def model_id(self) -> str:
            return "other"

    made = iter([LetterScorer(), Other()])
    monkeypatch.setattr(scoring, "open_scorer", lambda *_folder, **_options: next(made))
    shipped = str(SHIPPED)
    result = run("model", "eval", "-", "--task", "urgency", "--model", shipped, "--model", shipped, said=JSONL)
    assert result.exit_code == 0, result.output
    assert "other@1 less letters@1" in result.stdout
    assert "+0.000 (+0.000 to +0.000)" in result.stdout


@pytest.mark.parametrize(
    ("content", "code", "reason"),
    [
        (b"", 2, "the file holds no texts"),
        (b'{"text": "a"}\n', 2, "no text has a label to use: 1 without `urgency` or `label`"),
        (b'{"text": "a", "label": "urgent"}\n', 2, "line 1: 'urgent' is not one of low, normal, high, critical"),
        (b'{"text": "a", "label": "low"}\n{\n', 2, "line 2: not valid JSON"),
        (b"text,label\na\n", 2, "line 2: 1 columns, the header has 2"),
        (b'{"text": "", "label": "low"}\n', 1, "none of 1 labelled texts got a score (1: empty)"),
        ('{"text": "b☠d", "label": "low"}\n{"text": "b", "label": "low"}\n'.encode(), 1, "the model failed on 1 texts"),
        (b'{"text": "a", "label": "low"}\n', 0, "no text is truly normal, high, critical"),
    ],
)
def test_eval_says_what_is_wrong_and_ends_with_its_code(content: bytes, code: int, reason: str) -> None:
    result = run("model", "eval", "-", "--task", "urgency", said=content)
    assert result.exit_code == code
    assert reason in result.output
    assert "Traceback" not in result.output
    if code and "model failed" not in reason:
        assert result.stdout == ""
        assert result.stderr.startswith("model eval: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("model", "eval", "missing.jsonl", "--task", "urgency"),
        ("model", "eval", "-"),
        ("model", "eval", "-", "--task", "mood"),
        ("model", "eval", "-", "--task", "urgency", "--precision", "0"),
        ("model", "eval", "-", "--task", "urgency", "--labels", "a"),
        ("model", "eval", "-", "--task", "urgency", "--labels", "a=urgent"),
        ("model", "eval", "-", "--task", "urgency", "--column", "body=text"),
        ("score", "missing.csv"),
        ("score", "--input", "xml"),
    ],
)
def test_wrong_use_is_refused_with_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, said=JSONL)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


def test_csv_without_the_column_and_a_model_that_is_not_there(place: Path) -> None:
    (place / "a.csv").write_bytes(b"id,body\n1,x\n")
    for command in (["score", "a.csv"], ["model", "eval", "a.csv", "--task", "urgency"]):
        result = run(*command)
        assert result.exit_code == 2
        assert "names no column `text`; it has: id, body" in result.stderr
    for command in (["score"], ["model", "eval", "-", "--task", "urgency"]):
        result = run(*command, "--model", "nowhere", said=JSONL)
        assert result.exit_code == 1
        assert "no folder nowhere" in result.stderr


async def _label(url: str) -> None:
    await migrate(url)
    store = await Store.open(url, lambda: NOON)
    await store.keep("store", placed([post(str(n), text=f"text {n}", lang="he") for n in range(12)]))
    for n in range(12):
        identity = Identity(source_kind="bluesky", native_id=str(n))
        await store.label(Verdict(identity, 1, {"urgency": LABELS["urgency"][n % 4]}, "noa", ""))
    await store.aclose()


def test_the_labels_of_the_review_queue_are_measured_as_a_file_is(place: Path) -> None:
    elsewhere = run("model", "eval", "store", "--task", "urgency")
    assert elsewhere.exit_code == 2
    assert f"WARROOM_DATA: there is no database {place / 'data' / 'warroom.db'}" in elsewhere.stderr
    assert not (place / "data").exists(), "no empty database was made"
    url = f"sqlite+aiosqlite:///{place / 'data' / 'warroom.db'}"
    asyncio.run(migrate(url))
    nothing = run("model", "eval", "store", "--task", "urgency")
    assert (nothing.exit_code, nothing.stderr) == (2, "model eval: the file holds no texts\n")
    asyncio.run(_label(url))
    found = figures(run("model", "eval", "store", "--task", "urgency", "--format", "json"))
    rows = [{"text": f"text {n}", "label": LABELS["urgency"][n % 4], "lang": "he"} for n in range(12)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    same = figures(run("model", "eval", "-", "--task", "urgency", "--format", "json", said=content))
    assert found["texts"] == same["texts"] == 12
    assert found["models"][0]["classes"] == same["models"][0]["classes"]
    assert set(found["models"][0]["languages"]) == {"he"}
    assert run("model", "eval", "store", "--task", "intent").exit_code == 2


def test_a_file_may_be_called_store_and_a_pipe_is_read_once(place: Path) -> None:
    (place / "store").write_bytes(JSONL)
    pipe = place / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(JSONL,))
    writer.start()
    for name in ("./store", "pipe"):
        assert figures(run("model", "eval", name, "--task", "urgency", "--format", "json"))["texts"] == len(ROWS)
    writer.join()


def test_the_form_of_the_files_is_not_that_of_the_stores_labels(place: Path) -> None:
    asyncio.run(_label(f"sqlite+aiosqlite:///{place / 'data' / 'warroom.db'}"))
    result = run("model", "eval", "store", "--task", "urgency", "--input", "csv", "--format", "json")
    assert figures(result)["texts"] == 12


def test_what_a_file_holds_can_not_steer_the_terminal(place: Path) -> None:
    (place / "red.csv").write_bytes(b"te\x1b]0;mine\x07xt,label\na,low\n")
    result = run("model", "eval", "red.csv", "--task", "urgency")
    assert result.exit_code == 2
    assert "te\ufffd]0;mine\ufffdxt, label" in result.stderr


def _against_the_model(count: int) -> bytes:
    """Return labels that turn the model's answers round, so that there is something to learn."""
    rows = []
    for n in range(count):
        good = n % 2 == 0
        text = f"{'I love' if good else 'I hate'} the {('bus', 'train', 'ferry', 'tram')[n % 4]} number {n}"
        rows.append(json.dumps({"text": text, "sentiment": "negative" if good else "positive", "lang": "en"}))
    rows += [json.dumps({"text": f"Line {n} stops at platform {n % 7}", "sentiment": "neutral"}) for n in range(20)]
    return "\n".join(rows).encode()


def test_adapt_makes_a_new_folder_that_scores_and_leaves_the_old_one(place: Path) -> None:
    (place / "said.jsonl").write_bytes(_against_the_model(100))
    before = {path.name: path.read_bytes() for path in SHIPPED.iterdir()}
    result = run("model", "adapt", "said.jsonl", "--out", "new")
    assert result.exit_code == 0, result.output
    assert "sentiment: better" in result.stdout
    assert "urgency: left as it was: 0 labelled texts, 60 are needed" in result.stdout
    assert "WARROOM_MODEL=new" in result.stdout
    assert {path.name: path.read_bytes() for path in SHIPPED.iterdir()} == before
    shown = json.loads(run("model", "show", "new", "--format", "json").stdout)
    assert shown["sound"] is True
    assert shown["revision"] != json.loads(run("model", "show", "--format", "json").stdout)["revision"]
    again = run("model", "adapt", "said.jsonl", "--out", "new")
    assert again.exit_code == 2
    assert "new is there already" in again.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too few labels to adapt the model: sentiment: 0 labelled texts, 60 are needed"),
        (
            b"\n".join(b'{"text": "fire %d", "urgency": "critical"}' % n for n in range(80)),
            "urgency: 10 texts of every label are needed: low has 0, normal has 0, high has 0",
        ),
        (b'{"text": "a", "sentiment": "POS"}\n', "-, line 1: sentiment: 'POS' is not one of negative"),
        (b'{"text": "a"}\n{', "-, line 2: not valid JSON"),
        (b"text,sentiment\na\n", "-, line 2: 1 columns"),
    ],
)
def test_labels_that_cannot_be_used_make_no_folder(place: Path, content: bytes, reason: str) -> None:
    result = run("model", "adapt", "-", "--out", "new", said=content)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
    assert not (place / "new").exists()


def test_a_model_or_folder_that_cannot_be_used_is_told_in_one_line(place: Path) -> None:
    (place / "said.jsonl").write_bytes(_against_the_model(100))
    bare = place / "bare"
    bare.mkdir()
    for path in SHIPPED.iterdir():
        (bare / path.name).symlink_to(path)
    described = json.loads((SHIPPED / "manifest.json").read_bytes()) | {"embedding": None}
    (bare / "manifest.json").unlink()
    (bare / "manifest.json").write_text(json.dumps(described), encoding="utf-8")
    for options, reason in (
        (("--out", "new", "--model", "bare"), "gives no embedding: it cannot be adapted"),
        (("--out", "said.jsonl/new"), "said.jsonl/new cannot be made: "),
        (("--out", "bare"), "bare is there already"),
    ):
        result = run("model", "adapt", "said.jsonl", *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("model adapt: ")
        assert reason in result.stderr
        assert result.stderr.count("\n") == 1
    assert {path.name for path in place.iterdir()} <= {"bare", "said.jsonl", "data"}


def test_a_foreign_sentiment_head_is_not_adapted_and_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARROOM_SENTIMENT_MODEL", "acme/mood@v1")
    (place / "said.jsonl").write_bytes(_against_the_model(100))
    result = run("model", "adapt", "said.jsonl", "--out", "new")
    assert result.exit_code == 2
    assert "sentiment: acme/mood@v1 (WARROOM_SENTIMENT_MODEL) answers it in the model's place" in result.stderr
    assert "replaced_heads: sentiment acme/mood@v1" in run("model", "show").stdout
    assert "acme" not in run("model", "show", str(SHIPPED)).stdout


def test_a_stop_leaves_no_scratch_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_arguments: object) -> None:
        assert any(path.name.startswith(".new.") for path in place.iterdir())
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("nlp.adapt._all_taught", stopped)
    result = run("model", "adapt", "-", "--out", "new", said=_against_the_model(100))
    assert (result.exit_code, signal.getsignal(signal.SIGTERM)) == (143, before)
    assert not list(place.glob(".new*"))


def test_a_foreign_classifier_is_not_adapted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "foreign").mkdir()
    (place / "foreign" / "config.json").write_text('{"id2label": {"0": "NEG", "1": "POS"}}')
    monkeypatch.setenv("WARROOM_MODEL", "foreign")
    monkeypatch.setenv("WARROOM_SENTIMENT_MODEL", "acme/mood@v1")
    result = run("model", "adapt", "-", "--out", "new", said=_against_the_model(100))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "foreign holds a Hugging Face classifier, which cannot be adapted: name small, fast" in result.stderr
    assert "acme" not in run("model", "show").stdout, "the folder stands in that place itself"


def test_the_stores_labels_and_a_file_are_adapted_to_together(place: Path) -> None:
    (place / "said.csv").write_bytes(b"text,urgency\n" + b"".join(b"more %d,low\n" % n for n in range(5)))
    asyncio.run(_label(f"sqlite+aiosqlite:///{place / 'data' / 'warroom.db'}"))
    result = run("model", "adapt", "store", "said.csv", "--out", "new")
    assert result.exit_code == 2
    assert "urgency: 17 labelled texts, 60 are needed" in result.stderr


def test_show_describes_the_shipped_model_and_damage_ends_with_1(place: Path) -> None:
    shipped = run("model", "show")
    assert shipped.exit_code == 0
    assert "checksums  sound" in shipped.stdout
    told = json.loads(run("model", "show", str(SHIPPED), "--format", "json").stdout)
    assert told["sound"] is True
    assert told["tasks"] == {task: list(labels) for task, labels in LABELS.items()}
    damaged = place / "damaged"
    damaged.mkdir()
    (damaged / "manifest.json").write_bytes((SHIPPED / "manifest.json").read_bytes())
    found = run("model", "show", str(damaged))
    assert found.exit_code == 1
    assert "model.onnx: cannot be read" in found.stdout
    nothing = run("model", "show", str(place))
    assert nothing.exit_code == 1
    assert "holds no model" in nothing.stderr


def test_every_model_command_is_in_the_readme_and_every_one_there_exists() -> None:
    assert isinstance(model, click.Group)
    assert set(re.findall(r"warroom model ([a-z]+)", README)) == set(model.commands)
