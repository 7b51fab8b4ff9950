"""`ModelDeployment` in version v1alpha1: the one source of the CRD, of its reference page and of validation.

A field is here only when the operator and the runtime act on it. Field docstrings are what `kubectl explain` prints.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from slipway_operator.api.cluster import Disruption as Disruption
from slipway_operator.api.cluster import NetworkPolicy as NetworkPolicy
from slipway_operator.api.container import EnvVar as EnvVar
from slipway_operator.api.container import EnvVarSource as EnvVarSource
from slipway_operator.api.container import FieldSelector as FieldSelector
from slipway_operator.api.container import Gpu as Gpu
from slipway_operator.api.container import KeySelector as KeySelector
from slipway_operator.api.container import LocalObjectReference as LocalObjectReference
from slipway_operator.api.container import Resources as Resources
from slipway_operator.api.container import SecretReference as SecretReference
from slipway_operator.api.exposure import BODY_LIMIT_BYTES
from slipway_operator.api.exposure import Authentication as Authentication
from slipway_operator.api.exposure import Exposure as Exposure
from slipway_operator.api.exposure import IngressExposure as IngressExposure
from slipway_operator.api.exposure import IngressTls as IngressTls
from slipway_operator.api.exposure import ServiceExposure as ServiceExposure
from slipway_operator.api.exposure import Traffic as Traffic
from slipway_operator.api.exposure import TrafficTls as TrafficTls
from slipway_operator.api.fields import Quantity
from slipway_operator.api.gateway import GatewayExposure as GatewayExposure
from slipway_operator.api.gateway import ParentReference as ParentReference
from slipway_operator.api.pod_template import PodTemplate as PodTemplate
from slipway_operator.api.reasons import ConditionType
from slipway_operator.api.rollout import Rollout as Rollout
from slipway_operator.api.runtime import CustomContainer as CustomContainer
from slipway_operator.api.runtime import Runtime as Runtime
from slipway_operator.api.runtime import Warmup as Warmup
from slipway_operator.api.runtime import WarmupConfigMap as WarmupConfigMap
from slipway_operator.api.runtime import WarmupInput as WarmupInput
from slipway_operator.api.runtime import WarmupSample as WarmupSample
from slipway_operator.api.scaling import REPLICAS_LIMIT
from slipway_operator.api.scaling import Autoscaling as Autoscaling
from slipway_operator.api.schema import ApiModel, Rule, number, rules
from slipway_operator.api.serving import DELAY_LIMIT_MILLISECONDS, MILLISECONDS_LIMIT, TARGETS
from slipway_operator.api.serving import Batching as Batching
from slipway_operator.api.serving import Execution as Execution
from slipway_operator.api.serving import Sla as Sla
from slipway_operator.api.serving import Tuning as Tuning
from slipway_operator.api.status import Condition as Condition
from slipway_operator.api.status import LastFailure as LastFailure
from slipway_operator.api.status import ModelDeploymentStatus as ModelDeploymentStatus
from slipway_operator.api.status import RevisionSummary as RevisionSummary
from slipway_runtime.contract import Format

GROUP: Final = "slipway.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ModelDeployment"
PLURAL: Final = "modeldeployments"
SINGULAR: Final = "modeldeployment"
SHORT_NAME: Final = "mdep"
CATEGORY: Final = "slipway"

NAME_LIMIT: Final = 52
"""Children carry the object's name; 52 leaves room for what Kubernetes and later revisions append within 63."""


class Credentials(ApiModel):
    """How the runtime proves who it is to the artifact store. The operator never reads the Secret."""

    secret_ref: SecretReference
    """The Secret whose keys become environment variables of the runtime: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL` for s3; `HTTP_BEARER_TOKEN`, or `HTTP_USERNAME` and
    `HTTP_PASSWORD`, for http and https."""


_URI_HOLDS_USER = "^[A-Za-z][-+.A-Za-z0-9]*://[^/]*@"


class ArtifactCache(ApiModel):
    """The folder in which a pod keeps the artifact."""

    size_limit: Quantity | None = None
    """Most that the artifact may take of the node's disk, unpacked. A pod is placed only where so much is free, and is
    evicted when it takes more. No bound when unset."""


