"""The webhook: signatures, answers, repeats, the bounded buffer, and bodies that nobody should send."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.records import Action, Mention, decode
from streams.secrets import SecretMissing
from streams.source import Arrival
from streams.sources.supervise_choice import Chooser, wanted_keys
from streams.sources.webhook import MAX_BODY, Answer, WebhookSettings, WebhookSource
from streams.sources.webhook_body import Body, Received, parse

NOW = datetime(2026, 5, 25, 14, 30, tzinfo=UTC)
SECRET = "a secret of enough length"
RECEIVED = Received("crm", NOW, NOW)


def sent(index: int = 1, **changes: Any) -> dict[str, Any]:
    return {"id": f"m{index}", "text": f"text {index}", "published_at": "2026-05-25T14:00:00+03:00"} | changes


def signed(body: bytes, message: str = "msg_1", at: datetime = NOW, key: bytes = SECRET.encode()) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    made = hmac.new(key, f"{message}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(made).decode()
    return {"Webhook-Id": message, "webhook-timestamp": stamp, "webhook-signature": signature}


class Desk:
    """A webhook source with a reader that settles what it gets, as the supervisor does after the append."""

    def __init__(self, **changes: Any) -> None:
        self.now = NOW
        made = WebhookSettings(id="crm", secret="env:WARROOM_TEST_HOOK", **changes)
        self.source = WebhookSource(made, clock=lambda: self.now)
        self.got: list[Arrival] = []

    async def post(self, body: Any, headers: dict[str, str] | None = None, message: str = "msg_1") -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.source.accept(headers or signed(raw, message, self.now), raw)

    async def read(self) -> None:
        async for arrival in self.source.listen(None):
            if arrival.settled is not None:
                self.got.append(arrival)
                arrival.settled()

    async def post_and_read(self, body: Any, headers: dict[str, str] | None = None, message: str = "msg_1") -> Answer:
        reading = asyncio.create_task(self.read())
        answer = await self.post(body, headers, message)
        await asyncio.sleep(0)
        reading.cancel()
        return answer


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARROOM_TEST_HOOK", SECRET)


def test_a_body_becomes_mentions() -> None:
    (mention,) = parse(json.dumps(sent(author={"id": "7", "name": "נועה"}, lang="he")).encode(), RECEIVED).mentions
    assert mention.model_dump(exclude_defaults=True, mode="json") == {
        "source_kind": "webhook",
        "native_id": "crm/m1",
        "source_id": "crm",
        "revision": 0,
        "received_at": "2026-05-25T14:30:00Z",
        "published_at": "2026-05-25T11:00:00Z",
        "author": {"id": "crm/7", "name": "נועה"},
        "text": "text 1",
        "lang": "he",
    }


def test_edits_and_deletions_rise_above_what_they_change() -> None:
    body = [
        sent(),
        sent(updated_at="2026-05-25T14:10:00+03:00"),
        {"id": "m1", "deleted": True},
        {"author": {"id": "7"}, "deleted_author": True},
    ]
    found = parse(json.dumps(body).encode(), RECEIVED).mentions
    revisions = [mention.revision for mention in found[:3]]
    assert revisions == sorted(set(revisions))
    assert [mention.action for mention in found[2:]] == [Action.DELETE, Action.DELETE_AUTHOR]
    assert [mention.native_id for mention in found] == ["crm/m1", "crm/m1", "crm/m1", "crm/7"]


@pytest.mark.parametrize(
    ("element", "word"),
    [
        (sent(id=""), "id is missing"),
        (sent(id="a\x1fb"), "id: it holds the control character 0x1F"),
        (sent(author={"id": "a\x1fb"}), "author.id: it holds the control character 0x1F"),
        (sent(published_at=None), "published_at is missing"),
        (sent(published_at=1_779_706_800), "as text"),
        (sent(published_at="2026-05-25T14:00:00"), "published_at"),
        (sent(published_at="1970-01-01T00:00:00Z"), "2000"),
        (sent(published_at="0001-01-01T00:00:00+14:00"), "published_at"),
        (sent(published_at="2027-01-01T00:00:00Z"), "after receipt"),
        (sent(text=""), "text"),
        (sent(text="x" * 100_001), "text"),
        (sent(txet="x"), "txet"),
        (sent(url="javascript:alert(1)"), "url"),
        (sent(revision="7"), "revision"),
        (sent(revision=2**70), "revision"),
        (sent(lang="he\nx"), "lang"),
        ({"deleted_author": True}, "author"),
        ("m1", "object"),
    ],
)
def test_a_bad_element_is_named_and_spoils_no_other(element: Any, word: str) -> None:
    found = parse(json.dumps([sent(1), element, sent(2)]).encode(), RECEIVED)
    assert [mention.native_id for mention in found.mentions] == ["crm/m1", "crm/m2"]
    assert len(found.dead) == 1
    assert "element 1" in found.fault
    assert word in found.fault


async def test_a_refused_body_can_be_corrected_under_the_same_id() -> None:
    """It got 200 for the corrected body, which was dropped: the id of the refused one counted as taken."""
    desk = Desk()
    assert (await desk.post_and_read(sent(published_at=None))).status == 400
    assert (await desk.post_and_read(sent())).status == 202
    assert (await desk.post_and_read(sent())).status == 200
    assert [len(arrival.mentions) for arrival in desk.got] == [0, 1]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN", b"9" * 5000, b"[" + b"1," * 1000 + b"1]"])
def test_an_undecodable_body_is_one_dead_letter(body: bytes) -> None:
    found = parse(body, RECEIVED)
    assert found.mentions == ()
    assert len(found.dead) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.binary(max_size=200), st.dictionaries(st.sampled_from([*sent(), "author", "reach", "url", "place"]), _JSON))
def test_parse_never_raises(noise: bytes, changes: dict[str, Any]) -> None:
    assert isinstance(parse(noise, RECEIVED), Body)
    found = parse(json.dumps(sent() | changes).encode(), RECEIVED)
    assert len(found.mentions) + len(found.dead) == 1


async def test_202_comes_only_after_the_mentions_are_durable() -> None:
    desk = Desk()
    asking = asyncio.create_task(desk.post([sent(1), sent(2)]))
    listening = desk.source.listen(None)
    await anext(listening)
    arrival = await anext(listening)
    await asyncio.sleep(0.02)
    assert not asking.done()
    assert len(arrival.mentions) == 2
    assert arrival.settled is not None
    arrival.settled()
    assert await asking == Answer(202, "2 taken, 0 refused")


async def test_never_durable_is_503_and_may_be_sent_again() -> None:
    desk = Desk(answer_within=0.02)
    answer = await desk.post(sent())
    assert (answer.status, answer.retry_after) == (503, 5)
    assert (await desk.post_and_read(sent())).status == 202


async def test_a_repeat_is_200_without_effect_for_24_hours() -> None:
    desk = Desk()
    assert (await desk.post_and_read(sent())).status == 202
    desk.now += timedelta(hours=23)
    assert (await desk.post_and_read(sent())).status == 200
    assert len(desk.got) == 1
    desk.now += timedelta(hours=2)
    assert (await desk.post_and_read(sent())).status == 202
    # Beyond a day the identity dedup takes over: the same fixture gives the same identity and revision.
    assert {(m.key, m.revision) for arrival in desk.got for m in arrival.mentions} == {("webhook\x1fcrm/m1", 0)}


async def test_the_same_id_at_the_same_time_is_taken_once() -> None:
    desk = Desk()
    reading = asyncio.create_task(desk.read())
    answers = await asyncio.gather(desk.post(sent()), desk.post(sent()))
    reading.cancel()
    assert sorted(answer.status for answer in answers) == [200, 202]
    assert len(desk.got) == 1


async def test_a_full_buffer_is_429_and_loses_nothing_that_was_taken() -> None:
    desk = Desk(buffer=2)
    asking = [asyncio.create_task(desk.post(sent(index), message=f"msg_{index}")) for index in range(3)]
    await asyncio.sleep(0.02)
    reading = asyncio.create_task(desk.read())
    answers = await asyncio.gather(*asking)
    reading.cancel()
    assert [answer.status for answer in answers] == [202, 202, 429]
    assert answers[2].retry_after == 1
    assert [arrival.mentions[0].native_id for arrival in desk.got] == ["crm/m0", "crm/m1"]


async def test_an_undecodable_body_is_400_with_field_and_remedy_and_a_dead_letter() -> None:
    desk = Desk()
    for index, (body, word) in enumerate([(b"{", "JSON"), (sent(text=""), "text"), ([sent(id="")], "id is missing")]):
        answer = await desk.post_and_read(body, message=f"msg_{index}")
        assert answer.status == 400
        assert word in answer.detail
    assert [len(arrival.dead) for arrival in desk.got] == [1, 1, 1]


async def test_a_mixed_array_tells_the_counts() -> None:
    answer = await Desk().post_and_read([sent(1), sent(2, text=""), sent(3)])
    assert answer.status == 202
    assert answer.detail.startswith("2 taken, 1 refused; element 1: text")


def forged() -> dict[str, tuple[dict[str, str], bytes]]:
    body = json.dumps(sent()).encode()
    good = signed(body)
    return {
        "another body": (good, body + b" "),
        "another id": (good | {"Webhook-Id": "msg_2"}, body),
        "another key": (signed(body, key=b"x" * 32), body),
        "too old": (signed(body, at=NOW - timedelta(seconds=301)), body),
        "too new": (signed(body, at=NOW + timedelta(seconds=301)), body),
        "no number": (good | {"webhook-timestamp": "now"}, body),
        "digits of another script": (good | {"webhook-timestamp": "١٢٣"}, body),
        "many digits": (good | {"webhook-timestamp": "9" * 5000}, body),
        "no base64": (good | {"webhook-signature": "v1,%%%"}, body),
        "not ASCII": (good | {"webhook-signature": "v1,é"}, body),
        "empty": (good | {"webhook-signature": "v1,"}, body),
        "another version": (good | {"webhook-signature": good["webhook-signature"].replace("v1", "v2")}, body),
        "nothing": ({}, body),
    }


@pytest.mark.parametrize("name", forged())
async def test_what_is_not_signed_is_401(name: str) -> None:
    headers, body = forged()[name]
    desk = Desk()
    answer = await desk.source.accept(headers, body)
    assert answer.status == 401
    assert SECRET not in answer.detail


async def test_one_of_several_signatures_and_the_previous_secret_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    old = b"0123456789abcdef"
    monkeypatch.setenv("WARROOM_TEST_OLD", "whsec_" + base64.b64encode(old).decode())
    body = json.dumps(sent()).encode()
    desk = Desk(previous_secret="env:WARROOM_TEST_OLD")
    headers = signed(body, key=old)
    headers["webhook-signature"] = "v1,AAAA v1a,xyz " + headers["webhook-signature"]
    assert (await desk.post_and_read(body, headers)).status == 202


async def test_a_large_body_is_413_before_anything_else() -> None:
    assert (await Desk().source.accept({}, b"x" * (MAX_BODY + 1))).status == 413
    assert (await Desk().post_and_read(b"x" * MAX_BODY)).status == 400


def test_a_short_or_missing_secret_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARROOM_TEST_HOOK", "short")
    with pytest.raises(SecretMissing, match="too short") as caught:
        Desk()
    assert "short;" not in str(caught.value).replace("too short;", "")
    monkeypatch.delenv("WARROOM_TEST_HOOK")
    with pytest.raises(SecretMissing, match="not set"):
        Desk()


@pytest.mark.parametrize("absurd", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("field", ["published_at", "updated_at"])
def test_a_date_beyond_the_calendar_is_a_dead_letter_and_the_rest_is_taken(field: str, absurd: str) -> None:
    found = parse(json.dumps([sent(1, **{field: absurd}), sent(2)]).encode(), RECEIVED)
    assert [one.native_id for one in found.mentions] == ["crm/m2"]
    assert len(found.dead) == 1
    assert found.fault.startswith(f"element 0: {field}: ")
    assert "out of range" in found.fault


def test_only_a_deletion_that_names_no_revision_holds_against_everything() -> None:
    gone = {"id": "a", "deleted": True}
    author = {"author": {"id": "7"}, "deleted_author": True}
    found = parse(json.dumps([gone, author, sent(1)]).encode(), RECEIVED)
    assert [one.native_id for one in found.unversioned] == ["crm/a", "crm/7"]
    at = {"updated_at": "2026-05-25T14:00:00Z"}
    stated = parse(json.dumps([gone | {"revision": 0}, gone | at, author | at]).encode(), RECEIVED)
    assert (len(stated.mentions), stated.unversioned) == (3, [])


def test_a_withdrawal_has_no_number() -> None:
    """It would erase nothing of posts whose revisions are times, and what came after it stayed out."""
    body = {"author": {"id": "7"}, "deleted_author": True, "revision": 7}
    assert parse(json.dumps(body).encode(), RECEIVED).fault.startswith("revision counts what became of one post; leave")


@pytest.mark.parametrize("edit", [{"revision": 1}, {"updated_at": "2026-05-25T14:00:00+03:00"}])
def test_an_edit_of_a_post_that_named_no_revision_is_taken_and_a_repeat_is_not(edit: dict[str, Any]) -> None:
    """Senders number edits from 1, and leave the number out of what was never edited."""
    bodies = [sent(), sent(), sent(text="edited", **edit), sent(), sent(text="edited", **edit)]
    found = parse(json.dumps(bodies).encode(), RECEIVED).mentions
    chosen = Chooser(lambda _: ("brand",)).choose(found, {}, NOW)
    taken = [decode(item.value) for item in chosen.items]
    assert [one.text for one in taken if isinstance(one, Mention)] == ["text 1", "edited"]
    assert chosen.duplicated == 3


def test_no_post_is_numbered_too_high_to_be_deleted() -> None:
    assert parse(json.dumps(sent(1, revision=2**62)).encode(), RECEIVED).fault.startswith("revision: ")
    found = parse(json.dumps([sent(1, revision=2**62 - 1), {"id": "m1", "deleted": True}]).encode(), RECEIVED)
    chosen = Chooser(lambda _: ("brand",)).choose(found.mentions, {}, NOW, unversioned=found.unversioned)
    assert [one.revision for one in chosen.accepted] == [2**62 - 1, 2**62]


class Inbox:
    """Takes one delivery after the other, and forgets what is not kept in the database."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.queries: tuple[str, ...] = ("brand",)

    def send(self, hours: float, **body: Any) -> list[int]:
        """Return the revisions that were taken."""
        at, known = NOW + timedelta(hours=hours), self.known
        gone = body.get("deleted") or body.get("deleted_author")
        when = {} if gone else {"text": "t", "published_at": at.isoformat()}
        found = parse(json.dumps({"author": {"id": "7"}} | when | body).encode(), replace(RECEIVED, sent_at=at, at=at))
        assert not found.fault
        pushed = frozenset(found.mentions)
        known_now = {key: known[key] for key in wanted_keys(found.mentions, pushed) if key in known}
        chooser = Chooser(lambda _: self.queries)
        chosen = chooser.choose(found.mentions, known_now, at, unversioned=found.unversioned, pushed=pushed)
        for one in chosen.accepted:
            known.update({key: max(one.revision, known.get(key, -1)) for key in (one.key, one.author_key) if key})
        return [one.revision for one in chosen.accepted]


