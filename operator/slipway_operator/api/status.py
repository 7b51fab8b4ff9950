"""The status of a ModelDeployment: what the operator has seen. Only the operator writes it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from slipway_operator.api.schema import ApiModel, list_map

RESOLVED_URI_LIMIT: Final = 4096
"""Characters; a longer one is left out."""
REVISION_LIMIT: Final = 63
"""The same of a revision that a pod names."""

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Condition(ApiModel):
    """One claim of the status, in the shape of metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What is claimed."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Annotated[int, Field(ge=0)]
    """The generation the claim is about."""
    last_transition_time: Timestamp
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
    revision: Annotated[str, Field(max_length=REVISION_LIMIT)] | None = None
    """Hash of the pod template that the pod is of, as the pod itself says; nothing where no pod failed."""
    exit_code: Annotated[int, Field(json_schema_extra={"format": "int32"})] | None = None
    """Exit code of the container, when it ended."""
    time: Timestamp
    """When it was first seen."""


class ArtifactStatus(ApiModel):
    """The artifact as pods of this generation have it."""

    revision: Annotated[str, Field(max_length=63)]
    """Hash of the pod template whose pods told this."""
    resolved_uri: Annotated[str | None, Field(max_length=RESOLVED_URI_LIMIT, alias="resolvedURI")] = None
    """Where a pod got it from: after redirects, with the version or ETag that the store named behind a #. Never with
    user, password or query."""
    digest: Annotated[str, Field(max_length=128)] | None = None
    """What the artifact hashes to, once it is here."""
    format: Annotated[str, Field(max_length=63)] | None = None
    """What kind of file it is."""
    loader: Annotated[str, Field(max_length=63)] | None = None
    """Which loader opened it. The pod's log says why that one."""
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    """Its whole size, once the store has told it."""
    downloaded_bytes: Annotated[int, Field(ge=0)] | None = None
    """What a pod has received of it, in steps of a twentieth."""


class Verification(ApiModel):
    """The prediction that went through the Service."""

    revision: Annotated[str, Field(max_length=63)]
    """Hash of the pod template of the server that answered."""
    service: Annotated[str, Field(max_length=63)]
    """Hash of where the Service led, and of what it was asked."""
    time: Timestamp
    """When it was answered."""


class RevisionSummary(ApiModel):
    """One accepted spec, kept as the ControllerRevision of the same name."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the ControllerRevision; `spec.rollout.rollbackTo` takes it."""
    number: Annotated[int, Field(ge=1)]
    """Its turn; `spec.rollout.rollbackTo` takes it too. A spec that is returned to gets a new number."""
    image: Annotated[str, Field(max_length=1024)]
    """Image that its pods run."""
    created_at: Timestamp | None = None
    """When it was first accepted."""


class ModelDeploymentStatus(ApiModel):
    """What the operator has seen. Written by the operator alone."""

    observed_generation: Annotated[int, Field(ge=-1)] | None = None
    """The generation this status is about; -1 until the operator has looked at the object."""
    conditions: Annotated[list[Condition], Field(max_length=32, json_schema_extra=list_map("type"))] = []
    """The claims, by type."""
    url: Annotated[str, Field(max_length=2048)] | None = None
    """Where the model is reached from outside; set once a prediction was answered there."""
    internal_url: Annotated[str | None, Field(max_length=2048, alias="internalURL")] = None
    """Where the model is reached from inside the cluster."""
    replicas: Annotated[int, Field(ge=0, json_schema_extra={"format": "int32"})] | None = None
    """Pods that exist, of all generations."""
    ready_replicas: Annotated[int, Field(ge=0, json_schema_extra={"format": "int32"})] | None = None
    """Pods that are ready, of all generations."""
    desired_replicas: Annotated[int, Field(ge=0, json_schema_extra={"format": "int32"})] | None = None
    """Pods that are wanted: `spec.replicas` within the bounds of `spec.autoscaling`."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for HorizontalPodAutoscalers."""
    replica_summary: Annotated[str, Field(max_length=63)] | None = None
    """Ready pods of this generation and the number asked for, such as 2/3."""
    revisions: Annotated[list[RevisionSummary], Field(max_length=32, json_schema_extra=list_map("name"))] = []
    """Accepted specs that are kept, newest first."""
    stable_revision: Annotated[str, Field(max_length=253)] | None = None
    """The revision that was last served by every pod."""
    candidate_revision: Annotated[str, Field(max_length=253)] | None = None
    """The revision that is on its way, while it is not the stable one."""
    artifact: ArtifactStatus | None = None
    """What is known of the artifact."""
    verification: Verification | None = None
    """The prediction that `Ready` rests on; asked for anew when the revision or the Service changes."""
    last_failure: LastFailure | None = None
    """The latest failure of a pod; gone when this generation is ready."""
