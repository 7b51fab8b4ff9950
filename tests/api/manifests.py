"""What the API server must take and what it must refuse, as data: each rule of the CRD from both sides.

A refusal is judged by the words a user reads: the field's path and the words that say what is wrong and what to do.
"""

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


def _env(*variables: Manifest) -> Manifest:
    return {"runtime": {"env": list(variables)}}


def _custom(spec: Manifest | None = None, **fields: Any) -> Manifest:
    """A server of another kind."""
    runtime = {"engine": "Custom", "image": "registry.example.com/app:1"} | fields
    return {"runtime": {name: value for name, value in runtime.items() if value is not None}} | (spec or {})


def _ingress(**fields: Any) -> Manifest:
    return {"exposure": {"ingress": fields}}


def _gateway(*parents: Manifest, **fields: Any) -> Manifest:
    return {"exposure": {"gateway": {"parentRefs": list(parents or [{"name": "edge"}])} | fields}}


def _warmup(*inputs: Manifest) -> Manifest:
    return {"runtime": {"warmup": {"samples": [{"inputs": list(inputs)}]}}}


def _batching(**fields: Any) -> Manifest:
    return {"batching": fields}


def _sla(**fields: Any) -> Manifest:
    return {"sla": fields}


def _service(**fields: Any) -> Manifest:
    return {"exposure": {"service": fields}}


def _pods(**fields: Any) -> Manifest:
    return {"podTemplate": fields}


def _scaler(**fields: Any) -> Manifest:
    return {"autoscaling": {"strategy": "External"} | fields}


def _resources(**fields: Any) -> Manifest:
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

