"""The header `Server-Timing`: where the time went, shown by a browser's developer tools. Pure.

Source: https://www.w3.org/TR/server-timing/
"""

from __future__ import annotations

from slipway_runtime.telemetry.record import RequestRecord


def server_timing(record: RequestRecord, now: float) -> bytes:
    """Milliseconds. `now` is `time.perf_counter()`; `total` counts up to it, as the answer is not yet sent."""
    timing = (
        f"decode;dur={record.decode_seconds * 1e3:.3f}, queue;dur={record.queue_seconds * 1e3:.3f},"
        f" compute;dur={record.compute_seconds * 1e3:.3f}, total;dur={(now - record.started_at) * 1e3:.3f}"
    )
    return (f'{timing}, batch;desc="{record.batch_rows}"' if record.batch_rows else timing).encode()
