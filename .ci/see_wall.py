"""Start `make run` as a new user would, look at the wall in a headless browser until scored mentions are on it, stop.

Exit code 0 only if mentions with their scores were seen, the rehearsal was marked, and the stop was clean.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("WARROOM_TEST_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
SEEN_WITHIN = 180.0
STOPPED_WITHIN = 30.0


def main() -> int:
    """Run the check; return the exit code."""
    with tempfile.TemporaryDirectory() as data:
        environment = {**os.environ, "WARROOM_DATA": data, "WARROOM_PORT": "0"}
        process = subprocess.Popen(
            ["make", "run"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            begun = time.monotonic()
            address = wait_for_address(process)
            print(f"open after {time.monotonic() - begun:.1f} s")
            look(address, Path("test-results"))
            print(f"scored mentions after {time.monotonic() - begun:.1f} s")
            return stop(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_address(process: subprocess.Popen[str]) -> str:
    """Return the address that the product prints."""
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="")
        if found := re.search(r"http://\S+", line):
            return found.group()
    raise SystemExit("make run ended without an address")


def look(address: str, folder: Path) -> None:
    """Wait until the wall shows mentions with their scores, marked as rehearsal; keep a picture."""
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.goto(address)
        try:
            page.wait_for_selector("[data-mention][data-sentiment]", timeout=SEEN_WITHIN * 1000)
            page.get_by_text("REHEARSAL").first.wait_for(timeout=10_000)
        finally:
            page.screenshot(path=str(folder / "wall.png"))
            browser.close()


def stop(process: subprocess.Popen[str]) -> int:
    """Stop as Ctrl-C does; the product must end by itself, with code 0 or make's word for an interrupt."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        print(f"still running {STOPPED_WITHIN} s after Ctrl-C")
        return 1
    rest = process.stdout.read() if process.stdout else ""
    print(rest, end="")
    return 0 if "Traceback" not in rest else 1


if __name__ == "__main__":
    sys.exit(main())
