"""ConsoleNotifier: one structured line in the program's own log for each alert event.

Owns the line's fields. Does not own where logs go. It can't fail, so it is the receiver that always works.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final, Literal

import structlog

from alerts.notifiers import Attempt, RealmName, ReceiverSettings, Sent
from alerts.notifiers.wording import headline, plain
from streams.records import LIVE, REHEARSAL, AlertEvent

_SHOWN: Final = 3
_logger = structlog.get_logger(__name__)


class ConsoleReceiver(ReceiverSettings):
    """A receiver of kind console; it shows rehearsals too."""

    kind: Literal["console"] = "console"
    realms: tuple[RealmName, ...] = (LIVE, REHEARSAL)


class ConsoleNotifier:
    """See `alerts.notifiers.Notifier`."""

    settings_model: ClassVar[type[ReceiverSettings]] = ConsoleReceiver

    def __init__(self, settings: ReceiverSettings) -> None:
        self._id = settings.id

    async def send(self, event: AlertEvent, key: str, now: datetime) -> Attempt:
        """Write the line."""
        _ = now
        _logger.warning(
            headline(event),
            receiver=self._id,
            key=key,
            alert=event.alert_id,
            realm=event.realm,
            started_at=event.started_at.isoformat(),
            evidence=[plain(one.excerpt, 120) for one in event.evidence[:_SHOWN]],
        )
        return Sent("logged")

    async def aclose(self) -> None:
        """Do nothing."""
