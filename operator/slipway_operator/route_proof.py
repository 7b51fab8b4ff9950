"""Whether a prediction came through the way in from outside; without one there is no URL. Pure.

That a controller has taken a route says nothing about the way to it: its address may not be reachable, an older route
may have the same host and path, a listener may have another certificate. So the operator asks once by each new way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway_operator.api.reasons import Reason
from slipway_operator.conditions import Claim
from slipway_operator.route_verification import RouteQuestion, RouteVerdict
from slipway_operator.routes import Route
from slipway_operator.verification import LONGEST_SECONDS


@dataclass(frozen=True)
class RouteProof:
    """What the status says of the route, and what remains to be asked."""

    claim: Claim
    url: str | None
    question: RouteQuestion | None = None


def prove_route(
    route: Route,
    verdict: RouteVerdict | None,
    previous: Mapping[str, Any],
    *,
    revisions: frozenset[str],
    timeout_seconds: float,
    identity: str = "",
) -> RouteProof:
    """`revisions` are those that serve; empty while there is nobody to answer. `previous` is the last status, and
    `identity` the hash of the route."""
    if not route.ways:
        return RouteProof(route.claim, None)
    changed = verdict is not None and verdict.question.route != identity
    question = RouteQuestion(route.ways, min(timeout_seconds, LONGEST_SECONDS), revisions, identity, changed)
    answered = verdict if verdict is not None and verdict.question == question else None
    if answered is not None and answered.url is not None:
        return RouteProof(route.claim, answered.url)
    pending = question if revisions else None
    if answered is not None:
        return RouteProof(_unless_refused(route, _unanswered(answered)), None, pending)
    known = previous.get("url")
    if verdict is None and any(way.url == known for way in route.ways):
        # Proven before this operator started. It stays so until the answer is there.
        return RouteProof(route.claim, known, pending)
    return RouteProof(_unless_refused(route, _verifying(pending)), None, pending)


def _unless_refused(route: Route, claim: Claim) -> Claim:
    """A Gateway that refuses the route is told before another one that does not answer."""
    return claim if route.claim.status == "True" else route.claim


def _unanswered(verdict: RouteVerdict) -> Claim:
    return Claim(
        "False", Reason.ROUTE_UNANSWERED, f"The route is accepted, and no prediction comes through: {verdict.message}."
    )


def _verifying(question: RouteQuestion | None) -> Claim:
    due = "is under way" if question is not None else "follows when a pod is ready"
    return Claim("False", Reason.VERIFYING, f"The route is accepted; a prediction through it {due}.")