class Artifact(ApiModel):
    """What is served: one file, and what must hold before it is loaded."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            # A rule of the object, because the API server prints the value that a rule of the field refuses.
            Rule(
                f"!self.uri.matches('{_URI_HOLDS_USER}')",
                "holds a user name or a password before '@', which everyone could read who can read this object,"
                " expected a URI without. Put them into a Secret and name it in"
                " spec.artifact.credentials.secretRef.name.",
                field_path=".uri",
            )
        )
    )

    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            json_schema_extra=rules(
                Rule(
                    f"self.matches('{_URI_HOLDS_USER}') || "
                    r"self.matches('^(s3://[^/]+/.*[^/]|https?://[^/]+/.*[^/]|file:///.*[^/])$')",
                    "got '{self}', expected s3://BUCKET/KEY, https://HOST/PATH, http://HOST/PATH or file:///PATH."
                    " Write the URI of one file in one of these forms.",
                ),
            ),
        ),
    ]
    """Where the file lies: `s3://BUCKET/KEY`, `https://HOST/PATH`, `http://HOST/PATH`, or `file:///PATH` (a file in the
    image, where the operator allows it)."""

    digest: (
        Annotated[
            str,
            Field(
                max_length=128,
                json_schema_extra=rules(
                    Rule(
                        "self.matches('^sha256:[0-9a-f]{64}$')",
                        "got '{self}', expected sha256: and 64 lower-case hexadecimal digits. Print them with:"
                        " sha256sum FILE",
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """What the file's bytes must hash to (`sha256:` and 64 hexadecimal digits). A file that differs is never loaded."""

    format: Format = Format.AUTO
    """What kind of file it is. Auto finds out from the content; Python is code that is run, and is served only when it
    is asked for by name."""

    credentials: Credentials | None = None
    """Needed when the store does not answer to everyone."""

    cache: ArtifactCache | None = None
    """The folder in which a pod keeps the artifact."""

    stall_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 120
    """A download that receives nothing for this long has failed."""


_TIMEOUT: Final = "(has(self.traffic) ? self.traffic.requestTimeoutSeconds : 30)"
_INGRESS_BODY: Final = "self.exposure.ingress.maxBodyBytes"
_BODY: Final = f"(has(self.traffic) ? self.traffic.maxRequestBytes : {Traffic().max_request_bytes})"
_DELAY: Final = "self.batching.maxQueueDelayMilliseconds"
_LEAST_TARGET: Final = " && ".join(f"(!has(self.sla.{target}) || {_DELAY} < self.sla.{target})" for target in TARGETS)


def _within_timeout(target: str) -> Rule:
    return Rule(
        f"!has(self.sla) || !has(self.sla.{target}) || self.sla.{target} <= {_TIMEOUT} * 1000",
        f"got {{{number(f'self.sla.{target}', MILLISECONDS_LIMIT)}}}, expected at most 1000 times"
        " spec.traffic.requestTimeoutSeconds (30 when unset), after which a request is answered 504. Lower the target"
        " or raise the timeout.",
        field_path=f".sla.{target}",
    )


_CUSTOM: Final = "has(self.runtime) && self.runtime.engine == 'Custom'"
_SLIPWAY_ONLY: Final = {
    ".batching": ("has(self.batching)", "only the Slipway runtime forms batches"),
    ".sla": ("has(self.sla)", "only the Slipway runtime keeps latency targets"),
    ".traffic.auth": ("has(self.traffic) && has(self.traffic.auth)", "the server checks its own clients"),
    ".traffic.maxConcurrency": (
        "has(self.traffic) && has(self.traffic.maxConcurrency)",
        "the server bounds its own work",
    ),
    ".traffic.tls": ("has(self.traffic) && has(self.traffic.tls)", "the server is asked in plain HTTP"),
    ".exposure.service.grpcPort": (
        "has(self.exposure) && has(self.exposure.service) && has(self.exposure.service.grpcPort)",
        "the server is asked over HTTP",
    ),
    ".artifact.format": ("self.artifact.format != 'Auto'", "the server loads the file in its own way"),
}


def _not_with_custom(path: str) -> Rule:
    given, why = _SLIPWAY_ONLY[path]
    return Rule(
        f"!({_CUSTOM}) || !({given})",
        f"is set, expected none where spec.runtime.engine is Custom: {why}. Remove it, or set engine to Slipway.",
        field_path=path,
    )


