"""The scheduler's state for metrics: read in the loop's thread, asked for from the admin port's."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from time import perf_counter, thread_time
from typing import Final

from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.dispatch.buckets import bucket_name
from slipway_runtime.dispatch.counts import DispatchCounts, Outlook
from slipway_runtime.dispatch.loopcost import LoopCost
from slipway_runtime.dispatch.waits import LeastWait

_PATIENCE_SECONDS: Final = 0.5
"""Of a loop that is busy for longer, what was true last is told."""


class OutlookReader:
    """To be made in the loop's thread and called from another."""

    def __init__(self, scheduler: Scheduler, counts: DispatchCounts) -> None:
        self._scheduler = scheduler
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._cost = LoopCost(perf_counter(), thread_time(), counts.answered_rows)
        self._known = self._look()

    def __call__(self) -> Outlook:
        done: Future[Outlook] = Future()
        with suppress(TimeoutError, RuntimeError):  # RuntimeError: the loop has ended
            self._loop.call_soon_threadsafe(lambda: done.set_result(self._look()))
            self._known = done.result(_PATIENCE_SECONDS)
        return self._known

    def _look(self) -> Outlook:
        now = perf_counter()
        self._cost.look(now, thread_time(), self._counts.answered_rows)
        return look(self._scheduler, self._cost, self._counts.waits, now)


def look(scheduler: Scheduler, cost: LoopCost, waits: LeastWait, now: float) -> Outlook:
    reference = scheduler.reference
    profile, capacity = reference.profile, reference.capacity
    powers = {2**power for power in range(profile.max_batch_size.bit_length())}
    sizes = sorted(powers | {capacity.batch_limit, profile.max_batch_size})
    oldest_seconds = scheduler.oldest_seconds(now)
    least_seconds = waits.least(now)
    return Outlook(
        queued_requests=scheduler.queued_requests,
        queued_rows=scheduler.queued_rows,
        predicted_wait_seconds=scheduler.predicted_wait_seconds(now),
        queue_limit_rows=capacity.queue_rows,
        queue_oldest_seconds=oldest_seconds,
        # Where nothing left, whatever leaves next will have waited at least as long as the oldest does now.
        least_wait_seconds=oldest_seconds if least_seconds is None else least_seconds,
        aftermath_seconds=scheduler.aftermath_seconds,
        sustainable_rows_per_second=cost.bound(capacity.sustainable_rows_per_second),
        target_feasible=capacity.feasible,
        tail_factor=profile.tail_factor,
        margin=profile.margin,
        drifts=profile.drifts,
        batch_limits={bucket_name(bucket): lane.capacity.batch_limit for bucket, lane in scheduler.lanes.items()},
        batch_seconds={size: (profile.median_seconds(size), profile.planned_seconds(size)) for size in sizes},
    )
