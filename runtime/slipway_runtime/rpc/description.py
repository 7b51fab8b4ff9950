"""The calls that ask about the server and its model: the same answers as over REST, in protobuf."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError

from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.v2.metadata import NO_SETTINGS, NO_SHARED_MEMORY, ONE_MODEL
from slipway_runtime.rpc.messages import messages_of

Answer = Mapping[str, Any]
"""As JSON has it: names in snake_case."""


@dataclass(frozen=True)
class Description:
    """Of one model."""

    server: Callable[[], Answer]
    model: Callable[[], Answer]
    config: Callable[[], Answer]
    statistics: Callable[[], Answer]
    index: Callable[[bool], Sequence[Answer]]
    """Of the repository; True asks for the models that are ready alone."""


OPEN: Final = frozenset({"ServerLive", "ServerReady", "ModelReady"})
"""Health is nobody's secret, and probes have no keys."""


def parse(method: str, message: bytes) -> Any:
    taken, _ = messages_of(method)
    try:
        return taken.FromString(message)
    except DecodeError:
        raise bad_request("invalid_message", f"The message is no {taken.DESCRIPTOR.full_name}.") from None


def render(method: str, answer: Answer) -> bytes:
    _, given = messages_of(method)
    # REST may say more than the protocol has fields for.
    content: bytes = ParseDict(answer, given(), ignore_unknown_fields=True).SerializeToString()
    return content


def refusal(method: str) -> ApiError:
    if "SharedMemory" in method:
        return ApiError(501, "not_supported", NO_SHARED_MEMORY)
    if method.startswith("RepositoryModel"):
        return ApiError(501, "not_supported", ONE_MODEL)
    return ApiError(501, "not_supported", NO_SETTINGS)
