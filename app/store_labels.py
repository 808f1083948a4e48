"""The labels that people gave in the review queue, as a file that `warroom model eval` and `model adapt` read.

Owns nothing but that step: one JSON line for each mention whose people agree on a task, with `text`, `lang` and the
labels. Does not own which labels count (`app.store.labels`).
"""

from __future__ import annotations

import asyncio
import json
from typing import BinaryIO, Final

from app.migrations import migrate
from app.opening import NotOpened, expect_database, usual_faults
from app.process import utc_now
from app.settings import Settings
from app.store import TRANSIENT, Store
from nlp.labelled import BadLabels

STORE: Final = "store"
"""What stands for these labels where a file is asked for."""


class StoreAway(RuntimeError):
    """The store can't be reached, so its labels can't be read."""


def write_labels(settings: Settings, sink: BinaryIO) -> int:
    """Write the labelled texts of live mentions to `sink`; return how many. Raise StoreAway.

    A database is never made: BadLabels where there is none, as for a file that is not there.
    """
    try:
        expect_database(settings)
    except NotOpened as error:
        raise BadLabels(str(error)) from error
    return asyncio.run(_write(settings, sink))


async def _write(settings: Settings, sink: BinaryIO) -> int:
    count = 0
    try:
        with usual_faults(settings):
            await migrate(settings.database)
        store = await Store.open(settings.database, utc_now)
        try:
            async for found in store.labelled_texts():
                row = {"text": found.text, "lang": found.lang, **found.labels}
                sink.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                count += 1
        finally:
            await store.aclose()
    except NotOpened as error:
        raise StoreAway(str(error)) from error
    except TRANSIENT as error:
        raise StoreAway(f"the store can't be reached: {error}") from error
    sink.flush()
    return count
