from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from alerts.notifiers import Attempt, ReceiverSettings, Reject, Retry, Sent, UnknownNotifier, known_kinds, load_notifier
from alerts.notifiers import webhook as webhooks
from alerts.notifiers.console import ConsoleNotifier, ConsoleReceiver
from alerts.notifiers.webhook import WebhookNotifier, WebhookReceiver, wait_asked
from alerts.notifiers.wording import headline, plain
from streams.secrets import SecretMissing
from tests.alerts.receivers import HALF, HANG, RESET, alert, hook, receiving

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode()


async def attempt(url: str, **fields: object) -> Attempt:
    notifier = WebhookNotifier(hook(url, **fields))
    try:
        return await notifier.send(alert(), "a1:0:hook", NOW)
    finally:
        await notifier.aclose()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("200", Sent("HTTP 200")),
        ("201", Sent("HTTP 201")),
        ("204", Sent("HTTP 204")),
        ("200 content-encoding: br", Sent("HTTP 200")),
        (HALF, Sent("HTTP 200")),
        ("301 location: http://127.0.0.1:9/", Reject),
        ("400", Reject("HTTP 400")),
        ("401", Reject("HTTP 401")),
        ("404", Reject("HTTP 404")),
        ("408", Retry("HTTP 408")),
        ("425", Retry("HTTP 425")),
        ("429 retry-after: 17", Retry("HTTP 429", 17.0)),
        ("429 retry-after: soon", Retry("HTTP 429")),
        ("500", Retry("HTTP 500")),
        ("502", Retry("HTTP 502")),
        ("503 retry-after: " + format_datetime(NOW + timedelta(seconds=40), usegmt=True), Retry("HTTP 503", 40.0)),
        ("504", Retry("HTTP 504")),
        (RESET, Retry),
    ],
)
async def test_the_answer_decides(answer: str, expected: Attempt | type[Attempt]) -> None:
    async with receiving([answer]) as receiver:
        found = await attempt(receiver.url)
    if isinstance(expected, type):
        assert isinstance(found, expected)
    else:
        assert found == expected
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "https://hooks.internal:99999/x"}, "no port 99999; write one from 1 to 65535"),
        *(
            ({"allow": [entry]}, "can't be allowed; write a host name alone")
            for entry in (
                "",
                "10.1",
                "10.0.0.5/8",
                "*.internal",
                "host:8443",
                "https://hooks.internal",
                "metadata.google.internal",
            )
        ),
    ],
)
def test_a_receiver_that_can_never_be_reached_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        hook(**({"url": "https://hooks.internal/x"} | fields))  # type: ignore[arg-type]  # by case


def test_hosts_and_networks_can_be_allowed() -> None:
    allow = ("hooks.internal", "Hooks.Internal.", "localhost", "host_name", "דואר.example", "10.1.2.3", "fd00::/8")
    assert hook("https://hooks.internal:8443/x", allow=allow).allow == allow


async def test_a_hanging_receiver_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DEADLINE", 0.2)
    async with receiving([HANG]) as receiver:
        assert await attempt(receiver.url) == Retry("no answer within 0.2 s")


async def test_nobody_listening_and_names_unknown_are_tried_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert isinstance(await attempt(f"http://127.0.0.1:{taken.getsockname()[1]}/"), Retry)
    assert isinstance(await attempt("http://no-such-host.invalid/"), Retry)


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://metadata.google.internal./x"])
async def test_a_refused_address_is_never_tried_again(url: str) -> None:
    settings = WebhookReceiver.model_construct(id="hook", kind="webhook", url=url, secret=None, allow=())
    notifier = None
    try:
        notifier = WebhookNotifier(settings)
        found: Attempt = await notifier.send(alert(), "k", NOW)
    except httpx.TransportError as error:
        found = Reject(str(error))
    finally:
        if notifier is not None:
            await notifier.aclose()
    assert isinstance(found, Reject)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=elsewhere",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ],
        cwd=folder,
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("misses a receiver with a bad certificate: no openssl here")
    return folder