ACCEPTED: Final = (
    Accepted("the least", manifest()),
    Accepted("every field", EVERY_FIELD),
    Accepted("the longest name", manifest(name="a" * 52)),
    Accepted("a name with digits and hyphens", manifest(name="digits-v2")),
    Accepted("an https URI", manifest(artifact={"uri": "https://models.example.com/digits/1/model.pt"})),
    Accepted("an http URI with a port and a query", manifest(artifact={"uri": "http://10.0.0.1:9000/m.pt?version=3"})),
    Accepted("an @ in the path", manifest(artifact={"uri": "s3://models/team@example/digits.pt"})),
    Accepted("a file of the image", manifest(artifact={"uri": "file:///models/digits.pt"})),
    Accepted("nothing served for now", manifest({"replicas": 0})),
    Accepted("quantities of every form", manifest(_resources(requests={"cpu": 1, "memory": "1.5Gi"}))),
    Accepted("a quantity with an exponent", manifest(_resources(requests={"memory": "1e9"}))),
    Accepted("a quantity that begins with a point", manifest(_resources(requests={"cpu": ".5"}))),
    Accepted("a request equal to its limit", manifest(_resources(requests={"cpu": "1000m"}, limits={"cpu": 1}))),
    Accepted("a request without a limit", manifest(_resources(requests={"cpu": 4}, limits={"memory": "1Gi"}))),
    Accepted("huge pages", manifest(_resources(limits={"hugepages-2Mi": "64Mi", "memory": "1Gi"}))),
    Accepted("another extended resource", manifest(_resources(gpu={"count": 1}, limits={"rdma/hca": 1}))),
    Accepted("GPUs of another vendor", manifest(_resources(gpu={"count": 1, "resourceName": "amd.com/gpu"}))),
    Accepted("the root path", manifest(_ingress(path="/"))),
    Accepted("tls with a host", manifest(_ingress(host="a.example.com", tls={"secretName": "tls"}))),
    Accepted("a host without tls", manifest(_ingress(host="localhost"))),
    Accepted("a body as large as the pods take", manifest(_ingress(maxBodyBytes=64 * 1024**2))),
    Accepted(
        "a larger body where the pods take it",
        manifest(_ingress(maxBodyBytes=2**30) | {"traffic": {"maxRequestBytes": 2**30}}),
    ),
    Accepted("a route of the Gateway API", manifest(_gateway())),
    Accepted(
        "every field of a Gateway's route",
        manifest(
            _gateway(
                {"name": "edge", "namespace": "infra", "sectionName": "https", "port": 443},
                hostnames=["digits.example.com", "numbers.example.com"],
                path="/models/digits",
            )
        ),
    ),
    Accepted(
        "two listeners of one Gateway and two Gateways of one name",
        manifest(
            _gateway(
                {"name": "edge", "sectionName": "http"},
                {"name": "edge", "sectionName": "https"},
                {"name": "edge", "namespace": "infra"},
            )
        ),
    ),
    Accepted("a path with dots", manifest(_ingress(path="/v1.2/.well-known/..models"))),
    Accepted("a variable that is empty", manifest(_env({"name": "EMPTY", "value": ""}))),
    Accepted("a variable's name with dots", manifest(_env({"name": "spring.level", "value": "x"}))),
    Accepted("an image of a local registry", manifest({"runtime": {"image": "localhost:5000/runtime"}})),
    Accepted("a target and nothing else about batches", manifest(_sla(p99Milliseconds=100))),
    Accepted("equal targets", manifest(_sla(p50Milliseconds=100, p95Milliseconds=100, p99Milliseconds=100))),
    Accepted("a target as long as the timeout", manifest(_sla(p95Milliseconds=30_000))),
    Accepted(
        "a target within a longer timeout",
        manifest(_sla(p50Milliseconds=300_000) | {"traffic": {"requestTimeoutSeconds": 300}}),
    ),
    Accepted("batches without a target", manifest(_batching(maxBatchSize=8))),
    Accepted("no batches", manifest(_batching(mode="Disabled", maxQueueLength=4))),
    Accepted("one size", manifest(_batching(allowedBatchSizes=[32]))),
    Accepted(
        "sizes in any order up to the largest batch", manifest(_batching(maxBatchSize=8, allowedBatchSizes=[8, 2, 4]))
    ),
    Accepted("a static batch without a window", manifest(_batching(mode="Static", maxBatchSize=16))),
    Accepted("efficiency with a target", manifest(_batching(objective="Efficiency") | _sla(p95Milliseconds=200))),
    Accepted("efficiency with a wait", manifest(_batching(objective="Efficiency", maxQueueDelayMilliseconds=20))),
    Accepted(
        "a wait shorter than the target", manifest(_batching(maxQueueDelayMilliseconds=9) | _sla(p50Milliseconds=10))
    ),
    Accepted(
        "the server's own process", manifest({"runtime": {"execution": {"isolation": "InProcess", "threads": 1}}})
    ),
    Accepted("no tuning", manifest({"runtime": {"tuning": {"mode": "Disabled"}}})),
    Accepted("a Python handler", manifest(artifact={"format": "Python"})),
    Accepted("gRPC beside HTTP", manifest(_service(grpcPort=81))),
    Accepted("a folder for files", manifest(_pods(volumes=[{"name": "scratch", "emptyDir": {}}]))),
    Accepted("every taint tolerated", manifest(_pods(tolerations=[{"operator": "Exists"}]))),
    Accepted("a label without a value", manifest(_pods(labels={"canary": ""}))),
    Accepted(
        "a mount beside the operator's own",
        manifest(
            _pods(
                volumes=[{"name": "a", "emptyDir": {}}],
                volumeMounts=[{"name": "a", "mountPath": "/etc/slipway-extra"}, {"name": "a", "mountPath": "/tmpfs"}],
            )
        ),
    ),
    Accepted("a scaler without bounds", manifest({"autoscaling": {"strategy": "External"}})),
    Accepted("a fixed number", manifest({"replicas": 2, "autoscaling": {"strategy": "None"}})),
    Accepted("equal bounds", manifest(_scaler(minReplicas=2, maxReplicas=2))),
    Accepted("fewer pods than the lower bound", manifest(_scaler(minReplicas=2) | {"replicas": 0})),
    Accepted("more pods than the upper bound", manifest(_scaler(maxReplicas=2) | {"replicas": 9})),
    Accepted("a rollback by number", manifest({"rollout": {"rollbackTo": 3}})),
    Accepted("a rollback by a number in quotes", manifest({"rollout": {"rollbackTo": "12"}})),
    Accepted("shared memory without a limit of memory", manifest(_resources(sharedMemory="8Gi"))),
    Accepted("any container that speaks HTTP", manifest(_custom())),
    Accepted(
        "a container with a contract of its own",
        manifest(
            _custom(
                container={
                    "port": 3000,
                    "command": ["python", "-m", "app"],
                    "readinessPath": "/health?deep=1",
                    "livenessPath": "/live",
                    "metricsPath": "/metrics",
                    "writableRootFilesystem": True,
                },
                args=["--port", "3000"],
            )
        ),
    ),
    Accepted("a file of a custom image", manifest(_custom(), artifact={"uri": "file:///models/digits.pt"})),
    Accepted("two pods away at a time", manifest({"disruption": {"maxUnavailable": 2}})),
    Accepted("all pods away at a time", manifest({"disruption": {"maxUnavailable": "100%"}})),
    Accepted("the own namespace alone", manifest({"networkPolicy": {}})),
    Accepted("two inputs", manifest(_warmup({"name": "ids", "shape": [1, 128]}, {"name": "mask", "shape": [1, 128]}))),
)

TLS: Final = {"secretName": "tls"}

GATEWAY_REFUSED: Final = (
    Refused(
        "a Gateway's route beside an Ingress",
        manifest({"exposure": {"ingress": {}, "gateway": {"parentRefs": [{"name": "edge"}]}}}),
        "spec.exposure.gateway",
        ("beside spec.exposure.ingress", "one of the two", "Remove"),
    ),
    Refused(
        "no Gateway",
        manifest({"exposure": {"gateway": {"parentRefs": []}}}),
        "spec.exposure.gateway.parentRefs",
        ("at least 1",),
    ),
    Refused(
        "one Gateway twice",
        manifest(_gateway({"name": "edge"}, {"name": "edge"})),
        "spec.exposure.gateway.parentRefs",
        ("twice", "each once", "sectionName"),
    ),
    Refused(
        "a Gateway and one of its listeners",
        manifest(_gateway({"name": "edge", "namespace": "a"}, {"name": "edge", "namespace": "a", "sectionName": "b"})),
        "spec.exposure.gateway.parentRefs",
        ("twice", "sectionName"),
    ),
    Refused(
        "a namespace that is none",
        manifest(_gateway({"name": "edge", "namespace": "Infra"})),
        "spec.exposure.gateway.parentRefs[0].namespace",
        ("'Infra'", "name of a namespace", "Correct"),
    ),
    Refused(
        "a host name with a star",
        manifest(_gateway(hostnames=["*.example.com"])),
        "spec.exposure.gateway.hostnames[0]",
        ("'*.example.com'", "host name", "Correct"),
    ),
    Refused(
        "a NetworkPolicy that keeps the Gateway out",
        manifest(_gateway() | {"networkPolicy": {}}),
        "spec.networkPolicy.clients",
        ("Gateway controller", "Set"),
    ),
    Refused(
        "a larger body than the pods take",
        manifest(_ingress(maxBodyBytes=64 * 1024**2 + 1)),
        "spec.exposure.ingress.maxBodyBytes",
        ("67108865", "at most", "67108864", "spec.traffic.maxRequestBytes"),
    ),
)
"""Of the route from outside."""

