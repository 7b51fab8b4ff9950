"""What became of the requests since the start, as Triton's statistics extension tells it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from slipway_runtime.protocol.v2.metadata import MODEL_VERSION

_NANOSECONDS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Spent:
    """How often, and how long all of it took together."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Since the start of the process, all protocols together."""

    success: Spent = Spent()
    """Predictions that were answered with 200; from the last byte of the request to its answer."""
    fail: Spent = Spent()
    """Predictions that were answered otherwise, those of a wrong request included."""
    queue: Spent = Spent()
    """Of the successful ones, as are the next three: waiting for their batch to begin."""
    compute_input: Spent = Spent()
    """Bodies decoded, rows written into the batch."""
    compute_infer: Spent = Spent()
    """The model itself."""
    compute_output: Spent = Spent()
    """Answers encoded."""
    rows: int = 0
    """Rows of the successful predictions."""
    batches: Mapping[int, Spent] = field(default_factory=dict)
    """Rows of a batch to the batches of that size that ran, and the model's time for them."""
    last_inference_milliseconds: int = 0
    """Unix time of the last prediction's arrival; 0 for none yet."""


class Statistics(Protocol):
    """Asked rarely, from any thread."""

    def model_statistics(self) -> ModelStatistics: ...


def statistics_answer(model: str, known: ModelStatistics) -> dict[str, Any]:
    """The body of `GET /v2/models/{model}/stats`."""
    return {
        "model_stats": [
            {
                "name": model,
                "version": MODEL_VERSION,
                "last_inference": known.last_inference_milliseconds,
                "inference_count": known.rows,
                "execution_count": sum(spent.count for spent in known.batches.values()),
                "inference_stats": {
                    "success": _duration(known.success),
                    "fail": _duration(known.fail),
                    "queue": _duration(known.queue),
                    "compute_input": _duration(known.compute_input),
                    "compute_infer": _duration(known.compute_infer),
                    "compute_output": _duration(known.compute_output),
                    "cache_hit": _duration(Spent()),
                    "cache_miss": _duration(Spent()),
                },
                "response_stats": {},
                "batch_stats": [
                    {
                        "batch_size": rows,
                        "compute_input": _duration(Spent(spent.count)),
                        "compute_infer": _duration(spent),
                        "compute_output": _duration(Spent(spent.count)),
                    }
                    for rows, spent in sorted(known.batches.items())
                ],
                "memory_usage": [],
            }
        ]
    }


def _duration(spent: Spent) -> dict[str, int]:
    return {"count": spent.count, "ns": round(spent.seconds * _NANOSECONDS)}
