"""A board filled from the store: the state at the store's own offset, from which the tail goes on.

Owns the translation from `app.store.wall` to a board. Does not own either.
"""

from __future__ import annotations

from datetime import datetime

from app.live.board import Board, Seen, Spans, ms
from app.live.figures import MINUTE
from app.live.items import item_of
from app.store.wall import WallState


def board_of(state: WallState, spans: Spans, now: datetime, wall_now: datetime) -> Board:
    """Return a board that shows `state` at `now`, which on a replay is not `wall_now`, the time of day."""
    board = Board(spans)
    first = ms(state.minutes_from)
    for index, (total, negative) in enumerate(zip(state.totals, state.negatives, strict=True)):
        if total:
            board.minutes.put(first + index * MINUTE, total, negative)
    board.heard_today, board.stored_total, board.day = state.heard_today, state.stored_total, ms(now) // 86_400_000
    for known in reversed(state.known):
        stone = known.revision if known.deleted else -1
        seen = Seen(known.revision, ms(known.at), int(known.negative), known.author, stone)
        board.remember(known.key, seen)
    for scored in state.chosen:
        item = item_of(scored, spans)
        if item is not None:
            board.items[item.id] = item
            board.know(scored.mention, item)
            board.last_mention = max(board.last_mention or 0, item.received)
    for key, urgent in state.urgent.items():
        board.note_urgent(key, ms(urgent.at), urgent.author)
    for event in state.alerts:
        board.alert(event)
    for source in state.sources:
        later = (count for stage, count in source.counters.items() if stage.startswith("dead_"))
        board.dead[source.pulse.source_id] = sum(later)
        board.recall(source.pulse, ms(wall_now))
    board.tick(ms(now))
    return board
