"""What the scheduler is told once, at start. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    AUTO = "Auto"
    STATIC = "Static"
    DISABLED = "Disabled"


class Objective(StrEnum):
    LATENCY = "Latency"
    EFFICIENCY = "Efficiency"


class OnOverload(StrEnum):
    REJECT = "Reject"
    QUEUE = "Queue"


@dataclass(frozen=True, slots=True)
class LatencyTarget:
    seconds: float
    """From the moment a request is offered to the moment its last row is computed."""
    quantile: float = 0.99
    on_overload: OnOverload = OnOverload.REJECT


@dataclass(frozen=True, slots=True)
class BatchingPolicy:
    max_batch_size: int
    """Rows of one batch."""
    mode: Mode = Mode.AUTO
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
    def planning_seconds(self) -> float:
        """The span that batch sizes and queue lengths are planned for."""
        return min(self.target.seconds, self.timeout_seconds) if self.target else self.timeout_seconds

    @property
    def quantile(self) -> float:
        return self.target.quantile if self.target else 0.99

    @property
    def sheds_at_target(self) -> bool:
        """Whether a request that would miss the target is refused rather than answered late."""
        return self.target is not None and self.target.on_overload is OnOverload.REJECT
