"""How log lines are written, and which: the level may change while the server runs."""

import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from sipresence.config.model import LogConfig

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class LevelFilter:
    """Drops what is below a level. structlog's own filter is for good once a logger has been used."""

    def __init__(self, level: str) -> None:
        self.set(level)

    def set(self, level: str) -> None:
        """From here on drop what is below `level`."""
        self._least = _LEVELS[level]

    def __call__(self, _: WrappedLogger, name: str, event: EventDict) -> EventDict:
        if _LEVELS[name] < self._least:
            raise structlog.DropEvent
        return event


def set_up(config: LogConfig) -> LevelFilter:
    """Write logs to stderr as `config` says; return what holds the level."""
    renderer = (
        structlog.processors.JSONRenderer()
        if config.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    level = LevelFilter(config.level)
    structlog.configure(
        processors=[
            level,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    return level
