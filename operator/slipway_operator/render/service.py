"""The Service in front of the pods. Pure."""

from __future__ import annotations

from slipway_operator.api.v1alpha1 import Exposure, ModelDeploymentSpec, ServiceExposure
from slipway_operator.names import INFERENCE_PORT_NAME, selector_labels
from slipway_operator.render.manifest import Manifest, Owner, metadata


def service_exposure(spec: ModelDeploymentSpec) -> ServiceExposure:
    return (spec.exposure or Exposure()).service or ServiceExposure()


def render_service(owner: Owner, spec: ModelDeploymentSpec) -> Manifest:
    exposure = service_exposure(spec)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, owner.name, exposure.annotations),
        "spec": {
            "type": exposure.type,
            "selector": selector_labels(owner.name),
            "ports": [
                {
                    "name": INFERENCE_PORT_NAME,
                    "port": exposure.port,
                    "targetPort": INFERENCE_PORT_NAME,
                    "protocol": "TCP",
                    "appProtocol": "http",
                }
            ],
        },
    }
