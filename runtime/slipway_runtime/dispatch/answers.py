"""What a client is told when its request has no outputs. Pure, but for the jitter of Retry-After."""

from __future__ import annotations

import math
import random
from typing import Final

from slipway_runtime.batching.work import Reason, Refusal
from slipway_runtime.models.model import PredictionError, RowError
from slipway_runtime.protocol.errors import ApiError

_JITTER: Final = 0.2
"""Clients that were refused together should not come back together."""
_RESTART_SECONDS: Final = 1
_FLIGHT_SECONDS: Final = 1
"""One of those in flight is answered by then, in all likelihood."""


def retry_after(seconds: float) -> dict[str, str]:
    spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
    return {"Retry-After": str(max(1, math.ceil(seconds * spread)))}


def refused(refusal: Refusal) -> ApiError:
    headers = retry_after(refusal.retry_after_seconds)
    if refusal.reason is Reason.QUEUE_FULL:
        return ApiError(429, "queue_full", "The queue is full. Try again later.", headers=headers)
    late = "The answer would come too late for the latency target or the request's own timeout. Try again later."
    return ApiError(429, "predicted_late", late, headers=headers)


def too_many(limit: int) -> ApiError:
    return ApiError(
        429,
        "concurrency_limit",
        f"As many predictions are in flight as one pod may hold: {limit}, by spec.traffic.maxConcurrency"
        " (maxConcurrency in the runtime's configuration). Try again later, raise it, or run more pods.",
        headers=retry_after(_FLIGHT_SECONDS),
    )


def deadline(seconds: float, *, running: bool) -> ApiError:
    where, doing = ("running", "being computed") if running else ("in_queue", "waiting")
    return ApiError(
        504,
        f"deadline_{where}",
        f"The request was not answered within {_decimal(seconds)} seconds; it was {doing}. The time is the smaller"
        " of the client's own (X-Request-Timeout-Ms, the parameter timeout, a gRPC deadline) and"
        " spec.traffic.requestTimeoutSeconds.",
    )


def _decimal(seconds: float) -> str:
    """As people write it: down to microseconds, without an exponent."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def no_workers() -> ApiError:
    return ApiError(
        503,
        "no_workers",
        "Nothing is left that could run the model; the runtime is about to be restarted.",
        headers=retry_after(10 * _RESTART_SECONDS),
    )


def draining() -> ApiError:
    return ApiError(
        503, "draining", "The runtime was told to end before it answered.", headers=retry_after(_RESTART_SECONDS)
    )


def worker_restarted() -> ApiError:
    return ApiError(
        503,
        "worker_restarted",
        "The process that runs the model ended and was not back in time for this request. Try again.",
        headers=retry_after(_RESTART_SECONDS),
    )


def worker_crashed(error: PredictionError) -> ApiError:
    return ApiError(
        500, "worker_crashed", f"The process that runs the model ended twice while it computed this request: {error}"
    )


def worker_hung(error: PredictionError) -> ApiError:
    return ApiError(504, "worker_hung", f"The model did not come back from this request, twice: {error}")


def failed(error: PredictionError) -> ApiError:
    """For the one request that made its batch fail."""
    if error.code == "model_error":
        return ApiError(error.status, error.code, f"The model failed on this request: {error}")
    if error.code == "device_out_of_memory":
        return ApiError(error.status, error.code, f"The memory does not suffice for this request: {error}")
    return ApiError(error.status, error.code, str(error))


def row_failed(error: RowError) -> ApiError:
    return ApiError(error.status, error.code, error.message)


def wrong_outputs(what: str) -> ApiError:
    return ApiError(500, "output_mismatch", f"The model's answer does not fit its signature: {what}.")


def internal() -> ApiError:
    return ApiError(500, "internal", "The runtime failed on this request; its log has the cause.")
