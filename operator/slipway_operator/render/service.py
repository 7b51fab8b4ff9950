"""The Service in front of the pods. Pure."""

from __future__ import annotations

from typing import Any

from slipway_operator.api.v1alpha1 import Exposure, ModelDeploymentSpec, ServiceExposure
from slipway_operator.names import GRPC_PORT_NAME, INFERENCE_PORT_NAME, selector_labels
from slipway_operator.render.ingress_controllers import proxy_annotations
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings, metadata


def service_exposure(spec: ModelDeploymentSpec) -> ServiceExposure:
    return (spec.exposure or Exposure()).service or ServiceExposure()


def render_service(owner: Owner, spec: ModelDeploymentSpec, settings: RenderSettings) -> Manifest:
    exposure = service_exposure(spec)
    annotations = proxy_annotations(owner.name, spec, settings).service | exposure.annotations
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, owner.name, annotations),
        "spec": {
            "type": exposure.type,
            "selector": selector_labels(owner.name),
            "ports": _ports(exposure, encrypted=is_encrypted(spec)),
        },
    }


def is_encrypted(spec: ModelDeploymentSpec) -> bool:
    return spec.traffic is not None and spec.traffic.tls is not None


def _ports(exposure: ServiceExposure, *, encrypted: bool) -> list[dict[str, Any]]:
    ports = [_port(INFERENCE_PORT_NAME, exposure.port, "https" if encrypted else "http")]
    if exposure.grpc_port is not None:
        # h2c is HTTP/2 without TLS, in Kubernetes' own word, which Ingress and Gateway controllers read.
        ports.append(_port(GRPC_PORT_NAME, exposure.grpc_port, "https" if encrypted else "kubernetes.io/h2c"))
    return ports


def _port(name: str, number: int, application_protocol: str) -> dict[str, Any]:
    return {
        "name": name,
        "port": number,
        "targetPort": name,
        "protocol": "TCP",
        "appProtocol": application_protocol,
    }
