"""Structured logs: one line an event, text on a terminal, JSON elsewhere; foreign loggers included.

Owns format and redaction-by-shape (control characters escaped, long values cut). Does not own what is logged; secrets
and mention texts are never given to a logger.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

_LONGEST: Final = 500


def configure_logs(style: Literal["auto", "text", "json"], level: str) -> None:
    """Send every log of the process to standard error in the given style."""
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _bounded,
    ]
    last = (
        structlog.dev.ConsoleRenderer(colors=False) if text else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared[:2], *shared[3:], structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("warroom", "app", "streams", "nlp", "alerts"):
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # its warnings repeat at each retry; ours say it once


def _bounded(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str) and (len(value) > _LONGEST or not value.isprintable()) and key != "exception":
            event[key] = (
                value[:_LONGEST].encode("unicode_escape").decode() if not value.isprintable() else value[:_LONGEST]
            )
    return event
