"""What gateway and worker say to each other: messages of JSON over a socket that keeps them apart.

Tensors are never in a message, only their places in regions, whose descriptors travel beside it.
"""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from slipway_runtime.engines.worker.region import Place

SMALL_BYTES: Final = 32 * 1024
"""Longer messages travel as a file in memory, because the socket's buffer may not take them."""
LIMIT_BYTES: Final = 64 * 1024 * 1024
_LARGE: Final = b"\xff"
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(8 * array("i").itemsize)


class BrokenMessageError(Exception):
    """The other side sent what is no message."""


@dataclass(frozen=True, slots=True)
class Load:
    """To the worker, first: what to load."""

    path: str
    config: Mapping[str, Any]
    """A `RuntimeConfig`."""
    profile: bool
    """Whether to tune and measure; one worker does it for all."""
    variant: str | None = None
    """What the tuner of that worker chose."""


@dataclass(frozen=True, slots=True)
class Progress:
    """From the worker: its start has come to this `Stage`."""

    stage: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """From the worker: it can run batches."""

    model: Mapping[str, Any] | None
    """What it measured; see `facts`. None where it was not to measure."""


@dataclass(frozen=True, slots=True)
class Failed:
    """From the worker, last: it could not start. The fields of a `StartupError`."""

    stage: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Run:
    """To the worker: one batch. For each of `regions` (identity and bytes) a descriptor comes with it."""

    sequence: int
    inputs: int
    """The region that holds them."""
    places: Sequence[Place]
    outputs: int
    """The region to write them into."""
    limit_seconds: float
    regions: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """From the worker: the outputs take more bytes than their region has. Answered by `Room`."""

    sequence: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Room:
    """To the worker: another region for the outputs."""

    outputs: int
    regions: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """From the worker: the outputs are written, or the model failed on this batch, or both (see `faults`)."""

    sequence: int
    compute_seconds: float
    places: Sequence[Place] = ()
    fault: Mapping[str, Any] | None = None
    cuda: Sequence[int] | None = None
    """A `CudaMemory`, now and then."""
    kept: bool = False
    """The model holds on to its inputs, so their region must not be written again."""


@dataclass(frozen=True, slots=True)
class Forget:
    """To the worker: regions that are no longer used."""

    regions: Sequence[int]


@dataclass(frozen=True, slots=True)
class Close:
    """To the worker, last: run the model's teardown and end."""


Message = Load | Progress | Loaded | Failed | Run | Need | Room | Done | Forget | Close
_KINDS: Final[tuple[type[Message], ...]] = (
    Load,
    Progress,
    Loaded,
    Failed,
    Run,
    Need,
    Room,
    Done,
    Forget,
    Close,
)
_NUMBERS: Final = {kind: bytes([number]) for number, kind in enumerate(_KINDS)}


def encode(message: Message) -> bytes:
    """One byte for the kind, then its fields as JSON."""
    return _NUMBERS[type(message)] + orjson.dumps(message, default=tuple)


def decode(content: bytes) -> Message:
    """Checks the kind and the fields' names; what the values must be is known where they are used. Raises
    `BrokenMessageError`."""
    try:
        fields = orjson.loads(content[1:])
        places = fields.get("places")
        if places is not None:
            fields["places"] = [Place(*place) for place in places]
        return _KINDS[content[0]](**fields)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise BrokenMessageError(f"{len(content)} bytes that are no message: {error}") from None


class Channel:
    """One end of the socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """The descriptors stay the caller's. Raises `OSError`."""
        content = encode(message)
        if len(content) > SMALL_BYTES:
            document = _write_document(content)
            try:
                socket.send_fds(self._socket, [_LARGE], [document, *descriptors])
            finally:
                os.close(document)
        elif descriptors:
            socket.send_fds(self._socket, [content], list(descriptors))
        else:
            self._socket.send(content)

    def receive(self) -> tuple[Message, list[int]] | None:
        """A message and its descriptors, which are the caller's from now on; None at the end. Raises `OSError`
        (`BlockingIOError` when nothing is there) and `BrokenMessageError`."""
        content, ancillary, flags, _ = self._socket.recvmsg(SMALL_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        descriptors = _descriptors(ancillary) if ancillary else []
        if not content:
            return None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise BrokenMessageError("a message that was cut off")
            if content[:1] == _LARGE and descriptors:
                content = _read_document(descriptors.pop(0))
            return decode(content), descriptors
        except BrokenMessageError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def close(self) -> None:
        self._socket.close()


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    numbers = array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return list(numbers)


def _write_document(content: bytes) -> int:
    descriptor = os.memfd_create("slipway-message", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return descriptor


def _read_document(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes > LIMIT_BYTES:
            raise BrokenMessageError(f"a message of {size_bytes} bytes, expected at most {LIMIT_BYTES}")
        file.seek(0)
        return file.read()
