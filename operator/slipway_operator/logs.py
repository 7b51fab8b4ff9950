"""Log records as one JSON object per line, or as text for a terminal."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from slipway_operator.records import ModelRecord
from slipway_operator.redaction import redacted
from slipway_operator.resources import Key

_FIELDS: Final = ("namespace", "name", "uid", "generation")
"""Of the object that a record is about; given as `extra`, prefixed so that no field of a record is hidden."""

_QUIET: Final = {
    "kopf.objects": logging.WARNING,  # else one line for each event of each handler
    "kopf": logging.INFO,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
}


def about(model: ModelRecord | Key) -> dict[str, object]:
    """The `extra` of a record about one ModelDeployment; of one that is gone only the key is known."""
    if isinstance(model, Key):
        return {"object_namespace": model.namespace, "object_name": model.name}
    return about(model.key) | {"object_uid": model.uid, "object_generation": model.generation}


class JsonFormatter(logging.Formatter):
    """Fields: ts, level, logger, msg, the object's namespace, name, uid and generation, and exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "msg": redacted(record.getMessage()),
        }
        for name in _FIELDS:
            if (value := getattr(record, f"object_{name}", None)) is not None:
                line[name] = value
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """One line for a person; the object stands before the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(object)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        namespace = getattr(record, "object_namespace", None)
        record.object = f"{namespace}/{getattr(record, 'object_name', '')}: " if namespace else ""
        return redacted(super().format(record))


def configure(level: str, log_format: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level)))
