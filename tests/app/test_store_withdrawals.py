from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from sqlalchemy import make_url

from alerts.ports import Send
from app.migrations import migrate
from app.store import Store
from streams.records import Action, AlertEvent, Author, ScoredMention
from tests.app.store_world import NOON, alert, placed, post, quote, withdrawal
from tests.app.test_store_keep import dump

CANARY = "canary-7f3a"


def _send(event: AlertEvent, key: str = "k") -> Send:
    return Send(key, "desk", event, 0, NOON, NOON + timedelta(hours=1))


def _secret_post(native_id: str = "a", revision: int = 1) -> ScoredMention:
    return post(
        native_id,
        revision,
        text=f"{CANARY} text",
        author=Author(id=f"{CANARY} id", name=f"{CANARY} name", handle=f"{CANARY}.handle"),
        url=f"https://example.org/{CANARY}",
        thread_id=CANARY,
        reply_to=CANARY,
        place=CANARY,
    )


def _quoting(alert_id: str = "one", seq: int = 0) -> AlertEvent:
    return alert(alert_id, seq, evidence=(quote("a", f"{CANARY} said"), quote("b", "harmless")))


async def _canaries(store: Store) -> list[str]:
    return [name for name, rows in (await dump(store)).items() if CANARY in repr(rows)]


async def test_deleted_text_is_nowhere(store: Store) -> None:
    """Invariant 8: a planted word is in no row of any table, after the deletion and after every replay."""
    posted = _secret_post()
    await store.keep("store", placed([posted, post("b")]))
    await store.keep_alerts("store", placed([_quoting()]))
    await store.enqueue([_send(_quoting())])
    assert await _canaries(store) == ["alert_events", "mentions", "outbox"]
    await store.keep("store", placed([withdrawal("a", 1)], start=2))
    assert await _canaries(store) == []
    await store.keep("again", placed([posted]))
    await store.keep_alerts("again", placed([_quoting("two"), _quoting("one", 1)]))
    await store.enqueue([_send(_quoting("three"), "k3")])
    assert await _canaries(store) == []
    (send, *_) = await store.claim(NOON, 1, 30)
    assert [evidence.excerpt for evidence in send.event.evidence] == ["", "harmless"]
    assert send.event.evidence[0].author == ""
    assert send.event.evidence[0].url is None


async def test_a_withdrawn_author_is_nowhere(store: Store) -> None:
    await store.keep("store", placed([_secret_post("a"), _secret_post("b", 2), post("c")]))
    await store.keep_alerts("store", placed([_quoting()]))
    await store.keep("store", placed([withdrawal(f"{CANARY} id", 2, Action.DELETE_AUTHOR)], start=3))
    assert await _canaries(store) == []
    assert await store.mention("bluesky", "c") is not None
    kept = await store.keep("store", placed([_secret_post("late", 2)], start=4))
    assert kept.inserted == {"bluesky-main": 1}
    assert await _canaries(store) == []


async def test_a_quote_stored_before_its_mention_is_erased_with_it(store: Store) -> None:
    """[alerts] may be read before [scored]; the author's deletion is known, whose post it is only later."""
    await store.keep("store", placed([withdrawal(f"{CANARY} id", 2, Action.DELETE_AUTHOR)]))
    await store.keep_alerts("store", placed([_quoting()]))
    assert await _canaries(store) == ["alert_events"]
    await store.keep("store", placed([_secret_post()], start=1))
    assert await _canaries(store) == []


async def test_deletions_of_a_rehearsal_stay_in_it_and_live_ones_reach_everywhere(store: Store) -> None:
    await store.keep("store", placed([post("a"), post("a", realm="rehearsal"), post("b"), post("b", realm="replay")]))
    await store.keep("store", placed([withdrawal("a", 9, realm="rehearsal"), withdrawal("b", 9)], start=4))
    assert await store.mention("bluesky", "a") is not None
    assert await store.mention("bluesky", "a", "rehearsal") is None
    assert await store.mention("bluesky", "b") is None
    assert await store.mention("bluesky", "b", "replay") is None


async def test_what_is_published_again_later_lives(store: Store) -> None:
    await store.keep("store", placed([post("a"), withdrawal("a", 5), post("a", 5), post("a", 3)]))
    assert await store.mention("bluesky", "a") is None
    await store.keep("store", placed([post("a", 6)], start=4))
    found = await store.mention("bluesky", "a")
    assert found is not None
    assert found.mention.revision == 6


async def test_a_deletion_of_many_is_one_transaction(store: Store) -> None:
    author = Author(id="busy")
    for start in range(0, 1500, 500):
        batch = [post(f"p{at}", author=author, text=CANARY) for at in range(start, start + 500)]
        await store.keep("store", placed(batch, start=start))
    kept = await store.keep("store", placed([withdrawal("busy", 1, Action.DELETE_AUTHOR)], start=1500))
    assert kept.deleted == {"bluesky-main": 1500}
    assert await _canaries(store) == []


async def test_the_file_forgets_too(sqlite_url: str) -> None:
    """secure_delete: after the log is folded in, the bytes are not in SQLite's file."""
    await migrate(sqlite_url)
    store = await Store.open(sqlite_url, lambda: NOON)
    await store.keep("store", placed([_secret_post()]))
    await store.keep("store", placed([withdrawal("a", 1)], start=1))
    async with store._database.engine.connect() as connection:
        await connection.rollback()
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await store.aclose()
    assert CANARY.encode() not in await asyncio.to_thread(Path(str(make_url(sqlite_url).database)).read_bytes)