class ModelDeploymentSpec(ApiModel):
    """What is to be served, and how."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(_not_with_custom(path) for path in _SLIPWAY_ONLY),
            Rule(
                f"!({_CUSTOM}) || !has(self.artifact.digest) || !self.artifact.uri.startsWith('file://')",
                "is set, expected none for a file of the image of engine Custom, which nobody could check. Remove"
                " it, and pin the image by its digest.",
                field_path=".artifact.digest",
            ),
            *(_within_timeout(target) for target in TARGETS),
            Rule(
                f"!has(self.sla) || !has(self.batching) || !has({_DELAY}) || ({_LEAST_TARGET})",
                f"got {{{number(_DELAY, DELAY_LIMIT_MILLISECONDS)}}}, expected less than each target of spec.sla,"
                " because the wait is part of the latency. Lower it, or raise the target.",
                field_path=".batching.maxQueueDelayMilliseconds",
            ),
            Rule(
                "!has(self.networkPolicy) || !has(self.exposure) ||"
                " (!has(self.exposure.ingress) && !has(self.exposure.gateway)) ||"
                " (has(self.networkPolicy.clients) && self.networkPolicy.clients.size() > 0)",
                "got none, expected the pods of the Ingress or Gateway controller, which could not reach the model"
                " otherwise. Set the namespace they run in, for example.",
                field_path=".networkPolicy.clients",
                reason="FieldValueRequired",
            ),
            Rule(
                f"!has(self.exposure) || !has(self.exposure.ingress) || !has({_INGRESS_BODY}) ||"
                f" {_INGRESS_BODY} <= {_BODY}",
                f"got {{{number(_INGRESS_BODY, BODY_LIMIT_BYTES)}}}, expected at most what the pods take, which is"
                f" {{{number(_BODY, BODY_LIMIT_BYTES)}}}. Lower it, or raise spec.traffic.maxRequestBytes.",
                field_path=".exposure.ingress.maxBodyBytes",
            ),
            Rule(
                "!has(self.artifact.cache) || !has(self.artifact.cache.sizeLimit) || !has(self.resources) ||"
                " !has(self.resources.limits) || !('ephemeral-storage' in self.resources.limits) ||"
                " quantity(string(self.artifact.cache.sizeLimit)).compareTo("
                "quantity(string(self.resources.limits['ephemeral-storage']))) <= 0",
                "got '{string(self.artifact.cache.sizeLimit)}', expected at most the limit of ephemeral-storage in"
                " spec.resources.limits, at which the pod is evicted. Lower it, or raise the limit.",
                field_path=".artifact.cache.sizeLimit",
            ),
            Rule(
                f"!has(self.batching) || self.batching.objective != 'Efficiency' || has(self.sla) || has({_DELAY})",
                "got 'Efficiency', needs to know how long it may wait. Set a target in spec.sla or"
                " spec.batching.maxQueueDelayMilliseconds.",
                field_path=".batching.objective",
            ),
        )
    )

    artifact: Artifact
    """What is served."""
    runtime: Runtime | None = None
    """The server image and what it is told."""
    resources: Resources | None = None
    """What each pod asks of its node."""
    batching: Batching | None = None
    """How requests share a batch."""
    sla: Sla | None = None
    """The latency target."""
    replicas: Annotated[int, Field(ge=0, le=REPLICAS_LIMIT)] = 1
    """Number of pods; `kubectl scale` and a HorizontalPodAutoscaler set it too. Leave it out of manifests that are
    applied again and again where one of these decides."""
    autoscaling: Autoscaling | None = None
    """Who sets the number of pods, and within which bounds. `spec.replicas` alone counts when unset."""
    exposure: Exposure | None = None
    """How clients reach the model."""
    traffic: Traffic | None = None
    """Limits on requests, and who may make them."""
    rollout: Rollout | None = None
    """How a change reaches the pods."""
    pod_template: PodTemplate | None = None
    """Additions to the pods."""
    disruption: Disruption | None = None
    """What a drain of nodes may take at a time."""
    network_policy: NetworkPolicy | None = None
    """Who may reach the pods."""
    paused: bool = False
    """True: the operator leaves every child as it is, and what serves goes on serving. It still tells the status; what
    changed meanwhile is carried out when this is false again."""


class ModelDeployment(ApiModel):
    """A model that is served: one artifact, a runtime, its route."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            # The API server has checked by now that the name is a DNS name; it counts these rules' cost as if the name
            # could fill a whole request, which leaves no room for a regular expression.
            Rule(
                f"self.metadata.name.size() <= {NAME_LIMIT}",
                f"got '{{self.metadata.name}}', expected at most {NAME_LIMIT} characters, because pods and Services"
                " carry the name. Choose a shorter name.",
                field_path=".metadata.name",
            ),
            Rule(
                "!self.metadata.name.contains('.') && self.metadata.name >= 'a'",
                "got '{self.metadata.name}', expected lower-case letters, digits and -, beginning with a letter and"
                " without dots, because the Service carries the name. Choose such a name.",
                field_path=".metadata.name",
            ),
        )
    )

    spec: ModelDeploymentSpec
    """What is to be served, and how."""
    # Tools that wait take an object without a status for one that is done.
    status: Annotated[
        ModelDeploymentStatus | None, Field(json_schema_extra={"default": {"observedGeneration": -1}})
    ] = None
    """What the operator has seen."""


def _condition_path(condition: ConditionType, field: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{field}'


def _column(name: str, kind: str, path: str, description: str, **more: int) -> dict[str, Any]:
    return {"name": name, "type": kind, "description": description, "jsonPath": path, **more}


PRINTER_COLUMNS: Final = [
    _column("Ready", "string", _condition_path(ConditionType.READY, "status"), "Whether this generation serves."),
    _column("Replicas", "string", ".status.replicaSummary", "Ready pods of this generation and the number asked for."),
    _column("URL", "string", ".status.url", "Where the model is reached from outside."),
    _column("Revision", "string", ".status.stableRevision", "The revision that every pod served last."),
    _column("GPU", "integer", ".spec.resources.gpu.count", "GPUs per pod."),
    _column("Reason", "string", _condition_path(ConditionType.READY, "reason"), "Why it is ready or not."),
    _column("Age", "date", ".metadata.creationTimestamp", "Time since it was made."),
    _column("Format", "string", ".status.artifact.format", "What kind of file the artifact is.", priority=1),
    _column("Digest", "string", ".status.artifact.digest", "What the artifact hashes to.", priority=1),
    _column("Message", "string", _condition_path(ConditionType.READY, "message"), "The reason in words.", priority=1),
]
"""Columns of `kubectl get`; those of priority 1 appear with `-o wide`."""
