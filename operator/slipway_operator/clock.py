"""The one place that asks what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251


def monotonic() -> float:
    """Seconds, for durations only."""
    return time.monotonic()
