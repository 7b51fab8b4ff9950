"""The one place that asks what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251


def monotonic() -> float:
    """Seconds, for durations only."""
    return time.monotonic()


def boottime() -> float:
    """Seconds that go on while the machine sleeps, which is when others wait for us. For the Lease."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
