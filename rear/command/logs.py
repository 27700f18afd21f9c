"""Structured logs of a service or a command, on stderr."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

import structlog

LEVEL_VARIABLE: Final = "REAR_LOG_LEVEL"


def configure(log_format: str, default_level: str) -> None:
    """Logs as `text`, as `json` lines, or `auto`: text on a terminal. $REAR_LOG_LEVEL changes the level."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    wanted = os.environ.get(LEVEL_VARIABLE, default_level).upper()
    level = logging.getLevelNamesMapping().get(wanted, logging.INFO)
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if text:
        processors.append(
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        )
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
