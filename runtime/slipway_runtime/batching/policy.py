"""What the scheduler is told once, at start. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway_runtime.contract import BatchingConfig, BatchingMode, Objective, OnOverload, SLAConfig

OVERHEAD_SECONDS: Final = 0.002
"""Taken off every target at least, for what follows a batch: serialising, sending."""
_OVERHEAD_SHARE: Final = 0.5
"""Of a target so short that the overhead would eat it."""


@dataclass(frozen=True, slots=True)
class LatencyTarget:
    seconds: float
    """From the moment a request is offered to the moment its last row is computed."""
    quantile: float = 0.99
    on_overload: OnOverload = OnOverload.REJECT
    reserved_seconds: float = 0.0
    """Of the user's target, kept already for what follows a batch."""

    def after(self, overhead_seconds: float) -> float:
        """`seconds` where that much is needed after a batch: never more than was there, nor less than half of the
        user's target."""
        whole = self.seconds + self.reserved_seconds
        return max(whole - max(overhead_seconds, self.reserved_seconds), min(self.seconds, whole * _OVERHEAD_SHARE))


@dataclass(frozen=True, slots=True)
class BatchingPolicy:
    max_batch_size: int
    """Rows of one batch; in mode Auto, until larger ones were seen to pay."""
    ceiling: int = 0
    """What that may grow to while serving; not above it: it never does."""
    mode: BatchingMode = BatchingMode.AUTO
    objective: Objective = Objective.LATENCY
    max_queue_delay_seconds: float | None = None
    """Static: the window. Auto: the most that is waited on purpose; None is no such wait under Latency and a wait up
    to the latest start under Efficiency."""
    max_queue_length: int | None = None
    """Requests. None: as many rows as can still be answered in time."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """Ascending; a batch is padded to the next of them. Empty: every size."""
    target: LatencyTarget | None = None
    timeout_seconds: float = 30.0
    """The deadline of a request that brings none of its own."""
    executors: int = 1
    """Batches that run at the same time."""

    @property
    def quantile(self) -> float:
        return self.target.quantile if self.target else 0.99

    @property
    def sheds_at_target(self) -> bool:
        """Whether a request that would miss the target is refused rather than answered late."""
        return self.target is not None and self.target.on_overload is OnOverload.REJECT


def latency_target(sla: SLAConfig) -> LatencyTarget | None:
    """The tighter of p95 and p99 decides. A target for p50 alone refuses nothing, for half may be later."""
    p50, p95, p99 = sla.p50_milliseconds, sla.p95_milliseconds, sla.p99_milliseconds
    on_overload = sla.on_overload
    if p99 is not None and (p95 is None or p99 <= p95):
        milliseconds, quantile = p99, 0.99
    elif p95 is not None:
        milliseconds, quantile = p95, 0.95
    elif p50 is not None:
        milliseconds, quantile, on_overload = p50, 0.5, OnOverload.QUEUE
    else:
        return None
    whole = milliseconds / 1000
    reserved = min(OVERHEAD_SECONDS, whole * _OVERHEAD_SHARE)
    return LatencyTarget(whole - reserved, quantile, on_overload, reserved)


def make_policy(
    batching: BatchingConfig,
    sla: SLAConfig,
    timeout_seconds: float,
    max_batch_size: int,
    executors: int = 1,
    ceiling: int = 0,
) -> BatchingPolicy:
    """`max_batch_size` is what the warm-up found, which is never above the configured one; nor is `ceiling`."""
    delay = batching.max_queue_delay_milliseconds
    return BatchingPolicy(
        max_batch_size=max_batch_size,
        ceiling=ceiling,
        mode=batching.mode,
        objective=batching.objective,
        max_queue_delay_seconds=None if delay is None else delay / 1000,
        max_queue_length=batching.max_queue_length,
        allowed_batch_sizes=tuple(sorted(batching.allowed_batch_sizes)),
        target=latency_target(sla),
        timeout_seconds=timeout_seconds,
        executors=executors,
    )