async def test_a_bad_certificate_is_refused(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    found = await attempt(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    server.close()
    assert isinstance(found, Reject)
    assert "certificate is refused" in found.reason


async def test_the_body_is_signed_and_says_what_is_not_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with receiving(["200"]) as receiver:
        notifier = WebhookNotifier(hook(receiver.url, secret="env:HOOK_SECRET"))
        await notifier.send(alert(realm="rehearsal"), "a1:0:hook", NOW)
        await notifier.aclose()
    (got,) = receiver.got
    assert got.first == "POST /hook HTTP/1.1"
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    expected = base64.b64encode(hmac.new(b"twenty-four bytes of key", signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    assert got.headers["webhook-id"] == "a1:0:hook"
    assert got.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    body = json.loads(got.body)
    assert (body["real"], body["realm"], body["type"]) == (False, "rehearsal", "alert.firing")
    assert body["text"].startswith("[REHEARSAL] FIRING severity 1: משבר")
    assert body["alert"]["evidence"][0]["native_id"] == "m1"


async def test_without_a_secret_there_is_no_signature() -> None:
    async with receiving(["200"]) as receiver:
        await attempt(receiver.url)
    assert "webhook-signature" not in receiver.got[0].headers


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "ftp://x/"}, "write an http or https address"),
        ({"url": "http://user:pw@x/"}, "without credentials"),
        ({"url": "https://x/", "secret": "hunter2"}, "must be a reference"),
        ({"url": "https://x/", "realms": ["dream"]}, "'live', 'rehearsal' or 'replay'"),
    ],
)
def test_wrong_settings_name_the_remedy_and_no_secret(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        WebhookReceiver.model_validate({"id": "hook"} | fields)
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_is_not_there_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(SecretMissing, match="NOWHERE"):
        WebhookNotifier(hook("https://example.org/", secret="env:NOWHERE"))
    monkeypatch.setenv("HOOK_SECRET", "whsec_!!!")
    with pytest.raises(SecretMissing, match="base64"):
        WebhookNotifier(hook("https://example.org/", secret="env:HOOK_SECRET"))


def test_by_default_no_rehearsal_reaches_the_outside() -> None:
    assert hook("https://example.org/").realms == ("live",)
    assert ConsoleReceiver(id="console").realms == ("live", "rehearsal")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("0", 0.0), ("99999999999", 86_400.0), ("-1", None), ("", None), ("Sun, 99 Foo", None), ("²", None)],
)
def test_retry_after_is_read_with_care(value: str | None, seconds: float | None) -> None:
    assert wait_asked(value, NOW) == seconds


def test_kinds_are_found_by_their_entry_points() -> None:
    assert {"console", "webhook"} <= set(known_kinds())
    assert load_notifier("webhook").settings_model is WebhookReceiver
    with pytest.raises(UnknownNotifier, match=r"known are: .*console"):
        load_notifier("pigeon")


async def test_the_console_says_it_in_one_clean_line(capsys: pytest.CaptureFixture[str]) -> None:
    settings: ReceiverSettings = ConsoleReceiver(id="console")
    notifier = ConsoleNotifier(settings)
    assert await notifier.send(alert(name="bad\n\x1b[2Jname\u202e"), "k", NOW) == Sent("logged")
    await notifier.aclose()
    out = capsys.readouterr().out
    assert "FIRING severity 1: bad [2Jname (lang he): 4 mentions in 10s (threshold 3)" in out
    assert not {"\x1b", "\u202e"} & set(out.replace("\x1b[0m", "").replace("\x1b[1m", "")) - set("\x1b")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\r\nc\u2028d", "a b c d"),
        ("\u2066\u202aeverything\u200f\u061c\ufeff", "everything"),
        ("می‌خواهم", "می‌خواهم"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_plain_text_has_nothing_invisible(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_replay_is_marked() -> None:
    mark: Callable[[str], str] = lambda realm: headline(alert(realm=realm)).split(" ")[0]  # noqa: E731  one line
    assert [mark("live"), mark("rehearsal"), mark("replay")] == ["FIRING", "[REHEARSAL]", "[REPLAY]"]