def test_a_numbered_deletion_of_a_post_whose_revision_is_a_time_is_taken_once() -> None:
    send = Inbox().send
    (posted,) = send(0, id="m1", updated_at=NOW.isoformat())
    assert [send(1, id="m1", deleted=True, revision=5) for _ in range(3)] == [[posted + 1], [], []]
    assert send(0, id="m1", updated_at=NOW.isoformat()) == []
    (again,) = send(2, id="m1", updated_at=(NOW + timedelta(hours=2)).isoformat())
    assert [send(3, id="m1", deleted=True, revision=5) for _ in range(2)] == [[again + 1], []]


def test_a_deletion_of_what_no_query_wanted_makes_no_post_wanted() -> None:
    """It counted as one that was published: the next post of that id came into the log with no query at all."""
    inbox = Inbox()
    inbox.queries = ()
    assert inbox.send(0, id="m1", deleted=True, revision=3) == [3]
    assert inbox.send(1, id="m1", deleted=True, revision=3) == inbox.send(1, id="m1", revision=4) == []
    inbox.queries = ("brand",)
    assert inbox.send(1, id="m1", revision=3) == []
    assert inbox.send(1, id="m1", revision=4) == [4]


def test_what_an_author_publishes_after_a_withdrawal_lives() -> None:
    """It had revision 0, the tombstone the time in milliseconds: it was answered with 202 and never seen."""
    send = Inbox().send
    assert send(0, id="m1") == [0]
    (gone,) = send(1, deleted_author=True)
    assert send(2, id="m2") == send(2, id="m3", revision=0) == [gone + 1]
    assert send(2, id="m2", revision=1) == [gone + 2]
    assert send(2, id="m2") == send(2, id="m2", revision=1) == []
    assert send(0.5, id="m4") == [0]  # published before: the store's tombstone is over it
    assert send(3, id="m2", deleted=True, revision=2) == [gone + 3]
    assert send(2, id="m2", revision=1) == []
    (again,) = send(4, deleted_author=True)
    assert again > gone + 3
    assert send(3.5, id="m5") == [0]


async def test_a_post_deleted_in_the_second_of_its_publication_is_withdrawn() -> None:
    """Publication counts milliseconds, the header of a deletion seconds."""
    desk = Desk()
    desk.now = NOW + timedelta(milliseconds=900)
    post = sent(1, published_at=(NOW + timedelta(milliseconds=500)).isoformat(), author={"id": "7"})
    known: dict[str, int] = {}
    items: list[Mention] = []
    for number, body in enumerate((post, {"id": "m1", "deleted": True})):
        await desk.post_and_read(body, message=f"msg_{number}")
        arrival = desk.got[-1]
        chosen = Chooser(lambda _: ("brand",)).choose(
            arrival.mentions, known, desk.now, unversioned=arrival.unversioned
        )
        known |= {one.key: one.revision for one in chosen.accepted}
        items += [one for one in map(decode, (item.value for item in chosen.items)) if isinstance(one, Mention)]
    assert [one.action for one in items] == [Action.PUBLISH, Action.DELETE]
    assert items[1].revision > items[0].revision


async def test_a_webhook_is_live_as_soon_as_it_listens() -> None:
    listening = Desk().source.listen(None)
    assert await anext(listening) == Arrival()
