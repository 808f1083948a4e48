"""The command line as a user meets it: messages, exit codes, a configuration that comes into force, a clean stop."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.brokers import wait_until
from tests.process import Place, WarRoom

QUIET = "version: 1\n"


def configured(*brands: str) -> str:
    queries = "\n".join(f"  - {{id: {brand}, name: {brand}, match: {brand}}}" for brand in brands)
    return f"version: 1\nqueries:\n{queries}\n"


def row(number: int, text: str) -> str:
    at = datetime.now(UTC) - timedelta(minutes=2)
    return json.dumps({"id": f"{number}", "text": text, "published_at": at.isoformat(), "author": "someone"})


@pytest.fixture
def up(here: Place) -> WarRoom:
    here.configure(QUIET)
    process = here.start("up")
    process.address()
    return process


def test_check_says_what_is_fine_and_every_fault_with_line_and_remedy(here: Place) -> None:
    here.configure(configured("acme", "oskora"))
    fine = here.run("check")
    assert (fine.returncode, fine.stderr) == (0, b"")
    assert "fine: 0 sources, 2 queries, 0 rules, 0 receivers" in fine.stdout.decode()
    here.configure(
        "version: 1\n"
        "sources:\n"
        "  - {id: feed, kind: carrier-pigeon}\n"
        "queries:\n"
        "  - {id: acme, name: Acme, match: '(acme OR'}\n"
        "rules:\n"
        "  - {id: r, name: R, query: nobody, measure: count, threshold: 5, window: 7}\n"
    )
    wrong = here.run("check", str(here.config))
    said = wrong.stderr.decode()
    assert wrong.returncode == 2
    assert f"{here.config}:3: sources[0].kind: there is no source kind 'carrier-pigeon'; known are:" in said
    assert f"{here.config}:5: queries[0]" in said
    assert f"{here.config}:7: rules[0].window" in said
    assert "3 faults" in said
    assert "Traceback" not in said


def test_a_wrong_or_missing_configuration_stops_the_start_and_says_what_to_change(here: Place) -> None:
    missing = here.run("up")
    assert missing.returncode == 2
    assert "write one or name it by WARROOM_CONFIG" in missing.stderr.decode()
    here.configure("version: 2\n")
    wrong = here.run("up")
    assert wrong.returncode == 2
    assert "write `version: 1`" in wrong.stderr.decode()
    assert not (here.data / "warroom.db").exists(), "nothing was changed"


def test_unknown_and_wrong_settings_are_refused_by_name(here: Place) -> None:
    here.configure(QUIET)
    unknown = here.run("up", portt="1")
    assert unknown.returncode == 2
    assert "unknown setting WARROOM_PORTT; known are" in unknown.stderr.decode()
    wrong = here.run("up", port="ninety", zones="Asia/Atlantis")
    assert wrong.returncode == 2
    assert "WARROOM_PORT:" in wrong.stderr.decode()
    assert "'Asia/Atlantis' is no IANA time zone" in wrong.stderr.decode()
    open_door = here.run("up", host="0.0.0.0")
    assert open_door.returncode == 2
    assert "set WARROOM_ACCESS_TOKEN" in open_door.stderr.decode()
    secret = here.run("up", database_url="mysql://root:hunter2@db/x")
    assert secret.returncode == 2
    assert "WARROOM_DATABASE_URL: the database must be sqlite:///PATH or" in secret.stderr.decode()
    assert b"hunter2" not in secret.stdout + secret.stderr


def test_one_role_alone_needs_a_shared_log_and_store(here: Place) -> None:
    here.configure(QUIET)
    alone = here.run("run", "score")
    assert alone.returncode == 2
    assert "set WARROOM_KAFKA=host:port" in alone.stderr.decode()


def test_a_taken_port_and_a_taken_folder_are_named_with_the_remedy(here: Place, up: WarRoom) -> None:
    port = up.address().rpartition(":")[2]
    taken = here.run("up", port=port)
    assert taken.returncode == 1
    assert f"127.0.0.1:{port} can't be served on" in taken.stderr.decode()
    assert "set WARROOM_PORT to a free port" in taken.stderr.decode()
    shared = here.run("up")
    assert shared.returncode == 1
    assert "is in use by another process" in shared.stderr.decode()
    assert httpx.get(f"{up.address()}/health").status_code == 200, "the first goes on undisturbed"


def test_a_stop_is_clean_and_quick(here: Place, up: WarRoom) -> None:
    began = time.monotonic()
    assert up.stop(within=10.0) == 0
    assert time.monotonic() - began < 10.0
    assert "Traceback" not in up.said()
    again = here.start("up")
    again.address()
    assert again.stop(within=10.0) == 0


def test_apply_reaches_a_running_process_within_seconds(here: Place, up: WarRoom) -> None:
    path = here.folder / "posts.jsonl"
    path.write_text("\n".join([row(1, "hello acme"), row(2, "hello zebra")]) + "\n", encoding="utf-8")
    source = f"sources:\n  - {{id: posts, kind: file, path: {path}, realm: live}}\n"
    here.configure(configured("acme") + source)
    applied = here.run("apply")
    assert applied.returncode == 0
    assert "in force as revision" in applied.stdout.decode()
    assert f" in {here.data / 'warroom.db'}\n" in applied.stdout.decode()
    wait_until(lambda: heard(up) == ["hello acme"], 10.0, "the source that was applied")
    again = here.run("apply")
    assert "unchanged, in force as revision" in again.stdout.decode()
    here.configure(configured("zebra", "acme") + source.replace("id: posts", "id: more"))
    assert here.run("apply").returncode == 0
    wait_until(lambda: heard(up) == ["hello acme", "hello zebra"], 10.0, "the query that was applied")
    here.configure("version: 1\nqueries: 7\n")
    refused = here.run("apply")
    assert refused.returncode == 2
    assert "nothing was changed" in refused.stderr.decode()
    wait_until(lambda: verdict(up) == "ok", 10.0, "the parts that began anew with the new configuration")


def test_apply_from_another_folder_names_the_setting_and_makes_no_database(here: Place) -> None:
    here.configure(QUIET)
    refused = here.run("apply", data=str(here.folder / "elsewhere"))
    assert refused.returncode == 1
    assert f"WARROOM_DATA: there is no database {here.folder / 'elsewhere' / 'warroom.db'}" in refused.stderr.decode()
    assert "in force" not in refused.stdout.decode()
    assert not (here.folder / "elsewhere").exists()


def verdict(process: WarRoom) -> object:
    return httpx.get(f"{process.address()}/health").json()["status"]


def heard(process: WarRoom) -> list[str]:
    page = httpx.get(f"{process.address()}/api/mentions").raise_for_status().json()
    return sorted(item["mention"]["text"] for item in page["items"])


def test_score_answers_line_by_line(here: Place) -> None:
    texts = ["thank you, wonderful!", "תודה רבה, היה נהדר", "آتش گرفته، کمک کنید", "thank you, wonderful!"]
    said = "".join(json.dumps({"text": text, "own": number}) + "\n" for number, text in enumerate(texts))
    answered = here.run("score", said=said.encode())
    assert answered.returncode == 0, answered.stderr.decode()
    lines = [json.loads(line) for line in answered.stdout.splitlines()]
    assert [(line["text"], line["own"]) for line in lines] == [(text, number) for number, text in enumerate(texts)]
    for line in lines:
        for task in ("sentiment", "urgency", "intent"):
            assert sum(line[task]["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
            assert line[task]["label"] == max(line[task]["probabilities"], key=line[task]["probabilities"].get)
    bad = here.run("score", said=b'{"text": "fine"}\nnot json\n')
    assert bad.returncode == 1
    assert len(bad.stdout.splitlines()) == 2


def test_the_model_is_measured_and_described(here: Place) -> None:
    plain = [("thank you, wonderful!", "positive", "en"), ("worst service ever, I hate it", "negative", "en")]
    plain += [("תודה רבה, היה נהדר", "positive", "he"), ("שירות גרוע, מאכזב ומעליב", "negative", "he")]
    rows = "text\tlabel\tlang\n" + "".join(f"{text}\t{label}\t{lang}\n" for text, label, lang in plain * 5)
    measured = here.run("model", "eval", "-", "--task", "sentiment", "--format", "json", said=rows.encode(), within=300)
    assert measured.returncode == 0, measured.stderr.decode()
    found = json.loads(measured.stdout)
    assert found["texts"] == 20
    assert found["models"][0]["languages"]["he"]["accuracy"]["value"] == 1.0
    shown = here.run("model", "show", within=300)
    assert shown.returncode == 0, shown.stderr.decode()
    assert found["models"][0]["model"].partition("@")[2] in shown.stdout.decode()
    wrong = here.run("model", "eval", "-", "--task", "urgency", said=rows.encode(), within=300)
    assert wrong.returncode == 2
    assert "line 2: 'positive' is not one of low, normal, high, critical" in wrong.stderr.decode()
    assert b"Traceback" not in wrong.stderr
