"""What all manifests share: their owner, metadata and hash. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.api.v1alpha1 import API_VERSION, KIND
from slipway_operator.names import child_labels

Manifest = dict[str, Any]

HASH_LENGTH: Final = 16
"""Hexadecimal digits; 64 bits are ample to tell the revisions of one object apart."""


@dataclass(frozen=True)
class Owner:
    """The ModelDeployment that the children belong to."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class RenderSettings:
    """What the installation decides. An empty pull policy leaves the choice to Kubernetes."""

    runtime_image: str
    runtime_image_pull_policy: str = ""
    operator_namespace: str = ""
    """Where the operator runs, so that NetworkPolicies let it in; empty outside a cluster."""
    always_upgrade: bool = False
    """True: pods are rendered anew with this image and by this operator at once, not with the next change of a spec."""
    ingress_classes: tuple[tuple[str, str], ...] = ()
    """Names of IngressClasses, each with the controller that serves it."""
    default_ingress_class: str = ""
    """The class that the cluster gives to an Ingress without one."""


def metadata(owner: Owner, name: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """Metadata of a child: deleted with its owner, by the API server, whether or not the operator runs."""
    found: dict[str, Any] = {
        "name": name,
        "namespace": owner.namespace,
        "labels": child_labels(owner.name),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    if annotations:
        found["annotations"] = dict(annotations)
    return found


def stable_hash(value: object) -> str:
    """Equal values have equal hashes, whatever the order of their keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
