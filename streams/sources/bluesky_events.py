"""Events of Jetstream v1 as mentions: a pure function of the frame, when it came, and who asked.

Owns the reading of commits and account events. Does not own the connection or the cursor (`streams.sources.bluesky`).
Never raises: a malformed event of a wanted kind is a dead letter, other collections and kinds are nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from streams.records import LIVE, MAX_TEXT, Action, Author, DeadLetter, Mention
from streams.sources.checks import check_times, clean_text
from streams.sources.letters import letter

KIND: Final = "bluesky"
POSTS: Final = "app.bsky.feed.post"

_DID: Final = re.compile(r"did:[a-z]{1,32}:[A-Za-z0-9._:%-]{1,2000}")
_RKEY: Final = re.compile(r"[A-Za-z0-9._~:-]{1,512}")
_URI: Final = re.compile(r"at://[\x21-\x7e]{1,2000}")
_LANG: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_MAX_LANG: Final = 35
_STAYING: Final = frozenset({"desynchronized", "throttled"})
"""Statuses of an inactive account whose posts stay; any other withdraws them (deleted, takendown, suspended ...)."""

_TID: Final = {char: value for value, char in enumerate("234567abcdefghijklmnopqrstuvwxyz")}
_TID_LENGTH: Final = 13
_AHEAD_US: Final = 5_000_000
"""A repository can write any `rev`: it is believed up to so far ahead of the relay, and cut to that, so that what comes
later stays above it. The end of an account, which has no `rev`, counts from that far ahead."""


class _Malformed(ValueError):
    """What is wrong with an event."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one frame holds; all empty for an event that is not ours. `time_us` moves the cursor, None if unreadable."""

    mention: Mention | None = None
    dead: DeadLetter | None = None
    time_us: int | None = None


def parse(
    payload: bytes | str,
    source_id: str,
    received_at: datetime,
    realm: str = LIVE,
    collections: frozenset[str] = frozenset({POSTS}),
) -> Parsed:
    """Return what a frame holds."""
    time_us: int | None = None
    try:
        event = _object(payload)
        time_us = _microseconds(event.get("time_us"))
        mention = _mention(event, time_us, source_id, received_at, realm, collections)
        reason = check_times(mention) if mention is not None else None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except _Malformed as error:
        reason = str(error)
    else:
        if reason is None:
            return Parsed(mention, None, time_us)
    return Parsed(None, letter(reason, payload, source_id=source_id, at=received_at, realm=realm), time_us)


def tid_microseconds(tid: object) -> int | None:
    """Return the time of a TID in microseconds since 1970; None if it is none."""
    if not isinstance(tid, str) or len(tid) != _TID_LENGTH or not _TID.keys() >= set(tid) or tid[0] > "j":
        return None
    number = 0
    for char in tid:
        number = number << 5 | _TID[char]
    return number >> 10


def _object(payload: bytes | str) -> dict[str, Any]:
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"not JSON: {error}") from error
    if not isinstance(event, dict):
        raise _Malformed("not a JSON object")
    return event


def _microseconds(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise _Malformed("time_us is not a positive 64-bit integer")
    return value


def _mention(
    event: dict[str, Any],
    time_us: int,
    source_id: str,
    received_at: datetime,
    realm: str,
    collections: frozenset[str],
) -> Mention | None:
    known: dict[str, Any] = {"source_kind": KIND, "source_id": source_id, "received_at": received_at, "realm": realm}
    match event.get("kind"):
        case "account":
            return _withdrawal(event, time_us, known)
        case "commit":
            commit = _part(event, "commit")
            collection = commit.get("collection")
            if not isinstance(collection, str):
                raise _Malformed("commit.collection is missing")
            return _commit(event, commit, time_us, known) if collection in collections else None
        case str():
            return None
    raise _Malformed("kind is missing")


def _withdrawal(event: dict[str, Any], time_us: int, known: dict[str, Any]) -> Mention | None:
    account = _part(event, "account")
    active = account.get("active")
    if not isinstance(active, bool):
        raise _Malformed("account.active is not true or false")
    if active or account.get("status") in _STAYING:
        return None
    did = _matching(_DID, event.get("did"), "did")
    known["revision"] = time_us + _AHEAD_US
    return Mention(**known, native_id=did, action=Action.DELETE_AUTHOR, author=Author(id=did))


def _commit(event: dict[str, Any], commit: dict[str, Any], time_us: int, known: dict[str, Any]) -> Mention | None:
    did = _matching(_DID, event.get("did"), "did")
    rkey = _matching(_RKEY, commit.get("rkey"), "commit.rkey")
    collection = commit["collection"]
    written = tid_microseconds(commit.get("rev"))
    known["native_id"] = f"at://{did}/{collection}/{rkey}"
    known["revision"] = min(written, time_us + _AHEAD_US) if written else time_us
    known["author"] = Author(id=did)
    known["url"] = f"https://bsky.app/profile/{did}/post/{rkey}" if collection == POSTS else None
    match commit.get("operation"):
        case "delete":
            return Mention(**known, action=Action.DELETE)
        case "create" | "update":
            return Mention(**known, **_written(_part(commit, "record")))
    raise _Malformed("commit.operation is none of create, update, delete")


def _written(record: dict[str, Any]) -> dict[str, Any]:
    text = record.get("text")
    if not isinstance(text, str):
        raise _Malformed("record.text is missing")
    if len(text) > MAX_TEXT:
        raise _Malformed(f"record.text has {len(text)} characters, more than {MAX_TEXT}")
    reply = record.get("reply")
    return {
        "text": clean_text(text),
        "published_at": _time(record.get("createdAt")),
        "lang": _lang(record.get("langs")),
        "thread_id": _reply(reply, "root"),
        "reply_to": _reply(reply, "parent"),
    }


def _part(whole: dict[str, Any], name: str) -> dict[str, Any]:
    part = whole.get(name)
    if not isinstance(part, dict):
        raise _Malformed(f"{name} is not an object")
    return part


def _matching(pattern: re.Pattern[str], value: object, name: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _Malformed(f"{name} is missing or malformed")
    return value


def _time(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None or moment.tzinfo is None:
            raise _Malformed("record.createdAt is missing, or no time with a zone")
        moment.timestamp()
        moment.astimezone(UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise _Malformed(f"record.createdAt can't be read: {error}") from error
    return moment


def _lang(value: object) -> str | None:
    """Return the first language stated; a malformed one is as good as none, and the script tells."""
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, str) and len(first) <= _MAX_LANG and _LANG.fullmatch(first) else None


def _reply(reply: object, end: str) -> str | None:
    place = reply.get(end) if isinstance(reply, dict) else None
    uri = place.get("uri") if isinstance(place, dict) else None
    return uri if isinstance(uri, str) and _URI.fullmatch(uri) else None
