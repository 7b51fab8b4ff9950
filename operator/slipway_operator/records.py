"""Slim records of what the API server showed: only what a plan needs, cheap to keep by the thousand. Pure.

Two records are equal when nothing that a plan looks at differs; the resource version is no part of that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from sys import intern
from typing import Any, Final

from slipway_operator.names import (
    COMPONENT,
    CONFIG_HASH_ANNOTATION,
    MANIFEST_HASH_ANNOTATION,
    MODEL_LABEL,
    RUNTIME_CONTAINER,
    TEMPLATE_HASH_ANNOTATION,
    selector_labels,
)
from slipway_operator.packing import compressed, packed, unpacked
from slipway_operator.resources import CONTROLLER_REVISION, DEPLOYMENT, HTTP_ROUTE, INGRESS, SERVICE, ChildRef, Key

Body = dict[str, Any]

_KEPT_METADATA: Final = ("labels", "annotations", "ownerReferences")
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def _version(metadata: Body) -> int:
    """Resource versions compare as integers. Source: Kubernetes, "Resource versions", since 1.35."""
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


@dataclass(frozen=True)
class ModelRecord:
    """A ModelDeployment. `status` is the server's, which may be older than what was last written."""

    key: Key
    uid: str
    generation: int
    deleting: bool
    packed_spec: bytes
    resource_version: int = field(compare=False)
    packed_status: bytes = field(compare=False)

    @property
    def spec(self) -> Body:
        return unpacked(self.packed_spec)

    @property
    def status(self) -> Body:
        return unpacked(self.packed_status)


