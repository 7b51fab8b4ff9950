"""The Gateway API's CustomResourceDefinitions."""

from __future__ import annotations

from typing import Any, Final

from tests.cluster.published_crds import PublishedCrds

KINDS: Final = (
    "backendtlspolicies",
    "gatewayclasses",
    "gateways",
    "grpcroutes",
    "httproutes",
    "listenersets",
    "referencegrants",
    "tlsroutes",
)
"""Those that a controller of HTTPRoutes watches."""

_CRDS: Final = PublishedCrds(
    "gateway-api", "sigs.k8s.io/gateway-api", "config/crd/standard", "gateway.networking.k8s.io", KINDS
)


def crds() -> list[dict[str, Any]]:
    """Of the standard channel."""
    return _CRDS.load()
