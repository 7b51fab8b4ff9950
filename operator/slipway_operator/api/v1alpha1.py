"""`ModelDeployment` in version v1alpha1: the one source of the CRD, of its reference page and of validation.

A field is here only when the operator and the runtime act on it. Field docstrings are what `kubectl explain` prints.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from slipway_operator.api.reasons import ConditionType
from slipway_operator.api.schema import ApiModel, Rule, list_atomic, list_map, rules
from slipway_runtime.contract import Datatype, Format

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

DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
DnsName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
Quantity = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
        }
    ),
]
ResourceName = Annotated[str, Field(max_length=253)]


class SecretReference(ApiModel):
    """A Secret in the namespace of the ModelDeployment."""

    name: DnsName
    """Name of the Secret."""


class Credentials(ApiModel):
    """How the runtime proves who it is to the artifact store. The operator never reads the Secret."""

    secret_ref: SecretReference
    """The Secret whose keys become environment variables of the runtime: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL` for s3; `HTTP_BEARER_TOKEN`, or `HTTP_USERNAME` and
    `HTTP_PASSWORD`, for http and https."""


class Artifact(ApiModel):
    """What is served: one file, and what must hold before it is loaded."""

    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            json_schema_extra=rules(
                Rule(
                    r"self.matches('^(s3://[^/@]+/.+|https?://[^/]+/.*|file:///.+)$')",
                    '"got \'" + self + "\', expected s3://BUCKET/KEY, https://HOST/PATH, http://HOST/PATH or'
                    ' file:///PATH. Write the URI of one file in one of these forms."',
                ),
                Rule(
                    r"!self.matches('^[a-z0-9]+://[^/]*@')",
                    "\"holds a user name or a password before '@', which would be readable by everyone who can read"
                    " this object. Put them into a Secret and name it in"
                    ' spec.artifact.credentials.secretRef.name."',
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
                max_length=71,
                json_schema_extra=rules(
                    Rule(
                        r"self.matches('^sha256:[0-9a-f]{64}$')",
                        '"got \'" + self + "\', expected sha256: and 64 lower-case hexadecimal digits. Print it with:'
                        ' sha256sum FILE"',
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """What the file's bytes must hash to (`sha256:` and 64 hexadecimal digits). A file that differs is never loaded."""

    format: Format = Format.AUTO
    """What kind of file it is. Auto finds out from the content."""

    credentials: Credentials | None = None
    """Needed when the store does not answer to everyone."""

    stall_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 120
    """A download that receives nothing for this long has failed."""


class KeySelector(ApiModel):
    """One key of a Secret or ConfigMap in the same namespace."""

    name: DnsName
    """Name of the Secret or ConfigMap."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """The key in it."""
    optional: bool = False
    """True: start without the variable when the object or the key is missing."""


class FieldSelector(ApiModel):
    """A field of the pod."""

    field_path: Annotated[str, Field(min_length=1, max_length=253)]
    """For example `metadata.name` or `status.podIP`."""


class EnvVarSource(ApiModel):
    """Where a variable's value comes from: exactly one of the three."""

    model_config = {
        "json_schema_extra": rules(
            Rule(
                "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].exists_one(given, given)",
                "'expected exactly one of secretKeyRef, configMapKeyRef and fieldRef. Remove the others or add one.'",
            )
        )
    }

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""
    field_ref: FieldSelector | None = None
    """A field of the pod."""


class EnvVar(ApiModel):
    """One environment variable of the runtime."""

    model_config = {
        "json_schema_extra": rules(
            Rule(
                "!(has(self.value) && has(self.valueFrom))",
                '"variable \'" + self.name + "\' has both value and valueFrom, expected one. Remove one of the two."',
            )
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """Its value as it stands."""
    value_from: EnvVarSource | None = None
    """Its value from elsewhere."""


class WarmupInput(ApiModel):
    """Shape of one generated input."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the input; clients use it too."""
    datatype: Datatype = Datatype.FP32
    """Element type, in the Open Inference Protocol's words."""
    shape: Annotated[
        list[Annotated[int, Field(ge=-1, le=1_000_000_000)]],
        Field(min_length=1, max_length=16, json_schema_extra=list_atomic()),
    ]
    """Sizes with the batch dimension first; -1 stands for a size that varies, such as the batch."""


class WarmupSample(ApiModel):
    """One request that the runtime makes of itself."""

    inputs: Annotated[list[WarmupInput], Field(min_length=1, max_length=64, json_schema_extra=list_map("name"))]
    """The inputs; their values are generated."""


class Warmup(ApiModel):
    """The prediction that a pod must answer before it is ready."""

    samples: Annotated[list[WarmupSample], Field(min_length=1, max_length=16, json_schema_extra=list_atomic())]
    """Requests to make. Needed when the artifact does not say itself which inputs it takes."""


class LocalObjectReference(ApiModel):
    """An object in the same namespace."""

    name: DnsName
    """Its name."""


class Runtime(ApiModel):
    """The server image and what it is told."""

    image: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^\S+$")] | None = None
    """Image to run instead of the installation's own runtime image."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When to pull the image. Kubernetes' default applies when unset."""
    image_pull_secrets: Annotated[
        list[LocalObjectReference], Field(max_length=16, json_schema_extra=list_map("name"))
    ] = []
    """Secrets for pulling the image."""
    env: Annotated[list[EnvVar], Field(max_length=128, json_schema_extra=list_map("name"))] = []
    """Further environment variables."""
    warmup: Warmup | None = None
    """The prediction a pod makes before it is ready."""


class Gpu(ApiModel):
    """How many GPUs each pod gets, and of which kind."""

    count: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs per pod."""
    resource_name: Annotated[
        str,
        Field(
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    r"self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",
                    '"got \'" + self + "\', expected DOMAIN/NAME such as nvidia.com/gpu, amd.com/gpu or'
                    " nvidia.com/mig-1g.5gb. Look at the allocatable resources of your nodes:"
                    ' kubectl describe nodes"',
                )
            ),
        ),
    ] = "nvidia.com/gpu"
    """The extended resource that counts them, for example `nvidia.com/mig-1g.5gb` for a slice."""


class Resources(ApiModel):
    """What each pod asks of its node."""

    model_config = {
        "json_schema_extra": rules(
            Rule(
                "!has(self.gpu) || !has(self.limits) || !(self.gpu.resourceName in self.limits)",
                '"limits lists \'" + self.gpu.resourceName + "\', which gpu.count sets already.'
                ' Remove it from limits."',
                field_path=".limits",
            ),
            Rule(
                "!has(self.gpu) || !has(self.requests) || !(self.gpu.resourceName in self.requests)",
                '"requests lists \'" + self.gpu.resourceName + "\', which gpu.count sets already.'
                ' Remove it from requests."',
                field_path=".requests",
            ),
            Rule(
                "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) ||"
                " quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
                "'a request exceeds the limit of the same resource, expected request <= limit."
                " Lower the request or raise the limit.'",
                field_path=".requests",
            ),
        )
    }

    gpu: Gpu | None = None
    """GPUs per pod."""
    requests: Annotated[dict[ResourceName, Quantity], Field(max_length=32)] = {}
    """Resources set aside for each pod, as in a container."""
    limits: Annotated[dict[ResourceName, Quantity], Field(max_length=32)] = {}
    """Resources each pod may use at most, as in a container."""


class ServiceExposure(ApiModel):
    """The Service in front of the pods."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Kind of Service."""
    port: Annotated[int, Field(ge=1, le=65535)] = 80
    """Port of the Service."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = {}
    """Annotations of the Service, for cloud load balancers."""


class IngressTls(ApiModel):
    """HTTPS at the Ingress."""

    secret_name: DnsName
    """The Secret (type kubernetes.io/tls) with certificate and key."""


class IngressExposure(ApiModel):
    """The route from outside the cluster."""

    model_config = {
        "json_schema_extra": rules(
            Rule(
                "!has(self.tls) || has(self.host)",
                "'tls needs the host name that the certificate is for. Set spec.exposure.ingress.host.'",
                field_path=".host",
                reason="FieldValueRequired",
            )
        )
    }

    class_name: DnsName | None = None
    """IngressClass. The cluster's default class applies when unset."""
    host: DnsName | None = None
    """Host name of the route. All hosts when unset."""
    path: Annotated[
        str,
        Field(
            max_length=1024,
            json_schema_extra=rules(
                Rule(
                    r"self.matches('^/([-A-Za-z0-9._~]+(/[-A-Za-z0-9._~]+)*)?$')",
                    '"got \'" + self + "\', expected / or segments such as /models/digits without a slash at the end.'
                    ' Remove what is not a letter, a digit or one of - . _ ~"',
                )
            ),
        ),
    ] = "/"
    """Path prefix of the route. The runtime strips it, so any Ingress controller will do."""
    tls: IngressTls | None = None
    """HTTPS with this certificate."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = {}
    """Annotations of the Ingress, for its controller."""


class Exposure(ApiModel):
    """How clients reach the model."""

    service: ServiceExposure | None = None
    """The Service; it always exists, this sets its kind."""
    ingress: IngressExposure | None = None
    """An Ingress, when the model is to be reached from outside the cluster."""


class Traffic(ApiModel):
    """Limits on requests."""

    request_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """A request older than this is answered 504. It sizes the pod's grace period too."""
    max_request_bytes: Annotated[int, Field(ge=1, le=4 * 1024**3)] = 64 * 1024**2
    """A larger request body is answered 413."""


class Rollout(ApiModel):
    """How a change reaches the pods. The old revision serves until the new one is ready."""

    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = 1800
    """A change that makes no progress for this long counts as stuck."""


class ModelDeploymentSpec(ApiModel):
    """What is to be served, and how."""

    artifact: Artifact
    """What is served."""
    runtime: Runtime | None = None
    """The server image and what it is told."""
    resources: Resources | None = None
    """What each pod asks of its node."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Number of pods; `kubectl scale` and a HorizontalPodAutoscaler set it too."""
    exposure: Exposure | None = None
    """How clients reach the model."""
    traffic: Traffic | None = None
    """Limits on requests."""
    rollout: Rollout | None = None
    """How a change reaches the pods."""


class Condition(ApiModel):
    """One claim of the status, in the shape of metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    """What is claimed."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Annotated[int, Field(ge=0)]
    """The generation the claim is about."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """The cause in one word."""
    message: Annotated[str, Field(max_length=32768)]
    """The cause in a sentence."""


class LastFailure(ApiModel):
    """The latest failure of a pod, kept after the pod is gone."""

    stage: Annotated[str, Field(max_length=63)]
    """How far the pod had come: Schedule, ImagePull, Start, Config, Fetch, Verify, Load, WarmUp or Serve."""
    reason: Annotated[str, Field(max_length=1024)]
    """The cause in one word."""
    message: Annotated[str, Field(max_length=32768)]
    """The cause in a sentence."""
    pod: Annotated[str, Field(max_length=253)] | None = None
    """The pod it was seen on."""
    container: Annotated[str, Field(max_length=63)] | None = None
    """The container in it."""
    exit_code: int | None = None
    """Exit code of the container, when it ended."""
    time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When it was first seen."""


class ModelDeploymentStatus(ApiModel):
    """What the operator has seen. Written by the operator alone."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation this status is about."""
    conditions: Annotated[list[Condition], Field(max_length=32, json_schema_extra=list_map("type"))] = []
    """The claims, by type."""
    url: Annotated[str, Field(max_length=2048)] | None = None
    """Where the model is reached from outside; set once the Ingress has an address."""
    internal_url: Annotated[str | None, Field(max_length=2048, alias="internalURL")] = None
    """Where the model is reached from inside the cluster."""
    replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that exist, of all generations."""
    ready_replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that are ready, of all generations."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for HorizontalPodAutoscalers."""
    replica_summary: Annotated[str, Field(max_length=63)] | None = None
    """Ready pods of this generation and the number asked for, such as 2/3."""
    last_failure: LastFailure | None = None
    """The latest failure of a pod; gone when this generation is ready."""


class ModelDeployment(ApiModel):
    """A model that is served: one artifact, a runtime, its route."""

    model_config = {
        "json_schema_extra": rules(
            Rule(
                f"self.metadata.name.size() <= {NAME_LIMIT}",
                f'"metadata.name: got " + string(self.metadata.name.size()) + " characters, expected at most'
                f' {NAME_LIMIT}, because pods and Services carry the name. Choose a shorter name."',
            ),
            Rule(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "\"metadata.name: got '\" + self.metadata.name + \"', expected lower-case letters, digits and '-',"
                ' beginning with a letter, because the Service carries the name. Choose such a name."',
            ),
        )
    }

    spec: ModelDeploymentSpec
    """What is to be served, and how."""
    status: ModelDeploymentStatus | None = None
    """What the operator has seen."""


def _condition_path(condition: ConditionType, field: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{field}'


PRINTER_COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "Ready", "type": "string", "jsonPath": _condition_path(ConditionType.READY, "status")},
    {"name": "Replicas", "type": "string", "jsonPath": ".status.replicaSummary"},
    {"name": "URL", "type": "string", "jsonPath": ".status.url"},
    {"name": "GPU", "type": "integer", "jsonPath": ".spec.resources.gpu.count"},
    {"name": "Reason", "type": "string", "jsonPath": _condition_path(ConditionType.READY, "reason")},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {
        "name": "Message",
        "type": "string",
        "jsonPath": _condition_path(ConditionType.READY, "message"),
        "priority": 1,
    },
]
"""Columns of `kubectl get`; those of priority 1 appear with `-o wide`."""
