"""What every inference protocol over HTTP has in common: a body becomes inputs, outputs become a body. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from slipway_runtime.models.datatypes import Array

Headers = Mapping[bytes, bytes]
"""Names in lower case; of a repeated header the last value."""

Buffer = bytes | bytearray | memoryview


@dataclass(slots=True)
class Decoded:
    """A request that fits the model."""

    inputs: Mapping[str, Array]
    """Views of the body where that is possible: the body must outlive them."""
    outputs: tuple[str, ...]
    """Names to answer with, in this order."""
    id: str | None = None
    priority: int = 0
    """The scheduler's sense: the higher goes first, 0 is usual."""
    timeout_seconds: float | None = None
    form: Any = None
    """What the codec must remember to encode the answer in the form that was asked for."""


@dataclass(slots=True)
class Payload:
    """An answer's body, in parts that are written one after another without joining them."""

    content_type: bytes
    parts: list[Buffer]
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(memoryview(part).nbytes for part in self.parts)


class Codec(Protocol):
    @property
    def protocol(self) -> str:
        """The label in metrics and logs: v2, v1, predict, grpc."""

    def takes_long(self, headers: Headers) -> bool:
        """Whether `decode` may take milliseconds without Python's lock, as for images: worth another thread."""

    def decode(self, headers: Headers, body: Buffer) -> Decoded:
        """`body` is not compressed any more. Raises `ApiError` for everything that does not fit."""

    def encode(self, decoded: Decoded, outputs: Mapping[str, Array]) -> Payload:
        """`outputs` are borrowed: the answer's parts may be views of them, and are written or copied before the outputs
        are let go. Raises `ApiError` where the answer cannot be given in the form that was asked for."""
