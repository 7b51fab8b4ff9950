"""ModelDeployments for tests of the API, and what is expected of the API server when it sees one."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

Manifest = dict[str, Any]

DIGEST: Final = "sha256:" + "0123456789abcdef" * 4


@dataclass(frozen=True)
class Accepted:
    """A manifest that is valid."""

    title: str
    manifest: Manifest


@dataclass(frozen=True)
class Refused:
    """A manifest that breaks one rule."""

    title: str
    manifest: Manifest
    path: str
    words: tuple[str, ...]
    """Texts that the answer must contain: the value, the rule, the fix."""
    hidden: str = ""
    """A text that the answer must not contain, such as a password."""


def manifest(spec: Manifest | None = None, *, name: str = "digits", artifact: Manifest | None = None) -> Manifest:
    """A small valid ModelDeployment, with further blocks of the spec."""
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"artifact": {"uri": "s3://models/digits.pt"} | (artifact or {}), **deepcopy(spec or {})},
    }


def env(*variables: Manifest) -> Manifest:
    return {"runtime": {"env": list(variables)}}


def custom(spec: Manifest | None = None, **fields: Any) -> Manifest:
    """A server of another kind."""
    runtime = {"engine": "Custom", "image": "registry.example.com/app:1"} | fields
    return {"runtime": {name: value for name, value in runtime.items() if value is not None}} | (spec or {})


def ingress(**fields: Any) -> Manifest:
    return {"exposure": {"ingress": fields}}


def gateway(*parents: Manifest, **fields: Any) -> Manifest:
    return {"exposure": {"gateway": {"parentRefs": list(parents or [{"name": "edge"}])} | fields}}


def warmup(*inputs: Manifest) -> Manifest:
    return {"runtime": {"warmup": {"samples": [{"inputs": list(inputs)}]}}}


def batching(**fields: Any) -> Manifest:
    return {"batching": fields}


def sla(**fields: Any) -> Manifest:
    return {"sla": fields}


def service(**fields: Any) -> Manifest:
    return {"exposure": {"service": fields}}


def pods(**fields: Any) -> Manifest:
    return {"podTemplate": fields}


def scaler(**fields: Any) -> Manifest:
    return {"autoscaling": {"strategy": "External"} | fields}


def resources(**fields: Any) -> Manifest:
    return {"resources": fields}


SECRET_KEY: Final = {"secretKeyRef": {"name": "tokens", "key": "hub.token", "optional": False}}
CONFIG_KEY: Final = {"configMapKeyRef": {"name": "settings", "key": "LEVEL", "optional": True}}

EVERY_FIELD: Final = manifest(
    {
        "runtime": {
            "image": "registry.example.com:5000/team/runtime:1.0@" + DIGEST,
            "engine": "Slipway",
            "imagePullPolicy": "IfNotPresent",
            "args": ["--log-format", "text"],
            "envFrom": [
                {"secretRef": {"name": "tokens", "optional": True}, "prefix": "HUB_"},
                {"configMapRef": {"name": "settings", "optional": False}},
            ],
            "imagePullSecrets": [{"name": "registry"}],
            "env": [
                {"name": "LEVEL", "value": "debug"},
                {"name": "HUB_TOKEN", "valueFrom": SECRET_KEY},
                {"name": "SETTING", "valueFrom": CONFIG_KEY},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "warmup": {"samples": [{"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]}]},
            "execution": {"isolation": "Worker", "workers": 2, "threads": 4},
            "tuning": {"mode": "Auto", "precision": "BF16"},
        },
        "resources": {
            "gpu": {"count": 2, "resourceName": "nvidia.com/mig-1g.5gb"},
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"cpu": 2, "memory": "4Gi"},
            "sharedMemory": "1Gi",
        },
        "batching": {
            "mode": "Static",
            "maxBatchSize": 64,
            "maxQueueDelayMilliseconds": 5,
            "maxQueueLength": 1000,
            "allowedBatchSizes": [1, 8, 64],
            "objective": "Latency",
        },
        "sla": {"p50Milliseconds": 20, "p95Milliseconds": 60, "p99Milliseconds": 100, "onOverload": "Queue"},
        "replicas": 3,
        "autoscaling": {"strategy": "External", "minReplicas": 2, "maxReplicas": 8},
        "exposure": {
            "service": {
                "type": "LoadBalancer",
                "port": 8000,
                "grpcPort": 9000,
                "annotations": {"example.com/balancer": "internal"},
            },
            "ingress": {
                "className": "nginx",
                "host": "digits.example.com",
                "path": "/models/digits",
                "tls": {"secretName": "digits-tls"},
                "maxBodyBytes": 1048576,
                "annotations": {"example.com/rewrite": "none"},
            },
        },
        "traffic": {
            "requestTimeoutSeconds": 60,
            "maxRequestBytes": 1048576,
            "maxConcurrency": 64,
            "auth": {"apiKeysSecretRef": {"name": "digits-keys"}},
            "tls": {"secretName": "digits-internal-tls"},
        },
        "rollout": {
            "strategy": "Rolling",
            "surgeTimeoutSeconds": 30,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 3,
            "rollbackTo": "digits-0123456789",
        },
        "podTemplate": {
            "labels": {"team": "vision", "example.com/cost-centre": "42"},
            "annotations": {"example.com/scrape": "true"},
            "nodeSelector": {"accelerator": "a100"},
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
                        ]
                    },
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}
                    ],
                },
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "labelSelector": {
                                "matchLabels": {"noisy": "true"},
                                "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}],
                            },
                            "topologyKey": "kubernetes.io/hostname",
                        }
                    ]
                },
            },
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
            ],
            "topologySpreadConstraints": [
                {
                    "topologyKey": "topology.kubernetes.io/zone",
                    "maxSkew": 2,
                    "whenUnsatisfiable": "DoNotSchedule",
                    "minDomains": 2,
                }
            ],
            "priorityClassName": "serving",
            "runtimeClassName": "nvidia",
            "schedulerName": "volcano",
            "serviceAccountName": "models-reader",
            "volumes": [
                {"name": "authorities", "configMap": {"name": "authorities", "optional": True}},
                {"name": "token", "secret": {"secretName": "token", "optional": False}},
                {"name": "lookup", "persistentVolumeClaim": {"claimName": "lookup", "readOnly": True}},
                {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
            ],
            "volumeMounts": [
                {"name": "authorities", "mountPath": "/etc/authorities", "readOnly": True},
                {"name": "lookup", "mountPath": "/lookup", "subPath": "v1", "readOnly": True},
            ],
            "securityContext": {
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "supplementalGroups": [2000, 2001],
            },
        },
        "disruption": {"maxUnavailable": "50%"},
        "networkPolicy": {
            "clients": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}},
                {"podSelector": {"matchExpressions": [{"key": "role", "operator": "In", "values": ["client"]}]}},
            ],
            "monitors": [{"namespaceSelector": {"matchLabels": {"team": "ops"}}, "podSelector": {}}],
        },
        "paused": True,
    },
    artifact={
        "digest": DIGEST,
        "format": "TorchScript",
        "credentials": {"secretRef": {"name": "store"}},
        "stallTimeoutSeconds": 30,
        "cache": {"sizeLimit": "20Gi"},
    },
)
