"""How requests are computed: batches, latency targets, processes and the load-time tuner."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from slipway_operator.api.schema import ApiModel, Rule, list_set, number, rules
from slipway_runtime.contract import BatchingMode, EngineKind, Objective, OnOverload, Precision

MILLISECONDS_LIMIT: Final = 3_600_000
DELAY_LIMIT_MILLISECONDS: Final = 60_000
_BATCH_SIZE_LIMIT: Final = 65_536
_WORKERS_LIMIT: Final = 64

BatchSize = Annotated[int, Field(ge=1, le=_BATCH_SIZE_LIMIT)]
Milliseconds = Annotated[int, Field(ge=1, le=MILLISECONDS_LIMIT)]

TARGETS: Final = ("p50Milliseconds", "p95Milliseconds", "p99Milliseconds")

_FORMS_NO_BATCHES = "needs a mode that forms batches, and mode is Disabled. Remove it, or set mode to Auto or Static."


def _only_where_batches_are(field: str) -> Rule:
    return Rule(f"self.mode != 'Disabled' || !has(self.{field})", _FORMS_NO_BATCHES, field_path=f".{field}")


class Batching(ApiModel):
    """How requests share a batch. Nothing here is needed: Auto measures the model and keeps `spec.sla`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(_only_where_batches_are(field) for field in ("maxBatchSize", "maxQueueDelayMilliseconds")),
            Rule(
                "self.mode != 'Disabled' || !has(self.allowedBatchSizes) || self.allowedBatchSizes.size() == 0",
                _FORMS_NO_BATCHES,
                field_path=".allowedBatchSizes",
            ),
            Rule(
                "self.mode != 'Static' || has(self.maxBatchSize)",
                "needs a number of rows where mode is Static. Set spec.batching.maxBatchSize, or set mode to Auto,"
                " which finds it.",
                field_path=".maxBatchSize",
                reason="FieldValueRequired",
            ),
            Rule(
                "self.objective != 'Efficiency' || self.mode == 'Auto'",
                "got 'Efficiency', expected Latency where mode is {self.mode}. Remove it, or set mode to Auto.",
                field_path=".objective",
            ),
            Rule(
                "!has(self.maxBatchSize) || !has(self.allowedBatchSizes) ||"
                " self.allowedBatchSizes.all(size, size <= self.maxBatchSize)",
                f"lists {{{number('self.allowedBatchSizes.max()', _BATCH_SIZE_LIMIT)}}}, expected at most"
                " maxBatchSize. Remove it or raise maxBatchSize.",
                field_path=".allowedBatchSizes",
            ),
        )
    )

    mode: BatchingMode = BatchingMode.AUTO
    """Auto: what waits when the model is free is one batch, as large as the latency target allows; a lone request
    never waits. Static: up to `maxBatchSize` rows, or what came within `maxQueueDelayMilliseconds`. Disabled: each
    request by itself."""
    max_batch_size: BatchSize | None = None
    """Most rows of one batch. Found by measuring when unset."""
    max_queue_delay_milliseconds: Annotated[int, Field(ge=0, le=DELAY_LIMIT_MILLISECONDS)] | None = None
    """Most that is waited on purpose for a fuller batch. Auto waits not at all when unset, unless `objective` says
    so; for Static it is the window."""
    max_queue_length: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that may wait; more are answered 429. As many as can be answered in time when unset."""
    allowed_batch_sizes: Annotated[list[BatchSize], Field(max_length=64, json_schema_extra=list_set())] = []
    """Sizes that the model is compiled for; a batch is padded to the next of them. Every size when unset."""
    objective: Objective = Objective.LATENCY
    """Latency: answer as soon as possible. Efficiency: wait for fuller batches as long as the target holds, where
    several models share a device."""


def _ordered(lower: str, higher: str, unless: str = "") -> Rule:
    given = f"has(self.{lower}) && has(self.{higher})" + (f" && !has(self.{unless})" if unless else "")
    return Rule(
        f"!({given}) || self.{lower} <= self.{higher}",
        f"got {{{number(f'self.{lower}', MILLISECONDS_LIMIT)}}}, expected at most {higher}. Lower it, or raise"
        f" {higher}.",
        field_path=f".{lower}",
    )


class Sla(ApiModel):
    """The latency target: what the runtime forms batches for, and refuses requests for that would miss it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                " || ".join(f"has(self.{target})" for target in TARGETS),
                f"got no target, expected at least one of {', '.join(TARGETS)}. Set one, such as p99Milliseconds: 100.",
                reason="FieldValueRequired",
            ),
            _ordered("p50Milliseconds", "p95Milliseconds"),
            _ordered("p95Milliseconds", "p99Milliseconds"),
            _ordered("p50Milliseconds", "p99Milliseconds", unless="p95Milliseconds"),
        )
    )

    p50_milliseconds: Milliseconds | None = None
    """Half of the answers take at most this long, measured in the pod from a request's last byte to its answer. Alone
    it refuses nothing, for the other half may be later."""
    p95_milliseconds: Milliseconds | None = None
    """95 of 100 answers take at most this long."""
    p99_milliseconds: Milliseconds | None = None
    """99 of 100 answers take at most this long."""
    on_overload: OnOverload = OnOverload.REJECT
    """Reject: a request that would miss the target is answered 429 at once, with Retry-After. Queue: it waits, up to
    `spec.batching.maxQueueLength` and its timeout."""


class Execution(ApiModel):
    """Where the model runs inside the pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.isolation != 'InProcess' || !has(self.workers)",
                f"got {{{number('self.workers', _WORKERS_LIMIT)}}}, expected none where isolation is InProcess: there"
                " are no worker processes. Remove it, or set isolation to Worker.",
                field_path=".workers",
            )
        )
    )

    isolation: EngineKind = EngineKind.AUTO
    """Worker: in processes of its own, so that a crash or a hang hurts only the requests in it. InProcess: in the
    server's process, which saves a hand-over that costs more than a very small model's work. Auto chooses, and the
    log says which and why."""
    workers: Annotated[int, Field(ge=1, le=_WORKERS_LIMIT)] | None = None
    """Processes that run the model, each with its own copy in memory. When unset one for each GPU, else as many as CPUs
    and memory allow; a Python handler gets one."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of each process for one operation. The pod's CPUs divided among the workers when unset."""


class Tuning(ApiModel):
    """Whether the runtime looks, while it loads, for the fastest way to run the model on this hardware."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.mode == 'Auto' || self.precision == 'Original'",
                "got '{self.precision}', expected Original where mode is Disabled: the model runs as it is. Remove it,"
                " or set mode to Auto.",
                field_path=".precision",
            )
        )
    )

    mode: Literal["Auto", "Disabled"] = "Auto"
    """Auto: of the ways whose answers agree with the model's own, the fastest is taken; the model's metadata name it.
    Disabled: the model runs as it is."""
    precision: Precision = Precision.ORIGINAL
    """BF16 computes with half the bytes and less precisely. Original keeps the model's own numbers."""