REFUSED: Final = (
    *GATEWAY_REFUSED,
    # runtime.engine
    Refused(
        "Custom without an image", manifest(_custom(image=None)), "spec.runtime.image", ("engine Custom", "Set it")
    ),
    Refused(
        "a container contract for Slipway",
        manifest({"runtime": {"container": {"port": 3000}}}),
        "spec.runtime.container",
        ("engine is Slipway", "Remove it"),
    ),
    Refused(
        "warm-up of a custom server",
        manifest(_custom(warmup={"samples": [{"inputs": [{"name": "a", "shape": [1]}]}]})),
        "spec.runtime.warmup",
        ("engine is Custom", "warms itself up"),
    ),
    Refused(
        "workers of a custom server", manifest(_custom(execution={})), "spec.runtime.execution", ("own processes",)
    ),
    Refused("tuning of a custom server", manifest(_custom(tuning={})), "spec.runtime.tuning", ("in its own way",)),
    Refused("batches of a custom server", manifest(_custom({"batching": {}})), "spec.batching", ("forms batches",)),
    Refused(
        "a target of a custom server",
        manifest(_custom({"sla": {"p99Milliseconds": 100}})),
        "spec.sla",
        ("latency targets", "Remove it"),
    ),
    Refused(
        "keys of a custom server",
        manifest(_custom({"traffic": {"auth": {"apiKeysSecretRef": {"name": "keys"}}}})),
        "spec.traffic.auth",
        ("its own clients",),
    ),
    Refused(
        "TLS of a custom server",
        manifest(_custom({"traffic": {"tls": {"secretName": "pair"}}})),
        "spec.traffic.tls",
        ("plain HTTP",),
    ),
    Refused(
        "gRPC of a custom server",
        manifest(_custom(_service(grpcPort=9000))),
        "spec.exposure.service.grpcPort",
        ("over HTTP",),
    ),
    Refused(
        "a format for a custom server",
        manifest(_custom(), artifact={"format": "TorchScript"}),
        "spec.artifact.format",
        ("loads the file",),
    ),
    Refused(
        "a digest of a file in a custom image",
        manifest(_custom(), artifact={"uri": "file:///digits.pt", "digest": DIGEST}),
        "spec.artifact.digest",
        ("file of the image", "pin the image"),
    ),
    Refused(
        "a port for root",
        manifest(_custom(container={"port": 80})),
        "spec.runtime.container.port",
        ("80", "1024"),
    ),
    Refused(
        "a probe path without a slash",
        manifest(_custom(container={"readinessPath": "healthz"})),
        "spec.runtime.container.readinessPath",
        ("'healthz'", "begins with /"),
    ),
    Refused(
        "a flag that the operator sets",
        manifest({"runtime": {"args": ["--log-format=text", "--port=1"]}}),
        "spec.runtime.args",
        ("'--port=1'", "Remove it"),
    ),
    Refused(
        "variables from two objects",
        manifest({"runtime": {"envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]}}),
        "spec.runtime.envFrom[0]",
        ("exactly one of secretRef and configMapRef",),
    ),
    # rollout
    Refused(
        "a rollback to nothing",
        manifest({"rollout": {"rollbackTo": 0}}),
        "spec.rollout.rollbackTo",
        ("'0'", "the number or the name of a revision", "from 1"),
    ),
    Refused(
        "a rollback to what is no name",
        manifest({"rollout": {"rollbackTo": "Digits_1"}}),
        "spec.rollout.rollbackTo",
        ("'Digits_1'", "status.revisions"),
    ),
    Refused(
        "more shared memory than memory",
        manifest(_resources(sharedMemory="2Gi", limits={"memory": "1Gi"})),
        "spec.resources.sharedMemory",
        ("'2Gi'", "at most the limit of memory", "Lower it"),
    ),
    # The object's name.
    Refused("a long name", manifest(name="a" * 53), "metadata.name", ("a" * 53, "at most 52", "shorter name")),
    Refused("a dot in the name", manifest(name="a.b"), "metadata.name", ("'a.b'", "without dots", "Choose")),
    Refused(
        "a name that begins with a digit", manifest(name="1b"), "metadata.name", ("'1b'", "beginning with a letter")
    ),
    # artifact
    Refused(
        "a scheme nobody fetches",
        manifest(artifact={"uri": "gs://models/digits.pt"}),
        "spec.artifact.uri",
        ("'gs://models/digits.pt'", "expected s3://BUCKET/KEY", "Write the URI"),
    ),
    Refused(
        "no scheme",
        manifest(artifact={"uri": "models/digits.pt"}),
        "spec.artifact.uri",
        ("'models/digits.pt'", "expected s3://BUCKET/KEY"),
    ),
    Refused(
        "a bucket without a key",
        manifest(artifact={"uri": "s3://models/"}),
        "spec.artifact.uri",
        ("'s3://models/'", "s3://BUCKET/KEY"),
    ),
    Refused(
        "a scheme in capitals",
        manifest(artifact={"uri": "S3://models/digits.pt"}),
        "spec.artifact.uri",
        ("'S3://models/digits.pt'", "s3://BUCKET/KEY"),
    ),
    Refused(
        "a relative file",
        manifest(artifact={"uri": "file://digits.pt"}),
        "spec.artifact.uri",
        ("'file://digits.pt'", "file:///PATH"),
    ),
    Refused(
        "a password in the URI",
        manifest(artifact={"uri": "https://reader:tiger@models.example.com/digits.pt"}),
        "spec.artifact.uri",
        ("user name or a password", "spec.artifact.credentials.secretRef.name"),
        hidden="tiger",
    ),
    Refused(
        "a password in an s3 URI",
        manifest(artifact={"uri": "s3://reader:tiger@models/digits.pt"}),
        "spec.artifact.uri",
        ("user name or a password", "Put them into a Secret"),
        hidden="tiger",
    ),
    Refused(
        "a digest without its algorithm",
        manifest(artifact={"digest": "0123456789abcdef" * 4}),
        "spec.artifact.digest",
        ("'0123456789abcdef", "sha256: and 64", "sha256sum FILE"),
    ),
    Refused(
        "a digest in capitals",
        manifest(artifact={"digest": DIGEST.upper()}),
        "spec.artifact.digest",
        ("'SHA256:", "lower-case hexadecimal"),
    ),
    Refused(
        "a format that does not exist",
        manifest(artifact={"format": "Torchscript"}),
        "spec.artifact.format",
        ('"Torchscript"', 'supported values: "Auto", "TorchScript"'),
    ),
    Refused(
        "a Secret's name in capitals",
        manifest(artifact={"credentials": {"secretRef": {"name": "My_Store"}}}),
        "spec.artifact.credentials.secretRef.name",
        ("'My_Store'", "lower-case letters", "Correct the name"),
    ),
    Refused(
        "a Secret's name in the place of the reference",
        manifest(artifact={"credentials": {"secretRef": "store"}}),
        "spec.artifact.credentials.secretRef",
        ("must be of type object",),
    ),
    Refused(
        "a stall timeout of zero",
        manifest(artifact={"stallTimeoutSeconds": 0}),
        "spec.artifact.stallTimeoutSeconds",
        ("0", "greater than or equal to 1"),
    ),
    # runtime
    Refused(
        "an image with a scheme",
        manifest({"runtime": {"image": "https://ghcr.io/team/runtime:1"}}),
        "spec.runtime.image",
        ("'https://ghcr.io/team/runtime:1'", "[REGISTRY/]NAME[:TAG]", "Remove spaces and a scheme"),
    ),
    Refused(
        "an image with a space",
        manifest({"runtime": {"image": "runtime: 1"}}),
        "spec.runtime.image",
        ("'runtime: 1'", "Remove spaces"),
    ),
    Refused(
        "a pull policy that does not exist",
        manifest({"runtime": {"imagePullPolicy": "always"}}),
        "spec.runtime.imagePullPolicy",
        ('"always"', 'supported values: "Always", "IfNotPresent", "Never"'),
    ),
    Refused(
        "a variable twice",
        manifest(_env({"name": "LEVEL", "value": "a"}, {"name": "LEVEL", "value": "b"})),
        "spec.runtime.env[1]",
        ("Duplicate value", "LEVEL"),
    ),
    Refused(
        "a variable with value and valueFrom",
        manifest(_env({"name": "LEVEL", "value": "a", "valueFrom": SECRET_KEY})),
        "spec.runtime.env[0]",
        ("'LEVEL'", "both value and valueFrom", "Remove one"),
    ),
    Refused(
        "a variable from nowhere",
        manifest(_env({"name": "LEVEL", "valueFrom": {}})),
        "spec.runtime.env[0].valueFrom",
        ("exactly one of secretKeyRef, configMapKeyRef and fieldRef", "add one"),
    ),
    Refused(
        "a variable from two places",
        manifest(_env({"name": "LEVEL", "valueFrom": SECRET_KEY | CONFIG_KEY})),
        "spec.runtime.env[0].valueFrom",
        ("exactly one of", "Remove the others"),
    ),
    Refused(
        "a space in a variable's name",
        manifest(_env({"name": "LOG LEVEL", "value": "a"})),
        "spec.runtime.env[0].name",
        ("'LOG LEVEL'", "expected letters, digits", "Rename"),
    ),
    Refused(
        "a variable's name that begins with a digit",
        manifest(_env({"name": "1LEVEL", "value": "a"})),
        "spec.runtime.env[0].name",
        ("'1LEVEL'", "not beginning with a digit"),
    ),
    Refused(
        "a number in the place of a text",
        manifest(_env({"name": "THREADS", "value": 4})),
        "spec.runtime.env[0].value",
        ("must be of type string",),
    ),
    Refused(
        "a key with a slash",
        manifest(_env({"name": "A", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "a/b"}}})),
        "spec.runtime.env[0].valueFrom.secretKeyRef.key",
        ("'a/b'", "a key of the object's data", "kubectl describe"),
    ),
    Refused(
        "a warm-up without samples",
        manifest({"runtime": {"warmup": {"samples": []}}}),
        "spec.runtime.warmup.samples",
        ("at least 1 items",),
    ),
    Refused(
        "an input twice",
        manifest(_warmup({"name": "ids", "shape": [1]}, {"name": "ids", "shape": [1]})),
        "spec.runtime.warmup.samples[0].inputs[1]",
        ("Duplicate value", "ids"),
    ),
    Refused(
        "a size of zero",
        manifest(_warmup({"name": "ids", "shape": [0, 8]})),
        "spec.runtime.warmup.samples[0].inputs[0].shape[0]",
        ("got 0", "expected -1 or at least 1", "Write -1"),
    ),
    Refused(
        "a size below -1",
        manifest(_warmup({"name": "ids", "shape": [-2]})),
        "spec.runtime.warmup.samples[0].inputs[0].shape[0]",
        ("-2", "greater than or equal to -1"),
    ),
    Refused(
        "a datatype of torch",
        manifest(_warmup({"name": "ids", "shape": [1], "datatype": "float32"})),
        "spec.runtime.warmup.samples[0].inputs[0].datatype",
        ('"float32"', '"FP32"'),
    ),
    # resources
    Refused(
        "a GPU resource without a domain",
        manifest(_resources(gpu={"count": 1, "resourceName": "gpu"})),
        "spec.resources.gpu.resourceName",
        ("'gpu'", "DOMAIN/NAME such as nvidia.com/gpu", "kubectl describe nodes"),
    ),
    Refused(
        "a negative number of GPUs",
        manifest(_resources(gpu={"count": -1})),
        "spec.resources.gpu.count",
        ("-1", "greater than or equal to 0"),
    ),
    Refused(
        "half a GPU",
        manifest(_resources(gpu={"count": 0.5})),
        "spec.resources.gpu.count",
        ("must be of type int32",),
    ),
    Refused(
        "GPUs in the limits as well",
        manifest(_resources(gpu={"count": 1}, limits={"nvidia.com/gpu": 1})),
        "spec.resources.limits",
        ("'nvidia.com/gpu'", "gpu.count sets already", "Remove it from limits"),
    ),
    Refused(
        "GPUs in the requests as well",
        manifest(_resources(gpu={"count": 1}, requests={"nvidia.com/gpu": 1})),
        "spec.resources.requests",
        ("'nvidia.com/gpu'", "gpu.count sets already", "Remove it from requests"),
    ),
    Refused(
        "more requested than allowed",
        manifest(_resources(requests={"cpu": 1, "memory": "4Gi"}, limits={"cpu": 1, "memory": "4000Mi"})),
        "spec.resources.requests",
        ("memory '4Gi'", "at most the limit '4000Mi'", "Lower the request or raise the limit"),
    ),
    Refused(
        "more requested than allowed, as a number",
        manifest(_resources(requests={"cpu": 2}, limits={"cpu": "500m"})),
        "spec.resources.requests",
        ("cpu '2'", "at most the limit '500m'"),
    ),
    Refused(
        "a unit that does not exist",
        manifest(_resources(requests={"memory": "4GB"})),
        "spec.resources.requests[memory]",
        ("'4GB'", "500m, 2, 1.5 or 4Gi", "at most one unit of"),
    ),
    Refused(
        "a negative quantity",
        manifest(_resources(limits={"cpu": -1})),
        "spec.resources.limits[cpu]",
        ("'-1'", "expected a quantity"),
    ),
    Refused(
        "a resource that does not exist",
        manifest(_resources(limits={"mem": "4Gi"})),
        "spec.resources.limits",
        ("'mem'", "expected cpu, memory, ephemeral-storage", "Correct the name"),
    ),
    # replicas
    Refused(
        "a negative number of pods", manifest({"replicas": -1}), "spec.replicas", ("-1", "greater than or equal to 0")
    ),
    Refused("too many pods", manifest({"replicas": 1001}), "spec.replicas", ("1001", "less than or equal to 1000")),
    Refused("a number in quotes", manifest({"replicas": "2"}), "spec.replicas", ("must be of type integer",)),
    # autoscaling
    Refused(
        "bounds without a word on who scales",
        manifest({"autoscaling": {"minReplicas": 2}}),
        "spec.autoscaling.strategy",
        ("Required value",),
    ),
    Refused(
        "a strategy that does not exist",
        manifest({"autoscaling": {"strategy": "SLA"}}),
        "spec.autoscaling.strategy",
        ('"SLA"', '"External", "None"'),
    ),
    Refused(
        "a lower bound where nobody scales",
        manifest({"autoscaling": {"strategy": "None", "minReplicas": 12}}),
        "spec.autoscaling.minReplicas",
        ("got 12", "strategy is None", "set strategy to External"),
    ),
    Refused(
        "an upper bound where nobody scales",
        manifest({"autoscaling": {"strategy": "None", "maxReplicas": 3}}),
        "spec.autoscaling.maxReplicas",
        ("got 3", "strategy is None", "Remove it"),
    ),
    Refused(
        "a lower bound above the upper one",
        manifest(_scaler(minReplicas=10, maxReplicas=9)),
        "spec.autoscaling.minReplicas",
        ("got 10", "at most maxReplicas", "raise maxReplicas"),
    ),
    Refused(
        "an upper bound of nothing",
        manifest(_scaler(maxReplicas=0)),
        "spec.autoscaling.maxReplicas",
        ("0", "greater than or equal to 1"),
    ),
    # exposure
    Refused(
        "a port out of range",
        manifest({"exposure": {"service": {"port": 80800}}}),
        "spec.exposure.service.port",
        ("80800", "less than or equal to 65535"),
    ),
    Refused(
        "a kind of Service that does not exist",
        manifest({"exposure": {"service": {"type": "Loadbalancer"}}}),
        "spec.exposure.service.type",
        ('"Loadbalancer"', '"LoadBalancer"'),
    ),
    Refused(
        "tls without a host", manifest(_ingress(tls=TLS)), "spec.exposure.ingress.host", ("Required value", "Set spec")
    ),
    Refused(
        "a URL in the place of a host",
        manifest(_ingress(host="https://digits.example.com")),
        "spec.exposure.ingress.host",
        ("'https://digits.example.com'", "expected a host name such as", "without scheme"),
    ),
    Refused(
        "a host with a port",
        manifest(_ingress(host="digits.example.com:8080")),
        "spec.exposure.ingress.host",
        ("'digits.example.com:8080'", "port"),
    ),
    Refused(
        "a relative path",
        manifest(_ingress(path="models")),
        "spec.exposure.ingress.path",
        ("'models'", "expected / or segments such as /models/digits"),
    ),
    Refused(
        "a path that ends with a slash",
        manifest(_ingress(path="/models/")),
        "spec.exposure.ingress.path",
        ("'/models/'", "without a slash at the end"),
    ),
    Refused(
        "a path with a pattern",
        manifest(_ingress(path="/models(/|$)(.*)")),
        "spec.exposure.ingress.path",
        ("'/models(/|$)(.*)'", "Remove what is not a letter"),
    ),
    Refused(
        "a path that goes up",
        manifest(_ingress(path="/models/../admin")),
        "spec.exposure.ingress.path",
        ("'/models/../admin'", "segments . and ..", "Write the path"),
    ),
    Refused(
        "an IngressClass in capitals",
        manifest(_ingress(className="Nginx")),
        "spec.exposure.ingress.className",
        ("'Nginx'", "lower-case letters"),
    ),
    Refused(
        "gRPC on HTTP's port",
        manifest(_service(port=9000, grpcPort=9000)),
        "spec.exposure.service.grpcPort",
        ("9000", "another port than spec.exposure.service.port", "Choose another"),
    ),
    # batching
    Refused(
        "a batch of no rows",
        manifest(_batching(maxBatchSize=0)),
        "spec.batching.maxBatchSize",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a mode of the model server's",
        manifest(_batching(mode="Dynamic")),
        "spec.batching.mode",
        ('"Dynamic"', '"Auto", "Static", "Disabled"'),
    ),
    Refused(
        "a batch size where there are no batches",
        manifest(_batching(mode="Disabled", maxBatchSize=8)),
        "spec.batching.maxBatchSize",
        ("mode is Disabled", "Remove it", "Auto or Static"),
    ),
    Refused(
        "a wait where there are no batches",
        manifest(_batching(mode="Disabled", maxQueueDelayMilliseconds=5)),
        "spec.batching.maxQueueDelayMilliseconds",
        ("mode is Disabled", "Remove it"),
    ),
    Refused(
        "sizes where there are no batches",
        manifest(_batching(mode="Disabled", allowedBatchSizes=[1, 2])),
        "spec.batching.allowedBatchSizes",
        ("mode is Disabled", "Remove it"),
    ),
    Refused(
        "static batches of no size",
        manifest(_batching(mode="Static", maxQueueDelayMilliseconds=5)),
        "spec.batching.maxBatchSize",
        ("number of rows where mode is Static", "Set spec.batching.maxBatchSize"),
    ),
    Refused(
        "efficiency with static batches",
        manifest(_batching(mode="Static", maxBatchSize=8, objective="Efficiency", maxQueueDelayMilliseconds=5)),
        "spec.batching.objective",
        ("'Efficiency'", "expected Latency where mode is Static", "set mode to Auto"),
    ),
    Refused(
        "efficiency without a limit to the wait",
        manifest(_batching(objective="Efficiency")),
        "spec.batching.objective",
        ("'Efficiency'", "how long it may wait", "spec.sla"),
    ),
    Refused(
        "a size twice",
        manifest(_batching(allowedBatchSizes=[4, 8, 4])),
        "spec.batching.allowedBatchSizes[2]",
        ("Duplicate value: 4",),
    ),
    Refused(
        "a size above the largest batch",
        manifest(_batching(maxBatchSize=8, allowedBatchSizes=[4, 16])),
        "spec.batching.allowedBatchSizes",
        ("lists 16", "at most maxBatchSize", "raise maxBatchSize"),
    ),
    Refused(
        "a queue without a place",
        manifest(_batching(maxQueueLength=0)),
        "spec.batching.maxQueueLength",
        ("0", "greater than or equal to 1"),
    ),
    # sla
    Refused(
        "no target",
        manifest(_sla(onOverload="Queue")),
        "spec.sla",
        ("got no target", "p50Milliseconds, p95Milliseconds, p99Milliseconds", "Set one"),
    ),
    Refused(
        "a target of zero",
        manifest(_sla(p95Milliseconds=0)),
        "spec.sla.p95Milliseconds",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a middle above the tail",
        manifest(_sla(p50Milliseconds=200, p95Milliseconds=100)),
        "spec.sla.p50Milliseconds",
        ("got 200", "at most p95Milliseconds", "Lower it"),
    ),
    Refused(
        "a 95th percentile above the 99th",
        manifest(_sla(p95Milliseconds=200, p99Milliseconds=100)),
        "spec.sla.p95Milliseconds",
        ("got 200", "at most p99Milliseconds", "raise p99Milliseconds"),
    ),
    Refused(
        "a middle above the far tail",
        manifest(_sla(p50Milliseconds=200, p99Milliseconds=100)),
        "spec.sla.p50Milliseconds",
        ("got 200", "at most p99Milliseconds"),
    ),
    Refused(
        "a target beyond the default timeout",
        manifest(_sla(p99Milliseconds=30_001)),
        "spec.sla.p99Milliseconds",
        ("got 30001", "1000 times spec.traffic.requestTimeoutSeconds", "raise the timeout"),
    ),
    Refused(
        "a target beyond the given timeout",
        manifest(_sla(p95Milliseconds=6000) | {"traffic": {"requestTimeoutSeconds": 5}}),
        "spec.sla.p95Milliseconds",
        ("got 6000", "after which a request is answered 504", "Lower the target"),
    ),
    Refused(
        "a middle beyond the given timeout",
        manifest(_sla(p50Milliseconds=1001) | {"traffic": {"requestTimeoutSeconds": 1}}),
        "spec.sla.p50Milliseconds",
        ("got 1001", "spec.traffic.requestTimeoutSeconds"),
    ),
    Refused(
        "a wait as long as the target",
        manifest(_sla(p50Milliseconds=20, p99Milliseconds=100) | _batching(maxQueueDelayMilliseconds=20)),
        "spec.batching.maxQueueDelayMilliseconds",
        ("got 20", "less than each target of spec.sla", "Lower it"),
    ),
    Refused(
        "an answer to overload that does not exist",
        manifest(_sla(p99Milliseconds=100, onOverload="Drop")),
        "spec.sla.onOverload",
        ('"Drop"', '"Reject", "Queue"'),
    ),
    # execution, tuning
    Refused(
        "workers where there are none",
        manifest({"runtime": {"execution": {"isolation": "InProcess", "workers": 2}}}),
        "spec.runtime.execution.workers",
        ("got 2", "isolation is InProcess", "set isolation to Worker"),
    ),
    Refused(
        "no thread",
        manifest({"runtime": {"execution": {"threads": 0}}}),
        "spec.runtime.execution.threads",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a precision of torch",
        manifest({"runtime": {"tuning": {"precision": "bfloat16"}}}),
        "spec.runtime.tuning.precision",
        ('"bfloat16"', '"Original", "BF16"'),
    ),
    Refused(
        "a precision without tuning",
        manifest({"runtime": {"tuning": {"mode": "Disabled", "precision": "BF16"}}}),
        "spec.runtime.tuning.precision",
        ("'BF16'", "mode is Disabled", "set mode to Auto"),
    ),
    # disruption
    Refused(
        "a budget that no drain gets past",
        manifest({"disruption": {"maxUnavailable": 0}}),
        "spec.disruption.maxUnavailable",
        ("'0'", "could ever be drained", "Write a number"),
    ),
    Refused(
        "a share without its sign",
        manifest({"disruption": {"maxUnavailable": "25"}}),
        "spec.disruption.maxUnavailable",
        ("'25'", "such as 1 or 25%", "Write a number"),
    ),
    # networkPolicy
    Refused(
        "a peer that is nobody",
        manifest({"networkPolicy": {"clients": [{}]}}),
        "spec.networkPolicy.clients[0]",
        ("neither namespaceSelector nor podSelector", "Set one"),
    ),
    Refused(
        "an Ingress whose controller is kept out",
        manifest(_ingress(host="digits.example.com") | {"networkPolicy": {}}),
        "spec.networkPolicy.clients",
        ("got none", "the pods of the Ingress or Gateway controller", "Set the namespace"),
    ),
    # podTemplate
    Refused(
        "a label of the operator's",
        manifest(_pods(labels={"app.kubernetes.io/instance": "other"})),
        "spec.podTemplate.labels",
        ("'app.kubernetes.io/instance'", "none of the operator's own", "Remove it"),
    ),
    Refused(
        "an annotation of the operator's",
        manifest(_pods(annotations={"slipway.dev/template-hash": "x"})),
        "spec.podTemplate.annotations",
        ("'slipway.dev/template-hash'", "none of the operator's own"),
    ),
    Refused(
        "a label's key with a space",
        manifest(_pods(labels={"my team": "vision"})),
        "spec.podTemplate.labels",
        ("'my team'", "[DOMAIN/]NAME", "Correct the key"),
    ),
    Refused(
        "a label's value with a space",
        manifest(_pods(nodeSelector={"team": "the vision"})),
        "spec.podTemplate.nodeSelector",
        ("'team'", "no label's", "Correct the value"),
    ),
    Refused(
        "a volume of the operator's",
        manifest(_pods(volumes=[{"name": "tmp", "emptyDir": {}}])),
        "spec.podTemplate.volumes[0].name",
        ("'tmp'", "the operator's own", "Choose another"),
    ),
    Refused(
        "a volume's name in capitals",
        manifest(_pods(volumes=[{"name": "Scratch", "emptyDir": {}}])),
        "spec.podTemplate.volumes[0].name",
        ("'Scratch'", "lower-case letters"),
    ),
    Refused(
        "a volume of nothing",
        manifest(_pods(volumes=[{"name": "a"}])),
        "spec.podTemplate.volumes[0]",
        ("volume 'a'", "exactly one of configMap, secret", "add one"),
    ),
    Refused(
        "a volume of two things",
        manifest(_pods(volumes=[{"name": "a", "emptyDir": {}, "secret": {"secretName": "b"}}])),
        "spec.podTemplate.volumes[0]",
        ("volume 'a'", "exactly one of", "Remove the others"),
    ),
    Refused(
        "a mount of no volume",
        manifest(_pods(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "b", "mountPath": "/b"}])),
        "spec.podTemplate.volumeMounts",
        ("a volume that is not there", "spec.podTemplate.volumes", "Correct the name"),
    ),
    Refused(
        "a mount over the operator's own",
        manifest(
            _pods(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "a", "mountPath": "/etc/slipway/x"}])
        ),
        "spec.podTemplate.volumeMounts[0].mountPath",
        ("'/etc/slipway/x'", "outside of the operator's own", "Choose another"),
    ),
    Refused(
        "a mount at a relative path",
        manifest(_pods(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "a", "mountPath": "models"}])),
        "spec.podTemplate.volumeMounts[0].mountPath",
        ("'models'", "absolute path", "Write it from the root"),
    ),
    Refused(
        "root",
        manifest(_pods(securityContext={"runAsUser": 0})),
        "spec.podTemplate.securityContext.runAsUser",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a toleration of a value that only has to exist",
        manifest(_pods(tolerations=[{"key": "gpu", "operator": "Exists", "value": "yes"}])),
        "spec.podTemplate.tolerations[0].value",
        ("'yes'", "none where operator is Exists", "Remove it"),
    ),
    Refused(
        "a toleration without a key",
        manifest(_pods(tolerations=[{"value": "yes"}])),
        "spec.podTemplate.tolerations[0].key",
        ("needs a key where operator is Equal", "Set it"),
    ),
    Refused(
        "a time for a taint that ends no pod",
        manifest(_pods(tolerations=[{"key": "gpu", "effect": "NoSchedule", "tolerationSeconds": 5}])),
        "spec.podTemplate.tolerations[0].tolerationSeconds",
        ("needs the effect NoExecute", "Set effect"),
    ),
    Refused(
        "a number of places that binds nobody",
        manifest(_pods(topologySpreadConstraints=[{"topologyKey": "zone", "minDomains": 2}])),
        "spec.podTemplate.topologySpreadConstraints[0].minDomains",
        ("DoNotSchedule", "Set whenUnsatisfiable"),
    ),
    Refused(
        "two spreads over the same places",
        manifest(_pods(topologySpreadConstraints=[{"topologyKey": "zone"}, {"topologyKey": "zone", "maxSkew": 2}])),
        "spec.podTemplate.topologySpreadConstraints[1]",
        ("Duplicate value", "zone"),
    ),
    # traffic, rollout
    Refused(
        "authentication without keys",
        manifest({"traffic": {"auth": {}}}),
        "spec.traffic.auth.apiKeysSecretRef",
        ("Required value",),
    ),
    Refused(
        "a timeout above an hour",
        manifest({"traffic": {"requestTimeoutSeconds": 3601}}),
        "spec.traffic.requestTimeoutSeconds",
        ("3601", "less than or equal to 3600"),
    ),
    Refused(
        "a body limit of zero",
        manifest({"traffic": {"maxRequestBytes": 0}}),
        "spec.traffic.maxRequestBytes",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a deadline of zero",
        manifest({"rollout": {"progressDeadlineSeconds": 0}}),
        "spec.rollout.progressDeadlineSeconds",
        ("0", "greater than or equal to 1"),
    ),
)


