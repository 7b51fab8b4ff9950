"""The route from outside the cluster. Pure."""

from __future__ import annotations

from typing import Any

from slipway_operator.api.v1alpha1 import IngressExposure, ModelDeploymentSpec
from slipway_operator.names import INFERENCE_PORT_NAME
from slipway_operator.render.ingress_controllers import proxy_annotations
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings, metadata


def render_ingress(
    owner: Owner, spec: ModelDeploymentSpec, ingress: IngressExposure, settings: RenderSettings
) -> Manifest:
    backend = {"service": {"name": owner.name, "port": {"name": INFERENCE_PORT_NAME}}}
    rule: dict[str, Any] = {"http": {"paths": [{"path": ingress.path, "pathType": "Prefix", "backend": backend}]}}
    if ingress.host is not None:
        rule["host"] = ingress.host
    found: dict[str, Any] = {"rules": [rule]}
    if ingress.class_name is not None:
        found["ingressClassName"] = ingress.class_name
    if ingress.tls is not None:
        # The CRD asks for a host wherever there is tls.
        hosts = {"hosts": [ingress.host]} if ingress.host is not None else {}
        found["tls"] = [{"secretName": ingress.tls.secret_name} | hosts]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(
            owner, owner.name, proxy_annotations(owner.name, spec, settings).ingress | ingress.annotations
        ),
        "spec": found,
    }
