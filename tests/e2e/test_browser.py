"""The wall in a real browser: each mention in its own direction, hostile text as text, and a server that goes and comes
back without a reload of the page."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, Route, WebSocketRoute, sync_playwright

from app.api.walls import STATIC
from tests.process import ROOT, Place, WarRoom

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CHROMIUM: Final = Path(os.environ.get("WARROOM_TEST_CHROMIUM", "/usr/bin/chromium"))
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PICTURES: Final = ROOT / "test-results"
SECRET: Final = "a shared secret of enough bytes"
HEBREW: Final = "יש שריפה בבניין של ולמורה, אנשים לכודים"
PERSIAN: Final = "ساختمان ولمورا آتش گرفته، فوری کمک بفرستید"
ENGLISH: Final = "The Velmora building is on fire, send help now"
HOSTILE: Final = "<img src=x onerror='alert(1)'><script>window.hacked=1;alert(2)</script> velmora \u202egnp.exe"
SIDES: Final = """article => {
  const range = document.createRange();
  range.selectNodeContents(article.querySelector('.text'));
  const lines = [...range.getClientRects()].filter(box => box.width > 0);
  const box = article.querySelector('.text').getBoundingClientRect();
  const style = getComputedStyle(article.querySelector('.text'));
  return {
    direction: getComputedStyle(article).direction,
    align: style.textAlign,
    left: Math.min(...lines.map(line => line.left)) - box.left,
    right: box.right - Math.max(...lines.map(line => line.right)),
  };
}"""

NUMBERS: Final = {
    "ולמורה: טיסה LY315 עם Galaxy S24 ב-50%, ועוד $250, ירידה -5%, טל 054 123 4567 בין 10-15 לפי @user_1": (
        *("LY315", "Galaxy S24", "50%", "$250", "-5%", "054 123 4567", "10-15", "@user_1"),
    ),
    "ولمورا: پرواز W5112 ساعت ۱۰:۳۰ تا ۱۴۰۴-۰۵-۱۲ تلفن ۰۲۱-۱۲۳۴۵۶۷۸ نفر ۱۲۳ و iPhone 15 در #abc": (
        *("W5112", "۱۰:۳۰", "۱۴۰۴-۰۵-۱۲", "۰۲۱-۱۲۳۴۵۶۷۸", "۱۲۳", "iPhone 15", "#abc"),
    ),
    "ولمورا: رحلة FZ123 هاتف 050 123 4567 وباء COVID-19 حتى 12/05/2026 بين 10-15 سعر 1,250.50": (
        *("FZ123", "COVID-19", "12/05/2026", "050 123 4567", "15-10", "1,250.50"),
    ),
}
"""Texts, and what a reader must see in them from left to right; a range in Arabic is read from the right."""
GLYPHS: Final = """element => {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const glyphs = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    for (let index = 0; index < node.length; index++) {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + 1);
      const box = range.getBoundingClientRect();
      if (box.width > 0) glyphs.push([Math.round((box.top + box.bottom) / 40), box.left, node.data[index]]);
    }
  return glyphs.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(glyph => glyph[2]).join('');
}"""

SPARE: Final = """element => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const room = element.closest('dd, dt, .sources').getBoundingClientRect();
  return Math.min(room.right, innerWidth) - range.getBoundingClientRect().right;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"misses Chromium: no {CHROMIUM}; install it or set WARROOM_TEST_CHROMIUM")
    if not (STATIC / "index.html").exists():
        pytest.skip("misses the built front end: run `make setup`")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def up(here: Place) -> WarRoom:
    secret = here.folder / "secret"
    secret.write_text(SECRET, encoding="utf-8")
    here.pin_port()
    here.configure(
        "version: 1\n"
        f"sources:\n  - {{id: desk, kind: webhook, secret: 'file:{secret}'}}\n"
        "queries:\n  - {id: velmora, name: Velmora, match: velmora OR ולמורה OR ولمورا}\n"
    )
    process = here.start("up")
    process.address()
    return process


