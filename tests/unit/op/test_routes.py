"""The way in from outside: when it is told to be there, and under which URL."""

from __future__ import annotations

from typing import Any, Final

import pytest

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.listeners import GatewayRecord, GatewaySight, Way, gateway_record
from slipway_operator.records import ChildRecord, child_record
from slipway_operator.render.manifest import Manifest
from slipway_operator.resources import ChildRef, Key
from slipway_operator.routes import Route, find_route

pytestmark = pytest.mark.unit

KEY: Final = Key("vision", "digits")
EDGE: Final = Key("infra", "edge")
PARENT: Final = {"name": "edge", "namespace": "infra"}
GOOD: Final = (("Accepted", "True"), ("ResolvedRefs", "True"))


def spec(**exposure: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"artifact": {"uri": "s3://m/d.pt"}, "exposure": exposure})


def child(kind: str, *, status: Manifest | None = None, body: Manifest | None = None) -> dict[ChildRef, ChildRecord]:
    metadata = {"name": "digits", "namespace": "vision", "uid": "u", "resourceVersion": "1", "generation": 3}
    return {
        ChildRef(kind, "digits"): child_record(kind, {"metadata": metadata, "status": status or {}, **(body or {})})
    }


def said(
    *conditions: tuple[str, str], parent: Manifest | None = None, generation: int | None = 3, message: str = "no words"
) -> Manifest:
    """One controller's answer about the route."""
    given = [
        {"type": kind, "status": status, "reason": f"{kind}Reason", "message": message}
        | ({"observedGeneration": generation} if generation is not None else {})
        for kind, status in conditions
    ]
    return {"parentRef": PARENT | (parent or {}), "controllerName": "example.com/gateway", "conditions": given}


def gateway(*listeners: Manifest, addresses: tuple[str, ...] = ()) -> GatewayRecord:
    usual = {"name": "web", "protocol": "HTTP", "port": 80}
    return gateway_record(
        {
            "spec": {"listeners": list(listeners) or [usual]},
            "status": {"addresses": [{"value": address} for address in addresses]},
        }
    )


def by_gateway(*parents: Manifest, seen: GatewayRecord | None, **fields: Any) -> Route:
    exposure = {"parentRefs": [PARENT], "hostnames": ["digits.example.com"]} | fields
    sight = GatewaySight(served=True, gateways={EDGE: seen})
    return find_route(KEY, spec(gateway=exposure), child("HTTPRoute", status={"parents": list(parents)}), sight)


def verdict(route: Route) -> tuple[str, str]:
    return route.claim.status, str(route.claim.reason)


def test_without_the_gateway_api_the_way_out_is_told() -> None:
    route = find_route(KEY, spec(gateway={"parentRefs": [PARENT]}), {}, GatewaySight())
    assert verdict(route) == ("False", "GatewayAPINotInstalled")
    assert "spec.exposure.ingress" in route.claim.message
    assert route.url is None


def test_a_url_is_told_once_the_gateway_has_accepted_the_route() -> None:
    route = by_gateway(said(*GOOD), seen=gateway(), path="/models/digits")
    assert verdict(route) == ("True", "RouteAccepted")
    assert route.url == "http://digits.example.com/models/digits/"


def test_https_is_preferred_and_an_unusual_port_is_in_the_url() -> None:
    listeners = (
        {"name": "web", "protocol": "HTTP", "port": 80},
        {"name": "other", "protocol": "HTTPS", "port": 443, "hostname": "*.example.org"},
        {"name": "secure", "protocol": "HTTPS", "port": 8443, "hostname": "*.example.com"},
    )
    assert by_gateway(said(*GOOD), seen=gateway(*listeners)).url == "https://digits.example.com:8443/"
    only_web = {"sectionName": "web"}
    route = by_gateway(said(*GOOD, parent=only_web), seen=gateway(*listeners), parentRefs=[PARENT | only_web])
    assert route.url == "http://digits.example.com/"


def test_every_listener_that_may_serve_the_route_is_a_way_asked_at_the_gateways_address() -> None:
    listeners = (
        {"name": "web", "protocol": "HTTP", "port": 80},
        {"name": "secure", "protocol": "HTTPS", "port": 443},
        {"name": "other", "protocol": "HTTPS", "port": 8443, "hostname": "*.example.org"},
    )
    route = by_gateway(said(*GOOD), seen=gateway(*listeners, addresses=("10.0.0.9",)))
    assert route.ways == (
        Way("https://digits.example.com/", "10.0.0.9"),
        Way("http://digits.example.com/", "10.0.0.9"),
    )
    assert by_gateway(said(*GOOD), seen=gateway()).ways == (Way("http://digits.example.com/", "digits.example.com"),)


@pytest.mark.parametrize("kind", ["Accepted", "Programmed"])
def test_a_listener_that_its_controller_does_not_serve_is_no_way(kind: str) -> None:
    spoken = {"name": "secure", "conditions": [{"type": kind, "status": "False", "reason": "Invalid"}]}
    seen = gateway_record(
        {
            "spec": {
                "listeners": [
                    {"name": "secure", "protocol": "HTTPS", "port": 443},
                    {"name": "web", "protocol": "HTTP", "port": 80},
                ]
            },
            "status": {"listeners": [spoken]},
        }
    )
    assert [way.url for way in by_gateway(said(*GOOD), seen=seen).ways] == ["http://digits.example.com/"]