def model_record(body: Body) -> ModelRecord:
    metadata = body["metadata"]
    return ModelRecord(
        key=Key(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        generation=int(metadata.get("generation", 0)),
        deleting="deletionTimestamp" in metadata,
        packed_spec=packed(body.get("spec") or {}),
        resource_version=_version(metadata),
        packed_status=packed(body.get("status") or {}),
    )


@dataclass(frozen=True)
class StatusCondition:
    """A condition as Deployments and Pods have them."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True)
class DeploymentState:
    """What the Deployment controller says."""

    generation: int
    observed_generation: int
    replicas: int
    updated_replicas: int
    ready_replicas: int
    conditions: dict[str, StatusCondition]


@dataclass(frozen=True)
class RouteParent:
    """What one controller says about a route at one Gateway."""

    name: str
    namespace: str | None
    section_name: str | None
    port: int | None
    controller: str
    conditions: dict[str, StatusCondition]
    """Only those about the route as it is now."""


@dataclass(frozen=True)
class ChildRecord:
    """A child, or an object that has a child's name."""

    ref: ChildRef
    namespace: str
    uid: str
    deleting: bool
    owner_uid: str | None
    """The controller's, if there is one."""
    owner_name: str | None
    applied_by_us: bool
    """The operator is among its managers, by server-side apply: it was ours once, whoever owns it now."""
    finalizers: tuple[str, ...]
    """What holds up its end, once it is being deleted."""
    manifest_hash: str | None
    packed_body: bytes
    """All that is not status, without what the API server keeps for itself."""
    resource_version: int = field(compare=False)
    deployment: DeploymentState | None = None
    addresses: tuple[str, ...] = ()
    """Of an Ingress or a Service: host names and IP addresses, in the controller's order."""
    parents: tuple[RouteParent, ...] = ()
    """Of an HTTPRoute."""
    last_writer: str = field(default="", compare=False)
    """The field manager that wrote it last, besides ours and those that write its status alone."""

    def belongs_to(self, model_uid: str) -> bool:
        """Its own child, or one whose owner references somebody removed: those are put back like any other field."""
        return self.owner_uid == model_uid or (self.owner_uid is None and self.applied_by_us)

    @property
    def body(self) -> Body:
        return unpacked(self.packed_body)


def child_record(kind: str, body: Body) -> ChildRecord:
    metadata = body["metadata"]
    owner = next((ref for ref in metadata.get("ownerReferences") or [] if ref.get("controller")), None)
    kept = {name: value for name, value in body.items() if name not in ("status", "metadata", "apiVersion", "kind")}
    kept["metadata"] = {name: metadata[name] for name in _KEPT_METADATA if metadata.get(name)}
    if kind == CONTROLLER_REVISION.kind and metadata.get("creationTimestamp"):
        kept["metadata"]["creationTimestamp"] = metadata["creationTimestamp"]
    if _LAST_APPLIED in kept["metadata"].get("annotations", {}):
        kept["metadata"]["annotations"] = {
            name: value for name, value in metadata["annotations"].items() if name != _LAST_APPLIED
        }
    return ChildRecord(
        ref=ChildRef(kind, metadata["name"]),
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        deleting="deletionTimestamp" in metadata,
        owner_uid=owner["uid"] if owner else None,
        owner_name=owner["name"] if owner else None,
        applied_by_us=_is_applied_by_us(metadata),
        finalizers=tuple(metadata.get("finalizers") or ()) if "deletionTimestamp" in metadata else (),
        manifest_hash=(metadata.get("annotations") or {}).get(MANIFEST_HASH_ANNOTATION),
        packed_body=compressed(kept) if kind == CONTROLLER_REVISION.kind else packed(kept),
        resource_version=_version(metadata),
        deployment=_deployment_state(body) if kind == DEPLOYMENT.kind else None,
        addresses=_addresses(body) if kind in (INGRESS.kind, SERVICE.kind) else (),
        parents=_parents(body) if kind == HTTP_ROUTE.kind else (),
        last_writer=_last_writer(metadata),
    )


def _is_applied_by_us(metadata: Body) -> bool:
    return any(
        entry.get("manager") == COMPONENT and entry.get("operation") == "Apply"
        for entry in metadata.get("managedFields") or []
    )


def _last_writer(metadata: Body) -> str:
    others = [
        (entry.get("time") or "", entry["manager"])
        for entry in metadata.get("managedFields") or []
        if entry.get("manager") not in (None, "", COMPONENT) and entry.get("subresource") != "status"
    ]
    return intern(max(others)[1]) if others else ""


def _conditions(status: Body) -> dict[str, StatusCondition]:
    return {
        item["type"]: StatusCondition(item["status"], item.get("reason") or "", item.get("message") or "")
        for item in status.get("conditions") or []
    }


def _deployment_state(body: Body) -> DeploymentState:
    status = body.get("status") or {}
    return DeploymentState(
        generation=int(body["metadata"].get("generation", 0)),
        observed_generation=int(status.get("observedGeneration", 0)),
        replicas=int(status.get("replicas", 0)),
        updated_replicas=int(status.get("updatedReplicas", 0)),
        ready_replicas=int(status.get("readyReplicas", 0)),
        conditions=_conditions(status),
    )


def _addresses(body: Body) -> tuple[str, ...]:
    balancer = (body.get("status") or {}).get("loadBalancer") or {}
    points = balancer.get("ingress") or []
    return tuple(address for point in points if (address := point.get("hostname") or point.get("ip")))


def _parents(body: Body) -> tuple[RouteParent, ...]:
    generation = int(body["metadata"].get("generation", 0))
    found = []
    for item in (body.get("status") or {}).get("parents") or []:
        reference = item["parentRef"]
        # A controller that does not say which generation it judged is believed.
        current = [
            condition
            for condition in item.get("conditions") or []
            if int(condition.get("observedGeneration") or generation) >= generation
        ]
        found.append(
            RouteParent(
                name=reference["name"],
                namespace=reference.get("namespace"),
                section_name=reference.get("sectionName"),
                port=reference.get("port"),
                controller=item.get("controllerName") or "",
                conditions=_conditions({"conditions": current}),
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Termination:
    """How a container ended."""

    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True)
class PodRecord:
    """A pod, and of its containers the one that holds it up."""

    key: Key
    name: str
    uid: str
    deleting: bool
    selected: bool
    """The Service selects it: nobody has taken one of the labels from it."""
    template_hash: str | None
    """None for a pod that is not the Deployment's."""
    config_hash: str | None
    phase: str
    reason: str
    message: str
    ready: bool
    ready_changed: datetime | None
    """When readiness last changed."""
    conditions: dict[str, StatusCondition]
    scheduled_since: datetime | None
    unscheduled_since: datetime | None
    """Since when the scheduler finds no node."""
    mounted_objects: tuple[str, ...]
    """Objects of users that its volumes come from, such as `Secret keys`."""
    node: str
    """Empty until it is scheduled."""
    address: str
    """Its IP address; empty until it has one."""
    container: str
    """This and what follows is about the runtime's container, or about one that others added and that fails."""
    waiting_reason: str
    waiting_message: str
    running_since: datetime | None
    started: bool
    """The startup probe has succeeded."""
    terminated: Termination | None
    """Of the present state, else of the last one."""
    resource_version: int = field(compare=False)


def pod_record(body: Body) -> PodRecord | None:
    """None when the pod does not say which ModelDeployment it belongs to."""
    metadata = body["metadata"]
    name = (metadata.get("labels") or {}).get(MODEL_LABEL)
    if not name:
        return None
    annotations = metadata.get("annotations") or {}
    status = body.get("status") or {}
    conditions: dict[str, StatusCondition] = _conditions(status)
    spec: Body = body.get("spec") or {}
    container = _deciding_container(status)
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    return PodRecord(
        key=Key(metadata["namespace"], name),
        name=metadata["name"],
        uid=metadata["uid"],
        deleting="deletionTimestamp" in metadata,
        selected=selector_labels(name).items() <= metadata["labels"].items(),
        template_hash=annotations.get(TEMPLATE_HASH_ANNOTATION),
        config_hash=annotations.get(CONFIG_HASH_ANNOTATION),
        phase=status.get("phase") or "Pending",
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        ready=_holds(conditions, "Ready"),
        ready_changed=_changed(status, "Ready"),
        conditions=conditions,
        scheduled_since=_changed(status, "PodScheduled") if _holds(conditions, "PodScheduled") else None,
        unscheduled_since=_changed(status, "PodScheduled") if _is_false(conditions, "PodScheduled") else None,
        mounted_objects=_mounted_objects(spec),
        node=spec.get("nodeName") or "",
        address=status.get("podIP") or "",
        container=container.get("name") or RUNTIME_CONTAINER,
        waiting_reason=waiting.get("reason") or "",
        waiting_message=waiting.get("message") or "",
        running_since=_time((state.get("running") or {}).get("startedAt")),
        started=bool(container.get("started")),
        terminated=_termination(state.get("terminated") or (container.get("lastState") or {}).get("terminated")),
        resource_version=_version(metadata),
    )


def _deciding_container(status: Body) -> Body:
    """Containers that meshes and webhooks add can keep a pod from serving as well: one that must end before the runtime
    begins, or one that fails beside a runtime that is well."""
    first = next((item for item in status.get("initContainerStatuses") or [] if _fails(item)), None)
    others = status.get("containerStatuses") or []
    runtime: Body = next((item for item in others if item.get("name") == RUNTIME_CONTAINER), {})
    beside = None
    if runtime.get("ready") or not _fails(runtime):
        beside = next((item for item in others if item is not runtime and _fails(item)), None)
    if beside is None and runtime.get("ready"):
        beside = next((item for item in others if not item.get("ready")), None)
    return first or beside or runtime


def _fails(container: Body) -> bool:
    """It waits for what may never come, or has ended badly."""
    if container.get("ready"):
        return False
    state = container.get("state") or {}
    waiting = (state.get("waiting") or {}).get("reason") or ""
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    return waiting not in ("", "ContainerCreating", "PodInitializing") or bool(ended.get("exitCode"))


def _holds(conditions: dict[str, StatusCondition], kind: str) -> bool:
    return kind in conditions and conditions[kind].status == "True"


def _is_false(conditions: dict[str, StatusCondition], kind: str) -> bool:
    return kind in conditions and conditions[kind].status == "False"


def _changed(status: Body, kind: str) -> datetime | None:
    condition: Body = next((item for item in status.get("conditions") or [] if item.get("type") == kind), {})
    return _time(condition.get("lastTransitionTime"))


def _mounted_objects(spec: Body) -> tuple[str, ...]:
    found = []
    for volume in spec.get("volumes") or []:
        if "secret" in volume:
            found.append(f"Secret {volume['secret'].get('secretName')}")
        elif "persistentVolumeClaim" in volume:
            found.append(f"PersistentVolumeClaim {volume['persistentVolumeClaim'].get('claimName')}")
    return tuple(found)


def _termination(state: Body | None) -> Termination | None:
    if not state:
        return None
    return Termination(int(state.get("exitCode", 0)), state.get("reason") or "", state.get("message") or "")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
