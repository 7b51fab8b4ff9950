"""Objects as the API server shows them, for tests of what is made of them."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any, Final

from slipway_operator.cache import Memory
from slipway_operator.names import MANIFEST_HASH_ANNOTATION, TEMPLATE_HASH_ANNOTATION, child_labels
from slipway_operator.plan import Observed, Plan, Policy, plan
from slipway_operator.records import ChildRecord, ModelRecord, PodRecord, child_record, model_record, pod_record
from slipway_operator.render.manifest import Manifest, RenderSettings
from slipway_operator.resources import ChildRef, Key

NOW: Final = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
POLICY: Final = Policy(RenderSettings("registry.example.com/runtime:1"), frozenset({"s3", "https", "http"}))
KEY: Final = Key("vision", "digits")
UID: Final = "model-uid"

Children = dict[ChildRef, ChildRecord]


def model(generation: int = 1, status: Manifest | None = None, **spec: Any) -> ModelRecord:
    return model_record(
        {
            "metadata": {
                "namespace": KEY.namespace,
                "name": KEY.name,
                "uid": UID,
                "generation": generation,
                "resourceVersion": "10",
            },
            "spec": {"artifact": {"uri": "s3://models/digits.pt"}} | spec,
            "status": status or {},
        }
    )


def observed(
    of: ModelRecord,
    children: dict[ChildRef, ChildRecord] | None = None,
    pods: list[PodRecord] | None = None,
    memory: Memory | None = None,
) -> Observed:
    return Observed(
        model=of,
        children=children or {},
        pods=pods or [],
        memory=memory or Memory(UID, status=of.status),
        now=NOW,
        monotonic=100.0,
    )


def applied(planned: Plan, **deployment_status: Any) -> dict[ChildRef, ChildRecord]:
    """The children as the API server keeps them after this plan, with the Deployment's status."""
    found = {}
    for item in planned.applies:
        body = copy.deepcopy(item.manifest)
        body["metadata"] |= {"uid": f"uid-{item.ref.kind}", "resourceVersion": "20", "generation": 1}
        if item.ref.kind == "Deployment":
            replicas = body["spec"]["replicas"]
            counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), replicas)
            body["status"] = {"observedGeneration": 1} | counts | deployment_status
        found[item.ref] = child_record(item.ref.kind, body)
    return found


def deployed_template(children: dict[ChildRef, ChildRecord]) -> str:
    deployment = children[ChildRef("Deployment", KEY.name)]
    found: str = deployment.body["spec"]["template"]["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION]
    return found


def pod(
    status: Manifest,
    *,
    template: str = "this",
    name: str = "digits-1",
    deleting: bool = False,
    volumes: list[Manifest] | None = None,
) -> PodRecord:
    metadata: Manifest = {
        "namespace": KEY.namespace,
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "30",
        "labels": child_labels(KEY.name),
        "annotations": {TEMPLATE_HASH_ANNOTATION: template},
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T11:59:00Z"
    found = pod_record({"metadata": metadata, "spec": {"volumes": volumes or []}, "status": status})
    assert found is not None
    return found


def claims(planned: Plan) -> dict[str, tuple[str, str]]:
    """Status and reason by condition."""
    return {item["type"]: (item["status"], item["reason"]) for item in planned.status["conditions"]}


def hashes(planned: Plan) -> dict[str, str]:
    return {
        item.ref.kind: item.manifest["metadata"]["annotations"][MANIFEST_HASH_ANNOTATION] for item in planned.applies
    }


def plan_of(*args: Any, **given: Any) -> Plan:
    return plan(observed(*args, **given), POLICY)


def carried_out(
    of: ModelRecord, children: Children, policy: Policy = POLICY, stable: str = ""
) -> tuple[Plan, Children]:
    """The plan, and the children after it."""
    status = {"stableRevision": stable} if stable else {}
    planned = plan(observed(of, children, memory=Memory(UID, status=status)), policy)
    gone = {item.ref for item in planned.deletes}
    kept = {ref: record for ref, record in children.items() if ref not in gone}
    return planned, kept | applied(planned)
