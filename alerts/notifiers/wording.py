"""What an alert says in one line of plain text, the same in every notifier.

Owns the words and the cleaning of untrusted text for places that show text only. Does not own any channel's format.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from streams.records import LIVE, AlertEvent, AlertState

_STATES: Final = {
    AlertState.PENDING: "PENDING",
    AlertState.FIRING: "FIRING",
    AlertState.ACKNOWLEDGED: "ACKNOWLEDGED",
    AlertState.RESOLVED: "RESOLVED",
    AlertState.NO_DATA: "NO DATA",
}
_KEPT: Final = "\u200c\u200d"
"""Joiners that Persian and Arabic spelling needs; every other format character goes."""


def plain(text: str, most: int = 300) -> str:
    """Return text on one line without control, bidi and other invisible characters, at most `most` long."""
    shown = "".join(_character(one) for one in text)
    line = " ".join(shown.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _character(one: str) -> str:
    if one in _KEPT:
        return one
    category = unicodedata.category(one)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "" if category in ("Cf", "Cs", "Co", "Cn") else one


def mark(event: AlertEvent) -> str:
    """Return what has to stand in front of an alert that is not real, such as "[REHEARSAL] "."""
    return "" if event.realm == LIVE else f"[{event.realm.upper()}] "


def headline(event: AlertEvent) -> str:
    """Return one line: mark, state, severity, rule, group, and the measured reason."""
    group = ", ".join(f"{plain(name, 40)} {plain(value, 80)}" for name, value in sorted(event.group.items()))
    where = f" ({group})" if group else ""
    name, reason = plain(event.rule_name, 200), plain(event.reason)
    return f"{mark(event)}{_STATES[event.state]} severity {event.severity}: {name}{where}: {reason}"
