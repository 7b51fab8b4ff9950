"""Log lines on standard output: JSON for machines, text for a terminal."""

from __future__ import annotations

import json
import logging
import time
from typing import Final, Literal

from slipway_runtime.logwriter import LineWriter

LogFormat = Literal["json", "text"]

PATIENCE_SECONDS: Final = 1.0
"""Of a process that a model may end at any moment."""
_RECORD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One object a line. What a call passes in `extra` becomes a key of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _RECORD_ATTRIBUTES})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Time, level and message; for people."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{utc(record.created)[11:19]} {record.levelname:<7} {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure_logging(form: LogFormat, level: str = "INFO", *, patience_seconds: float = 0.0) -> None:
    """`patience_seconds`: see `LineWriter`."""
    handler = LineWriter(patience_seconds=patience_seconds)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def current_format() -> LogFormat:
    """What `configure_logging` was given; text where nobody called it."""
    return "json" if any(isinstance(handler.formatter, JsonFormatter) for handler in logging.root.handlers) else "text"


def utc(seconds: float) -> str:
    """RFC 3339 with milliseconds."""
    whole, fraction = divmod(seconds, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int(fraction * 1000):03d}Z"