def say(process: WarRoom, *texts: str) -> list[str]:
    """Send mentions, signed, and return the ids that the wall gives them once they are durable."""
    posts = [
        {
            "id": uuid4().hex,
            "text": text,
            "published_at": datetime.now(UTC).isoformat(),
            "author": {"id": "<b>someone</b>", "name": "<b>someone</b>"},
        }
        for text in texts
    ]
    body = json.dumps(posts).encode()
    message, stamp = uuid4().hex, str(int(time.time()))
    signature = hmac.digest(SECRET.encode(), f"{message}.{stamp}.".encode() + body, hashlib.sha256)
    headers = {
        "webhook-id": message,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
    answer = httpx.post(f"{process.address()}/ingest/desk", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return [f"webhook\x1fdesk/{post['id']}" for post in posts]


class Screen:
    """A page on the live wall, with what it should never do."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1920, "height": 1080})
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        self.page.on("dialog", self._dismiss)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{address}/wall/live")

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def card(self, identity: str, within: float = 15.0) -> Locator:
        """Return the card of a mention once it is on the wall."""
        found = self.page.locator(f'[data-mention="{identity}"]')
        found.wait_for(timeout=within * 1000)
        return found

    def is_(self, word: str, within: float) -> float:
        """Wait until the wall says `word` of its freshness; return the seconds."""
        began = time.monotonic()
        self.page.locator(f'[data-freshness="{word}"]').wait_for(timeout=within * 1000)
        return time.monotonic() - began

    def picture(self, name: str) -> None:
        self.page.screenshot(path=str(PICTURES / f"{name}.png"))


def test_each_mention_has_its_own_direction(browser: Browser, up: WarRoom) -> None:
    screen = Screen(browser, up.address())
    hebrew, persian, english = (screen.card(one) for one in say(up, HEBREW, PERSIAN, ENGLISH))
    screen.is_("live", 10.0)
    screen.picture("directions")
    for card, text in ((hebrew, HEBREW), (persian, PERSIAN)):
        assert text in card.inner_text()
        sides = card.evaluate(SIDES)
        assert sides["direction"] == "rtl"
        assert sides["align"] in {"start", "right"}
        assert sides["right"] < 4 < sides["left"], "the line begins at the right edge"
    sides = english.evaluate(SIDES)
    assert sides["direction"] == "ltr"
    assert sides["left"] < 4 < sides["right"]
    assert screen.errors == []
    screen.page.close()


def test_numbers_keep_their_order_in_lines_from_right_to_left(browser: Browser, up: WarRoom) -> None:
    screen = Screen(browser, up.address())
    for identity, seen in zip(say(up, *NUMBERS), NUMBERS.values(), strict=True):
        glyphs = screen.card(identity).locator(".text").evaluate(GLYPHS)
        assert [part for part in seen if part not in glyphs] == [], glyphs
    screen.picture("numbers")
    screen.page.close()


def test_hostile_text_is_text(browser: Browser, up: WarRoom) -> None:
    screen = Screen(browser, up.address())
    (identity,) = say(up, HOSTILE)
    card = screen.card(identity)
    screen.picture("hostile")
    assert "<img src=x onerror='alert(1)'><script>window.hacked=1;alert(2)</script>" in card.inner_text()
    assert "<b>someone</b>" in card.inner_text()
    assert card.locator("img, script, b").count() == 0
    assert screen.page.evaluate("window.hacked === undefined")
    assert screen.dialogs == []
    assert screen.errors == []
    override = card.evaluate(
        "card => [...card.querySelectorAll('.meta')].every(line => getComputedStyle(line).direction === 'ltr')"
    )
    assert override, "a bidi override in the text does not turn what stands beside it"
    screen.page.close()


class Stage:
    """A wall whose server the test plays: the snapshot of a real one, altered, and what it sends after it."""

    def __init__(self, browser: Browser, address: str, width: int = 1920, **changed: object) -> None:
        url = f"{address}/api/wall/live/snapshot"
        while (answer := httpx.get(url)).status_code == 503:  # until the hub has read what is stored
            time.sleep(0.1)
        self.snapshot = answer.json() | changed
        self._sockets: list[WebSocketRoute] = []
        self.page: Page = browser.new_page(viewport={"width": width, "height": 1080})
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.route("**/api/wall/live/snapshot", self._answer)
        self.page.route_web_socket("**/ws**", self._connected)
        self.page.goto(f"{address}/wall/live")
        self.page.locator(".tiles .value").first.wait_for()

    def _answer(self, route: Route) -> None:
        route.fulfill(json=self.snapshot)

    def _connected(self, socket: WebSocketRoute) -> None:
        self._sockets.append(socket)

    def send(self, per_minute: int, **changed: object) -> None:
        """Send a delta, and wait until its rate is on the wall."""
        before = self.snapshot["seq"]
        self.snapshot["seq"] += 1
        figures = self.snapshot["figures"] | {"per_minute": per_minute}
        frame = {"t": "d", "epoch": self.snapshot["epoch"], "from": before, "seq": before + 1, "figures": figures}
        now = int(time.time() * 1000)
        self._sockets[-1].send(json.dumps(frame | {"ts": now, "pulse": now} | changed))
        self.page.locator(".tiles .value", has_text=str(per_minute)).wait_for(timeout=5_000)


def source(identity: str, realm: str) -> dict[str, object]:
    counts = ("received", "matched", "duplicated", "dead", "late", "gaps", "reconnects")
    said = {"id": identity, "kind": "file", "realm": realm, "status": "live", "detail": "", "last": None}
    return {**said, **dict.fromkeys(counts, 0)}


def test_a_source_of_two_realms_does_not_stop_the_wall(browser: Browser, up: WarRoom) -> None:
    stage = Stage(browser, up.address(), sources=[source("demo", "rehearsal")])
    stage.send(101, sources=[source("demo", "rehearsal"), source("demo", "live")])
    stage.send(102)
    assert stage.page.locator('[data-source="demo"]').count() == 2
    assert stage.errors == []
    stage.page.close()


def test_a_part_that_fails_says_so_and_leaves_the_others(browser: Browser, up: WarRoom) -> None:
    stage = Stage(browser, up.address(), sources=[source("demo", "live")])
    stage.send(101, sources=[source("demo", "live") | {"id": None}])
    stage.send(102)
    assert "cannot be shown" in stage.page.get_by_role("alert").inner_text()
    assert stage.page.locator('[data-freshness="live"]').count() == 1
    stage.page.evaluate("setTimeout(() => { throw new Error('nobody caught it') })")
    stage.page.locator('[data-freshness="stale"]').wait_for(timeout=2_000)
    stage.send(103)
    assert stage.page.locator('[data-freshness="stale"]').count() == 1
    assert stage.errors == ["nobody caught it"]
    stage.page.close()


def test_a_narrow_phone_cuts_no_figure_and_no_status(browser: Browser, up: WarRoom) -> None:
    wide = source("WWWWMMMMWWWWMMMMWWMM", "live") | {"status": "unreachable", "last": 1}
    stage = Stage(browser, up.address(), width=360, sources=[wide])
    stage.send(101, figures=stage.snapshot["figures"] | {"per_minute": 101, "delay_p95": 99_999.0, "urgent": 999_940})
    for part in stage.page.locator(".tiles dd, .tiles dt, footer li > b, footer li > span").all():
        spare = part.evaluate(SPARE)
        assert spare >= -1, f"{part.inner_text()} is cut by {-spare} px"
    stage.page.close()


def test_the_page_outlives_its_server(here: Place, browser: Browser, up: WarRoom) -> None:
    screen = Screen(browser, up.address())
    before = screen.card(say(up, HEBREW)[0])
    screen.is_("live", 10.0)
    screen.page.evaluate("window.marker = 'the same page'")
    up.kill()
    screen.is_("delayed", 15.0)
    screen.is_("stale", 25.0)
    assert before.is_visible(), "what was known stays on the wall, greyed"
    assert screen.page.locator(".page.stale").count() == 1
    assert "STALE" in screen.page.title()
    screen.picture("stale")
    again = here.start("up")
    assert again.address() == up.address()
    took = screen.is_("live", 30.0)
    after = screen.card(say(again, PERSIAN)[0])
    assert PERSIAN in after.inner_text()
    assert screen.page.evaluate("window.marker") == "the same page"
    assert "STALE" not in screen.page.title()
    assert took < 30.0
    assert screen.errors == []
    screen.picture("recovered")
    screen.page.close()
