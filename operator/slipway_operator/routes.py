"""The way to the model from outside: whether it is there (RouteReady), and its URL. Pure.

A URL is told only when a controller has taken the route and the address is known. Whether it answers is another
question: `route_proof`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from slipway_operator.api.reasons import Reason
from slipway_operator.api.v1alpha1 import GatewayExposure, IngressExposure, ModelDeploymentSpec, ParentReference
from slipway_operator.conditions import Claim
from slipway_operator.listeners import USUAL_PORTS, GatewaySight, Listener, Way, url
from slipway_operator.records import ChildRecord, RouteParent
from slipway_operator.render.service import is_encrypted, service_exposure
from slipway_operator.resources import HTTP_ROUTE, INGRESS, SERVICE, ChildRef, Key

_PROTOCOLS: Final = {"HTTPS": "https", "HTTP": "http"}
"""In the order of preference, with the scheme of each."""


@dataclass(frozen=True)
class Route:
    """`claim` is the condition RouteReady."""

    claim: Claim
    ways: tuple[Way, ...] = ()
    """To the model, the best one first."""

    @property
    def url(self) -> str | None:
        """Where nobody asks whether it answers."""
        return self.ways[0].url if self.ways else None


def find_route(key: Key, spec: ModelDeploymentSpec, own: Mapping[ChildRef, ChildRecord], sight: GatewaySight) -> Route:
    """`own` are the children that exist."""
    exposure = spec.exposure
    if exposure is not None and exposure.gateway is not None:
        return _by_gateway(key, exposure.gateway, own.get(ChildRef(HTTP_ROUTE.kind, key.name)), sight)
    if exposure is not None and exposure.ingress is not None:
        return _by_ingress(exposure.ingress, own.get(ChildRef(INGRESS.kind, key.name)))
    return _by_service(spec, own.get(ChildRef(SERVICE.kind, key.name)))


def _by_ingress(ingress: IngressExposure, live: ChildRecord | None) -> Route:
    if live is None or not live.addresses:
        given = f"the class '{ingress.class_name}'" if ingress.class_name else "the cluster's default class"
        return Route(Claim("False", Reason.ADDRESS_PENDING, f"The Ingress has no address yet; it is of {given}."))
    scheme = "https" if ingress.tls is not None else "http"
    found = url(scheme, ingress.host or live.addresses[0], USUAL_PORTS[scheme], ingress.path.rstrip("/"))
    claim = Claim("True", Reason.ADDRESS_ASSIGNED, "The Ingress has an address.")
    return Route(claim, (Way(found, live.addresses[0]),))


def _by_service(spec: ModelDeploymentSpec, live: ChildRecord | None) -> Route:
    exposure = service_exposure(spec)
    if live is None:
        return Route(Claim("Unknown", Reason.RECONCILING, "The Service does not exist yet."))
    if exposure.type == "LoadBalancer":
        if not live.addresses:
            return Route(Claim("False", Reason.ADDRESS_PENDING, "The Service's load balancer has no address yet."))
        found = url("https" if is_encrypted(spec) else "http", live.addresses[0], exposure.port, "")
        claim = Claim("True", Reason.ADDRESS_ASSIGNED, "The Service's load balancer has an address.")
        return Route(claim, (Way(found, live.addresses[0]),))
    said = "No Ingress was asked for; the Service is the route."
    if exposure.type == "NodePort" and (number := live.body["spec"]["ports"][0].get("nodePort")):
        said = f"The Service is the route, from outside at port {number} of every node."
    return Route(Claim("True", Reason.SERVICE_ONLY, said))


def _by_gateway(key: Key, gateway: GatewayExposure, live: ChildRecord | None, sight: GatewaySight) -> Route:
    if not sight.served:
        return Route(
            Claim(
                "False",
                Reason.GATEWAY_API_NOT_INSTALLED,
                f"The cluster does not serve {HTTP_ROUTE.plural} of {HTTP_ROUTE.api_version}, which"
                " spec.exposure.gateway needs. Install the Gateway API and a controller for it, or use"
                " spec.exposure.ingress.",
            )
        )
    if live is None:
        return Route(Claim("Unknown", Reason.RECONCILING, "The HTTPRoute does not exist yet."))
    problems = {reference: _problem(key, reference, live, sight) for reference in gateway.parent_refs}
    accepted = [reference for reference, problem in problems.items() if problem is None]
    found = tuple(dict.fromkeys(way for reference in accepted for way in _ways(key, reference, gateway, sight)))
    problem = next(filter(None, problems.values()), None)
    if problem is None and not found:
        return Route(_without_url(_gateway_key(key, accepted[0]), sight))
    if problem is None:
        return Route(Claim("True", Reason.ROUTE_ACCEPTED, "The Gateway has accepted the HTTPRoute."), found)
    return Route(problem, found)


def _problem(key: Key, reference: ParentReference, live: ChildRecord, sight: GatewaySight) -> Claim | None:
    """Why this Gateway does not serve the route."""
    gateway = _gateway_key(key, reference)
    if gateway in sight.gateways and sight.gateways[gateway] is None:
        return Claim(
            "False",
            Reason.GATEWAY_NOT_FOUND,
            f"Gateway {gateway} does not exist. Create it, or correct spec.exposure.gateway.parentRefs.",
        )
    said = [parent for parent in live.parents if _is_about(key, parent, reference)]
    if not said:
        return Claim(
            "False",
            Reason.ROUTE_PENDING,
            f"No controller has answered for the HTTPRoute at Gateway {gateway} yet. Is the controller of its"
            " GatewayClass running?",
        )
    for kind in ("Accepted", "ResolvedRefs"):
        if any(kind in parent.conditions and parent.conditions[kind].status == "True" for parent in said):
            continue
        held = next((parent for parent in said if kind in parent.conditions), None)
        if held is None:
            return Claim("False", Reason.ROUTE_PENDING, f"{said[0].controller} has not said {kind} about it yet.")
        condition = held.conditions[kind]
        return Claim(
            "False",
            Reason.ROUTE_NOT_ACCEPTED,
            f"At Gateway {gateway} the HTTPRoute is not {kind}: "
            f"{': '.join(filter(None, (condition.reason, condition.message)))} (from {held.controller})",
        )
    return None


def _is_about(key: Key, parent: RouteParent, reference: ParentReference) -> bool:
    return (
        Key(parent.namespace or key.namespace, parent.name) == _gateway_key(key, reference)
        and parent.section_name == reference.section_name
        and parent.port == reference.port
    )


def _gateway_key(key: Key, reference: ParentReference) -> Key:
    return Key(reference.namespace or key.namespace, reference.name)


def _ways(key: Key, reference: ParentReference, exposure: GatewayExposure, sight: GatewaySight) -> Iterator[Way]:
    """One for each listener that may serve the route: which of them do, its status does not say."""
    gateway = sight.gateways.get(_gateway_key(key, reference))
    if gateway is None:
        return
    for protocol, scheme in _PROTOCOLS.items():
        for listener in gateway.listeners:
            if listener.protocol != protocol or listener.broken or not _is_meant(listener, reference):
                continue
            host = _host(listener, exposure, gateway.addresses)
            if host is not None:
                found = url(scheme, host, listener.port, exposure.path.rstrip("/"))
                yield Way(found, next(iter(gateway.addresses), host))


def _is_meant(listener: Listener, reference: ParentReference) -> bool:
    return reference.section_name in (None, listener.name) and reference.port in (None, listener.port)


def _host(listener: Listener, exposure: GatewayExposure, addresses: tuple[str, ...]) -> str | None:
    if exposure.hostnames:
        return next((host for host in exposure.hostnames if listener.serves(host)), None)
    if listener.hostname and not listener.hostname.startswith("*."):
        return listener.hostname
    return next(iter(addresses), None) if not listener.hostname else None


def _without_url(gateway: Key, sight: GatewaySight) -> Claim:
    """An accepted route whose address is not known. That we may not read the Gateway is no fault of the route."""
    if gateway not in sight.gateways:
        return Claim(
            "True",
            Reason.ROUTE_ACCEPTED,
            f"The Gateway has accepted the HTTPRoute. status.url is left out because the operator may not read Gateway"
            f" {gateway}; allow it to get gateways there.",
        )
    return Claim(
        "False",
        Reason.ADDRESS_PENDING,
        f"The HTTPRoute is accepted and its address is not known: Gateway {gateway} has no HTTP listener with a host"
        " name or an address that fits. Set spec.exposure.gateway.hostnames.",
    )
