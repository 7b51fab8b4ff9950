"""Models that the codecs' tests speak for, and what their requests look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.errors import ApiError

T = TypeVar("T")


def signature(inputs: dict[str, tuple[str, list[int]]], outputs: dict[str, tuple[str, list[int]]]) -> Signature:
    return Signature(_specs(inputs), _specs(outputs))


def _specs(tensors: dict[str, tuple[str, list[int]]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, datatype=Datatype(datatype), shape=shape) for name, (datatype, shape) in tensors.items()
    )


ONE = signature({"x": ("FP32", [-1, 2])}, {"y": ("FP32", [-1, 3])})
TWO = signature({"x": ("FP32", [-1, 2]), "n": ("INT8", [-1])}, {"y": ("FP32", [-1]), "z": ("INT64", [-1, 2])})
TEXT = signature({"s": ("BYTES", [-1])}, {"t": ("BYTES", [-1])})
IMAGE = signature({"image": ("FP32", [-1, 3, 4, 5])}, {"y": ("FP32", [-1, 2])})


def outcome(decode: Callable[[], T]) -> T | ApiError:
    """What is decoded, or the refusal; any other exception is a fault."""
    try:
        return decode()
    except ApiError as error:
        return error
