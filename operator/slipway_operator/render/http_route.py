"""The route from outside the cluster by the Gateway API. Pure."""

from __future__ import annotations

from typing import Any

from slipway_operator.api.v1alpha1 import GatewayExposure, ModelDeploymentSpec, ParentReference, Traffic
from slipway_operator.render.ingress_controllers import PROXY_MARGIN_SECONDS
from slipway_operator.render.manifest import Manifest, Owner, metadata
from slipway_operator.render.service import service_exposure
from slipway_operator.resources import GATEWAY, HTTP_ROUTE


def render_http_route(owner: Owner, spec: ModelDeploymentSpec, gateway: GatewayExposure) -> Manifest:
    """No filter: the runtime strips the prefix, and rewriting is not for every controller to do."""
    seconds = (spec.traffic or Traffic()).request_timeout_seconds + PROXY_MARGIN_SECONDS
    found: dict[str, Any] = {
        "parentRefs": [_parent(reference) for reference in gateway.parent_refs],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": gateway.path}}],
                "backendRefs": [{"name": owner.name, "port": service_exposure(spec).port}],
                "timeouts": {"request": f"{seconds}s"},
            }
        ],
    }
    if gateway.hostnames:
        found["hostnames"] = list(gateway.hostnames)
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": metadata(owner, owner.name),
        "spec": found,
    }


def _parent(reference: ParentReference) -> dict[str, Any]:
    return {"group": GATEWAY.group, "kind": GATEWAY.kind} | reference.model_dump(by_alias=True, exclude_none=True)
