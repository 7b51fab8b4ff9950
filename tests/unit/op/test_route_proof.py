"""A URL is told when a prediction came through the route: what is asked, what counts, and what stands meanwhile."""

from __future__ import annotations

from typing import Any, Final

import pytest

from slipway_operator.api.reasons import Reason
from slipway_operator.conditions import Claim
from slipway_operator.listeners import Way
from slipway_operator.route_proof import RouteProof, prove_route
from slipway_operator.route_verification import (
    RouteQuestion,
    RouteRequest,
    RouteVerdict,
    complaint,
    no_answer_by,
    request_by,
)
from slipway_operator.routes import Route

pytestmark = pytest.mark.unit

SECURE: Final = Way("https://digits.example.com/models/", "10.0.0.9")
PLAIN: Final = Way("http://digits.example.com/models/", "10.0.0.9")
ACCEPTED: Final = Claim("True", Reason.ROUTE_ACCEPTED, "The Gateway has accepted the HTTPRoute.")
ROUTE: Final = Route(ACCEPTED, (SECURE, PLAIN))
QUESTION: Final = RouteQuestion((SECURE, PLAIN), 30, frozenset({"rev"}))


def prove(
    verdict: RouteVerdict | None = None,
    *,
    route: Route = ROUTE,
    revisions: tuple[str, ...] = ("rev",),
    previous: dict[str, Any] | None = None,
    identity: str = "",
) -> RouteProof:
    return prove_route(
        route, verdict, previous or {}, revisions=frozenset(revisions), timeout_seconds=30, identity=identity
    )


def test_an_accepted_route_has_no_url_before_it_was_asked() -> None:
    found = prove()
    assert (found.claim.status, found.claim.reason, found.url) == ("False", Reason.VERIFYING, None)
    assert found.question == QUESTION


def test_nobody_is_asked_while_nobody_serves() -> None:
    found = prove(revisions=())
    assert (found.claim.reason, found.url, found.question) == (Reason.VERIFYING, None, None)
    assert "when a pod is ready" in found.claim.message


def test_the_way_that_answered_is_the_url_and_nothing_is_asked_again() -> None:
    assert prove(RouteVerdict(QUESTION, PLAIN.url)) == RouteProof(ACCEPTED, PLAIN.url, None)


def test_pods_that_come_and_go_leave_the_proof_standing() -> None:
    verdict = RouteVerdict(QUESTION, PLAIN.url)
    for revisions in (("rev", "next"), ("next",), ()):
        assert prove(verdict, revisions=revisions) == RouteProof(ACCEPTED, PLAIN.url, None)


def test_a_route_that_changed_is_asked_anew_though_its_address_stayed() -> None:
    found = prove(RouteVerdict(QUESTION, PLAIN.url), identity="another class", previous={"url": PLAIN.url})
    assert (found.claim.status, found.claim.reason, found.url) == ("False", Reason.VERIFYING, None)
    assert found.question is not None
    assert found.question.changed


def test_what_came_instead_is_told_and_it_is_asked_on() -> None:
    found = prove(RouteVerdict(QUESTION, None, "https://digits.example.com/models/ at 10.0.0.9 answered 404"))
    assert (found.claim.status, found.claim.reason, found.url) == ("False", Reason.ROUTE_UNANSWERED, None)
    assert "answered 404" in found.claim.message
    assert found.question == QUESTION


def test_an_answer_by_other_ways_proves_nothing() -> None:
    other = RouteQuestion((PLAIN,), 30, frozenset({"rev"}))
    assert prove(RouteVerdict(other, PLAIN.url)).claim.reason == Reason.VERIFYING


def test_a_url_of_the_last_status_stands_until_it_is_asked_anew() -> None:
    found = prove(previous={"url": PLAIN.url})
    assert found == RouteProof(ACCEPTED, PLAIN.url, QUESTION)
    assert prove(previous={"url": PLAIN.url}, revisions=()) == RouteProof(ACCEPTED, PLAIN.url, None)
    assert prove(previous={"url": "http://former.example.com/"}).url is None


def test_a_refusal_is_told_before_another_gateway_that_does_not_answer() -> None:
    refused = Claim("False", Reason.ROUTE_NOT_ACCEPTED, "At Gateway infra/inner the HTTPRoute is not Accepted.")
    route = Route(refused, (PLAIN,))
    question = RouteQuestion((PLAIN,), 30, frozenset({"rev"}))
    assert prove(RouteVerdict(question, None, "404"), route=route).claim == refused
    assert prove(RouteVerdict(question, PLAIN.url), route=route) == RouteProof(refused, PLAIN.url, None)


def test_a_route_without_a_way_is_told_as_it_is() -> None:
    claim = Claim("True", Reason.SERVICE_ONLY, "No Ingress was asked for.")
    assert prove(route=Route(claim), previous={"url": PLAIN.url}) == RouteProof(claim, None, None)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (
            PLAIN,
            RouteRequest("http://10.0.0.9/models/slipway/verify", "digits.example.com", None),
        ),
        (
            Way("https://digits.example.com:8443/", "10.0.0.9"),
            RouteRequest("https://10.0.0.9:8443/slipway/verify", "digits.example.com:8443", "digits.example.com"),
        ),
        (
            Way("http://digits.example.com/", "lb.example.net"),
            RouteRequest("http://lb.example.net/slipway/verify", "digits.example.com", None),
        ),
        (
            Way("https://[fd00::9]/", "fd00::9"),
            RouteRequest("https://[fd00::9]/slipway/verify", "[fd00::9]", None),
        ),
    ],
)
def test_it_is_asked_by_the_urls_host_at_the_controllers_address(way: Way, expected: RouteRequest) -> None:
    assert request_by(way) == expected


@pytest.mark.parametrize("status", [200, 401, 422, 429, 500])
def test_any_answer_of_a_pod_of_the_model_proves_the_way(status: int) -> None:
    assert complaint(PLAIN, QUESTION, status, "rev") == ""


def test_an_answer_of_somebody_else_proves_nothing_and_its_words_are_not_told() -> None:
    assert complaint(PLAIN, QUESTION, 404, None) == (
        "http://digits.example.com/models/ at 10.0.0.9 answered 404, and not by a pod of this model"
    )
    assert "another model" in complaint(PLAIN, QUESTION, 200, "stranger")
    assert no_answer_by(Way("http://10.0.0.9/", "10.0.0.9"), "Connection refused") == (
        "http://10.0.0.9/ gives no answer: Connection refused"
    )