def _without_uri() -> Manifest:
    document = manifest()
    del document["spec"]["artifact"]["uri"]
    return document


def _changed(path: str, old: str, new: str) -> Manifest:
    """The manifest with every field, one key misspelt."""
    document = deepcopy(EVERY_FIELD)
    place = document
    for step in path.split("."):
        place = place[step]
    place[new] = place.pop(old)
    return document


TYPOS: Final = (
    Refused("the URI forgotten", _without_uri(), "spec.artifact.uri", ("Required value",)),
    Refused("a key misspelt", _changed("spec", "replicas", "replica"), "spec.replica", ("unknown field",)),
    Refused("a key of another API", _changed("spec.artifact", "uri", "url"), "spec.artifact.url", ("unknown field",)),
    Refused(
        "a key in snake case",
        _changed("spec.traffic", "maxRequestBytes", "max_request_bytes"),
        "spec.traffic.max_request_bytes",
        ("unknown field",),
    ),
    Refused(
        "a version to come", manifest() | {"apiVersion": "slipway.dev/v1"}, "slipway.dev/v1", ("no matches for kind",)
    ),
    Refused("the kind misspelt", manifest() | {"kind": "Modeldeployment"}, "Modeldeployment", ("no matches for kind",)),
    Refused(
        "a list in the place of an object",
        manifest({"runtime": [{"image": "a"}]}),
        "spec.runtime[0].image",
        ("unknown field",),
    ),
    Refused(
        "an object in the place of a list",
        manifest({"runtime": {"env": {"LEVEL": "debug"}}}),
        "spec.runtime.env.LEVEL",
        ("unknown field",),
    ),
    Refused("a block left empty", manifest({"artifact": None}), "spec.artifact", ("Required value",)),
    Refused(
        "a unit in a number of seconds",
        manifest({"traffic": {"requestTimeoutSeconds": "30s"}}),
        "spec.traffic.requestTimeoutSeconds",
        ("must be of type integer",),
    ),
)
"""Ten mistakes of a first hour, answered by the API server itself; the words are what kubectl prints."""
