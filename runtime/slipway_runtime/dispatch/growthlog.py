"""Tells of the batch sizes that were tried while serving: a line of the log and a count for each."""

from __future__ import annotations

import logging

from slipway_runtime.batching.growth import Step
from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.dispatch.buckets import bucket_name
from slipway_runtime.dispatch.counts import DispatchCounts, Growth

log = logging.getLogger(__name__)


def note_steps(scheduler: Scheduler, counts: DispatchCounts) -> None:
    """Of those that were decided on since the last call."""
    for bucket, step in scheduler.take_steps():
        counts.growth[Growth.KEPT if step.kept else Growth.REFUSED] += 1
        log.info(_describe(step), extra={"bucket": bucket_name(bucket)})


def _describe(step: Step) -> str:
    if step.gain is None:
        return f"Batches of {step.rows} rows could not be run, so {step.rows_before} stay the largest for good"
    percent = f"{100 * step.gain:+.0f} % rows per second"
    if step.kept:
        return f"Batches grow from {step.rows_before} to {step.rows} rows: {percent}"
    return f"Batches of {step.rows} rows do not pay ({percent}), so {step.rows_before} stay the largest"
