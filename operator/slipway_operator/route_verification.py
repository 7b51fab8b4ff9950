"""What is asked of the way in from outside, and what counts as an answer. Pure.

It is asked at the controller's address under the URL's host: DNS may know that host later, or not where the operator
runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from slipway_operator.listeners import Way
from slipway_operator.redaction import redacted
from slipway_runtime.contract import VERIFY_PATH


@dataclass(frozen=True)
class RouteQuestion:
    """A prediction by one of these ways, the first that answers."""

    ways: tuple[Way, ...]
    timeout_seconds: float
    """Of each."""
    revisions: frozenset[str] = field(compare=False)
    """Of the pods that serve now; an answer of any proves the way."""
    route: str = ""
    """Hash of the route as it is: another class, rule or listener may lead elsewhere at the same address."""
    changed: bool = field(default=False, compare=False)
    """Another one was asked before, and its controller may not have heard of this one yet."""


@dataclass(frozen=True)
class RouteVerdict:
    """What came of a question. `url` is that of the way that answered, else `message` says what came instead."""

    question: RouteQuestion
    url: str | None = None
    message: str = ""


@dataclass(frozen=True)
class RouteRequest:
    """How a way is asked."""

    url: str
    host: str
    """The header."""
    server_name: str | None
    """That TLS asks for; None for the URL's own."""


def request_by(way: Way) -> RouteRequest:
    parts = urlsplit(way.url)
    address = f"[{way.address}]" if ":" in way.address else way.address
    authority = address if parts.port is None else f"{address}:{parts.port}"
    host = parts.hostname or ""
    asked = f"{parts.scheme}://{authority}{parts.path.rstrip('/')}{VERIFY_PATH}"
    named = parts.scheme == "https" and host != way.address and not _is_address(host)
    return RouteRequest(asked, parts.netloc, host if named else None)


def complaint(way: Way, question: RouteQuestion, status: int, revision: str | None) -> str:
    """What is wrong with an answer; empty when it came from a pod of the model, whatever it says. `revision` is the
    header that names the server's; None where there is none. The answer's own words are not told: they may be those
    of a server that whoever wrote the manifest could not ask."""
    if revision in question.revisions:
        return ""
    if revision is None:
        return f"{_named(way)} answered {status}, and not by a pod of this model"
    return f"{_named(way)} leads to another model, whose revision is {revision}"


def no_answer_by(way: Way, error: str) -> str:
    return f"{_named(way)} gives no answer: {redacted(error)}"


def _named(way: Way) -> str:
    host = urlsplit(way.url).hostname or ""
    return way.url if host == way.address else f"{way.url} at {way.address}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
