"""The header `Server-Timing`: where the time went, shown by a browser's developer tools. Pure.

Source: https://www.w3.org/TR/server-timing/
"""

from __future__ import annotations

from typing import Final

from slipway_runtime.telemetry.record import RequestRecord


def server_timing(record: RequestRecord, now: float) -> bytes:
    """Milliseconds. `now` is `time.perf_counter()`; `total` counts up to it, as the answer is not yet sent."""
    stages = (
        record.decode_seconds * 1e3,
        record.queue_seconds * 1e3,
        record.compute_seconds * 1e3,
        (now - record.started_at) * 1e3,
    )
    # Bytes all the way: every answer carries it, and this takes half of the time of text that is encoded.
    timing = b"decode;dur=%.3f, queue;dur=%.3f, compute;dur=%.3f, total;dur=%.3f" % stages
    return b'%b, batch;desc="%d"' % (timing, record.batch_rows) if record.batch_rows else timing


SHARED_TIMING: Final = b'decode;dur=%b, queue;dur=%.3f, compute;dur=%b, total;dur=%.3f, batch;desc="%b"'
"""The same of requests that were decoded and computed together: those two come as text, once for all."""
