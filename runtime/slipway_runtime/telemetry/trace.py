"""W3C trace context: the caller's trace goes on here. Pure, but for the chance in new ids.

Source: https://www.w3.org/TR/trace-context-2/ (traceparent, traceresponse).
"""

from __future__ import annotations

import re
from random import getrandbits
from typing import Final, NamedTuple

from slipway_runtime.telemetry.record import RequestRecord

SAMPLED: Final = 1
_LENGTH: Final = 55
"""Of version 00. A later version may append more, behind a dash."""
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class TraceParent(NamedTuple):
    trace_id: str
    span_id: str
    flags: int


def parse_traceparent(header: bytes | str) -> TraceParent | None:
    """None for what the specification says to ignore."""
    text = header.decode("latin-1") if isinstance(header, bytes) else header
    match = _TRACEPARENT.match(text)
    if match is None:
        return None
    version, trace_id, span_id, flags = match.groups()
    extended = len(text) > _LENGTH
    if version == "ff" or (extended and (version == "00" or text[_LENGTH] != "-")):
        return None
    if trace_id.strip("0") == "" or span_id.strip("0") == "":
        return None
    return TraceParent(trace_id, span_id, int(flags, 16))


def new_trace_id() -> str:
    return f"{getrandbits(128) or 1:032x}"  # identifiers, not secrets


def new_span_id() -> str:
    return f"{getrandbits(64) or 1:016x}"


def traceresponse(record: RequestRecord) -> bytes | None:
    """Value of the header `traceresponse`; None for a request without a trace."""
    if not record.trace_id:
        return None
    return f"00-{record.trace_id}-{record.span_id}-{record.trace_flags:02x}".encode()
