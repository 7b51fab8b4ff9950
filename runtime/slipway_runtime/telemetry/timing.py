"""The header `Server-Timing`: where the time went, shown by a browser's developer tools. Pure.

Source: https://www.w3.org/TR/server-timing/
"""

from __future__ import annotations

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


def group_timing(decode_seconds: float, compute_seconds: float, batch_rows: int) -> bytes:
    """The same of requests that share the rest, as a format of `%` with places for `queue` and `total`."""
    stages = b"decode;dur=%.3f, queue;dur=%%.3f, compute;dur=%.3f, total;dur=%%.3f"
    return (stages + b', batch;desc="%d"') % (decode_seconds * 1e3, compute_seconds * 1e3, batch_rows)
