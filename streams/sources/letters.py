"""Dead letters of sources: what came, from where, and why it can't become a mention.

Owns their one shape. Does not own the checks that lead to them, nor where they go.
"""

from __future__ import annotations

from datetime import datetime

from streams.records import LIVE, DeadLetter, bounded

_REASON: int = 1000


def letter(
    reason: str, payload: bytes | str, *, source_id: str, at: datetime, origin: str = "", realm: str = LIVE
) -> DeadLetter:
    """Return the dead letter of a payload; reason and payload are cut to what a letter holds."""
    size = len(payload) if isinstance(payload, bytes) else len(payload.encode("utf-8", "replace"))
    return DeadLetter(
        stage="source",
        reason=bounded(reason, 4 * _REASON)[:_REASON],
        source_id=source_id,
        origin=bounded(origin, 4096)[:2048],
        realm=realm,
        payload=bounded(payload),
        payload_bytes=size,
        at=at,
    )


def sound(one: DeadLetter) -> DeadLetter:
    """Return a letter that can be encoded, whoever wrote it: a plug-in may have put anything into it."""
    texts = {name: getattr(one, name) for name in ("reason", "source_id", "origin", "payload")}
    made = {name: bounded(text, 4 * len(text) + 4)[: len(text)] for name, text in texts.items()}
    return one if made == texts else one.model_copy(update=made)