def test_a_controller_of_one_word_is_quoted_with_it_alone() -> None:
    route = by_gateway(said(("Accepted", "False"), message=""), seen=gateway())
    assert route.claim.message.endswith("is not Accepted: AcceptedReason (from example.com/gateway)")


@pytest.mark.parametrize(
    ("listener", "addresses", "expected"),
    [
        ({"hostname": "models.example.com"}, ("10.0.0.9",), "http://models.example.com/"),
        ({}, ("10.0.0.9", "10.0.0.10"), "http://10.0.0.9/"),
        ({}, ("fd00::9",), "http://[fd00::9]/"),
        ({"hostname": "*.example.com"}, ("10.0.0.9",), None),
        ({}, (), None),
        ({"protocol": "TCP"}, ("10.0.0.9",), None),
    ],
)
def test_without_host_names_the_url_is_the_listeners(
    listener: Manifest, addresses: tuple[str, ...], expected: str | None
) -> None:
    seen = gateway({"name": "web", "protocol": "HTTP", "port": 80} | listener, addresses=addresses)
    route = by_gateway(said(*GOOD), seen=seen, hostnames=[])
    assert route.url == expected
    assert verdict(route) == (("True", "RouteAccepted") if expected else ("False", "AddressPending"))


def test_a_gateway_that_may_not_be_read_leaves_the_url_out_and_says_so() -> None:
    live = child("HTTPRoute", status={"parents": [said(*GOOD)]})
    route = find_route(KEY, spec(gateway={"parentRefs": [PARENT]}), live, GatewaySight(served=True))
    assert verdict(route) == ("True", "RouteAccepted")
    assert "may not read Gateway infra/edge" in route.claim.message
    assert route.url is None


@pytest.mark.parametrize(
    ("parents", "reason", "words"),
    [
        ([], "RoutePending", "infra/edge"),
        ([said(*GOOD, parent={"name": "other"})], "RoutePending", "infra/edge"),
        ([said(*GOOD, parent={"sectionName": "web"})], "RoutePending", "infra/edge"),
        ([said(("Accepted", "True"))], "RoutePending", "ResolvedRefs"),
        ([said(*GOOD, generation=2)], "RoutePending", "Accepted"),
        ([said(("Accepted", "False"), message="not allowed here")], "RouteNotAccepted", "not allowed here"),
        (
            [said(("Accepted", "True"), ("ResolvedRefs", "False"), message="no such Service")],
            "RouteNotAccepted",
            "no such Service",
        ),
    ],
)
def test_what_a_controller_says_is_passed_on(parents: list[Manifest], reason: str, words: str) -> None:
    route = by_gateway(*parents, seen=gateway())
    assert verdict(route) == ("False", reason)
    assert words in route.claim.message
    assert route.url is None


def test_a_controller_that_names_no_generation_is_believed() -> None:
    assert verdict(by_gateway(said(*GOOD, generation=None), seen=gateway())) == ("True", "RouteAccepted")


def test_a_gateway_that_does_not_exist_is_named() -> None:
    route = by_gateway(seen=None)
    assert verdict(route) == ("False", "GatewayNotFound")
    assert "infra/edge does not exist" in route.claim.message


def test_one_gateway_that_refuses_makes_it_false_and_the_other_ones_url_is_told() -> None:
    other = {"name": "inner", "namespace": "infra"}
    parents = [said(("Accepted", "False"), parent=other), said(*GOOD)]
    route = by_gateway(*parents, seen=gateway(), parentRefs=[other, PARENT])
    assert verdict(route) == ("False", "RouteNotAccepted")
    assert route.url == "http://digits.example.com/"


@pytest.mark.parametrize(
    ("tls", "port", "expected"),
    [
        (False, 80, "http://203.0.113.7/"),
        (False, 8000, "http://203.0.113.7:8000/"),
        (True, 443, "https://203.0.113.7/"),
    ],
)
def test_the_address_of_a_load_balancer_is_the_url(tls: bool, port: int, expected: str) -> None:
    exposed = spec(service={"type": "LoadBalancer", "port": port})
    if tls:
        exposed = ModelDeploymentSpec.model_validate(
            exposed.model_dump(by_alias=True) | {"traffic": {"tls": {"secretName": "tls"}}}
        )
    waiting = find_route(KEY, exposed, child("Service"), GatewaySight())
    assert verdict(waiting) == ("False", "AddressPending")
    assert waiting.url is None
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
    route = find_route(KEY, exposed, child("Service", status=status), GatewaySight())
    assert verdict(route) == ("True", "AddressAssigned")
    assert route.url == expected


def test_the_port_on_the_nodes_is_told() -> None:
    live = child("Service", body={"spec": {"ports": [{"name": "http", "port": 80, "nodePort": 31234}]}})
    route = find_route(KEY, spec(service={"type": "NodePort"}), live, GatewaySight())
    assert verdict(route) == ("True", "ServiceOnly")
    assert "31234" in route.claim.message
    assert route.url is None
