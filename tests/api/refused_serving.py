"""What is refused of batches, targets and the way a model is run."""

from __future__ import annotations

from typing import Final

from tests.api.manifests import Refused, batching, manifest, sla

SERVING: Final = (
    # batching
    Refused(
        "a batch of no rows",
        manifest(batching(maxBatchSize=0)),
        "spec.batching.maxBatchSize",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a mode of the model server's",
        manifest(batching(mode="Dynamic")),
        "spec.batching.mode",
        ('"Dynamic"', '"Auto", "Static", "Disabled"'),
    ),
    Refused(
        "a batch size where there are no batches",
        manifest(batching(mode="Disabled", maxBatchSize=8)),
        "spec.batching.maxBatchSize",
        ("mode is Disabled", "Remove it", "Auto or Static"),
    ),
    Refused(
        "a wait where there are no batches",
        manifest(batching(mode="Disabled", maxQueueDelayMilliseconds=5)),
        "spec.batching.maxQueueDelayMilliseconds",
        ("mode is Disabled", "Remove it"),
    ),
    Refused(
        "sizes where there are no batches",
        manifest(batching(mode="Disabled", allowedBatchSizes=[1, 2])),
        "spec.batching.allowedBatchSizes",
        ("mode is Disabled", "Remove it"),
    ),
    Refused(
        "static batches of no size",
        manifest(batching(mode="Static", maxQueueDelayMilliseconds=5)),
        "spec.batching.maxBatchSize",
        ("number of rows where mode is Static", "Set spec.batching.maxBatchSize"),
    ),
    Refused(
        "efficiency with static batches",
        manifest(batching(mode="Static", maxBatchSize=8, objective="Efficiency", maxQueueDelayMilliseconds=5)),
        "spec.batching.objective",
        ("'Efficiency'", "expected Latency where mode is Static", "set mode to Auto"),
    ),
    Refused(
        "efficiency without a limit to the wait",
        manifest(batching(objective="Efficiency")),
        "spec.batching.objective",
        ("'Efficiency'", "how long it may wait", "spec.sla"),
    ),
    Refused(
        "a size twice",
        manifest(batching(allowedBatchSizes=[4, 8, 4])),
        "spec.batching.allowedBatchSizes[2]",
        ("Duplicate value: 4",),
    ),
    Refused(
        "a size above the largest batch",
        manifest(batching(maxBatchSize=8, allowedBatchSizes=[4, 16])),
        "spec.batching.allowedBatchSizes",
        ("lists 16", "at most maxBatchSize", "raise maxBatchSize"),
    ),
    Refused(
        "a queue without a place",
        manifest(batching(maxQueueLength=0)),
        "spec.batching.maxQueueLength",
        ("0", "greater than or equal to 1"),
    ),
    # sla
    Refused(
        "no target",
        manifest(sla(onOverload="Queue")),
        "spec.sla",
        ("got no target", "p50Milliseconds, p95Milliseconds, p99Milliseconds", "Set one"),
    ),
    Refused(
        "a target of zero",
        manifest(sla(p95Milliseconds=0)),
        "spec.sla.p95Milliseconds",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a middle above the tail",
        manifest(sla(p50Milliseconds=200, p95Milliseconds=100)),
        "spec.sla.p50Milliseconds",
        ("got 200", "at most p95Milliseconds", "Lower it"),
    ),
    Refused(
        "a 95th percentile above the 99th",
        manifest(sla(p95Milliseconds=200, p99Milliseconds=100)),
        "spec.sla.p95Milliseconds",
        ("got 200", "at most p99Milliseconds", "raise p99Milliseconds"),
    ),
    Refused(
        "a middle above the far tail",
        manifest(sla(p50Milliseconds=200, p99Milliseconds=100)),
        "spec.sla.p50Milliseconds",
        ("got 200", "at most p99Milliseconds"),
    ),
    Refused(
        "a target beyond the default timeout",
        manifest(sla(p99Milliseconds=30_001)),
        "spec.sla.p99Milliseconds",
        ("got 30001", "1000 times spec.traffic.requestTimeoutSeconds", "raise the timeout"),
    ),
    Refused(
        "a target beyond the given timeout",
        manifest(sla(p95Milliseconds=6000) | {"traffic": {"requestTimeoutSeconds": 5}}),
        "spec.sla.p95Milliseconds",
        ("got 6000", "after which a request is answered 504", "Lower the target"),
    ),
    Refused(
        "a middle beyond the given timeout",
        manifest(sla(p50Milliseconds=1001) | {"traffic": {"requestTimeoutSeconds": 1}}),
        "spec.sla.p50Milliseconds",
        ("got 1001", "spec.traffic.requestTimeoutSeconds"),
    ),
    Refused(
        "a wait as long as the target",
        manifest(sla(p50Milliseconds=20, p99Milliseconds=100) | batching(maxQueueDelayMilliseconds=20)),
        "spec.batching.maxQueueDelayMilliseconds",
        ("got 20", "less than each target of spec.sla", "Lower it"),
    ),
    Refused(
        "an answer to overload that does not exist",
        manifest(sla(p99Milliseconds=100, onOverload="Drop")),
        "spec.sla.onOverload",
        ('"Drop"', '"Reject", "Queue"'),
    ),
    # execution, tuning
    Refused(
        "workers where there are none",
        manifest({"runtime": {"execution": {"isolation": "InProcess", "workers": 2}}}),
        "spec.runtime.execution.workers",
        ("got 2", "isolation is InProcess", "set isolation to Worker"),
    ),
    Refused(
        "no thread",
        manifest({"runtime": {"execution": {"threads": 0}}}),
        "spec.runtime.execution.threads",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a precision of torch",
        manifest({"runtime": {"tuning": {"precision": "bfloat16"}}}),
        "spec.runtime.tuning.precision",
        ('"bfloat16"', '"Original", "BF16"'),
    ),
    Refused(
        "a precision without tuning",
        manifest({"runtime": {"tuning": {"mode": "Disabled", "precision": "BF16"}}}),
        "spec.runtime.tuning.precision",
        ("'BF16'", "mode is Disabled", "set mode to Auto"),
    ),
)
