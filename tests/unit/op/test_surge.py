"""A rollout where GPUs are short: an old pod ends first only when nothing else is left, and that is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from slipway_operator.cache import Memory
from slipway_operator.names import REPLACING_ANNOTATION
from slipway_operator.plan import Plan
from slipway_operator.records import ChildRecord, PodRecord, StatusCondition
from slipway_operator.render.manifest import Manifest
from slipway_operator.resources import ChildRef
from tests.fixtures.operator import ready, unscheduled
from tests.unit.op.observations import KEY, UID, applied, claims, deployed_template, model, plan_of, pod

pytestmark = pytest.mark.unit

DEPLOYMENT = ChildRef("Deployment", KEY.name)
SURGE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
REPLACE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
NO_GPU: Final = (
    "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/1 nodes are"
    " available: 1 No preemption victims found for incoming pod."
)
GPU: Final[dict[str, Any]] = {"resources": {"gpu": {"count": 1}}}


def old_pod(**changes: Any) -> PodRecord:
    return replace(pod(ready(), template="older", name="digits-0"), node="node1", **changes)


def in_rollout(
    message: str = NO_GPU, old: list[PodRecord] | None = None, failed: str = "", **spec: Any
) -> tuple[Plan, dict[ChildRef, ChildRecord], list[PodRecord]]:
    """The plan while the new pod waits beside the old one. Pods of the fixture have waited for long."""
    of = model(**(GPU | spec))
    children = applied(plan_of(of), observedGeneration=1, replicas=2, updatedReplicas=1)
    if failed:
        state = children[DEPLOYMENT].deployment
        assert state is not None
        conditions = {"ReplicaFailure": StatusCondition("True", "FailedCreate", failed)}
        children[DEPLOYMENT] = replace(children[DEPLOYMENT], deployment=replace(state, conditions=conditions))
    waiting = pod(unscheduled(message), template=deployed_template(children))
    pods = [*([old_pod()] if old is None else old), waiting]
    return plan_of(of, children, pods), children, pods


def deployment(planned: Plan) -> Manifest | None:
    return next((item.manifest for item in planned.applies if item.ref == DEPLOYMENT), None)


@pytest.mark.feature("gpu-surge")
def test_an_old_pod_ends_first_when_no_gpu_is_free_beside_it() -> None:
    planned, _, _ = in_rollout()
    changed = deployment(planned)
    assert changed is not None
    assert changed["spec"]["strategy"] == REPLACE
    assert claims(planned)["Accepted"] == ("Unknown", "Reconciling"), "not applied yet"


@pytest.mark.feature("gpu-surge")
def test_it_is_told_in_a_condition_and_by_one_event() -> None:
    planned, children, pods = in_rollout()
    again = plan_of(model(**GPU), children | applied(planned), pods, Memory(UID, status={}))
    assert deployment(again) is None
    assert claims(again)["Progressing"] == ("True", "ReplacingPods")
    (note,) = [note for note in again.notes if note.reason == "ReplacingPods"]
    assert "No nvidia.com/gpu is free" in note.message


def test_it_goes_on_until_the_last_old_pod_is_gone_and_then_surges_again() -> None:
    planned, children, _ = in_rollout()
    children |= applied(planned)
    starting = pod(ready(), template=deployed_template(children))
    midway = plan_of(model(**GPU), children, [old_pod(), starting])
    assert deployment(midway) is None
    leaving = plan_of(model(**GPU), children, [old_pod(deleting=True), starting])
    assert deployment(leaving) is None, "it holds its GPU until it is gone"
    done = deployment(plan_of(model(**GPU), children, [starting]))
    assert done is not None
    assert done["spec"]["strategy"] == SURGE
    assert REPLACING_ANNOTATION not in done["metadata"]["annotations"]


KEPT: dict[str, dict[str, Any]] = {
    "a pod that lacks something else": {"message": "0/1 nodes are available: 1 Insufficient memory."},
    "a slice of another name": {"message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu-shared."},
    "the first rollout": {"old": []},
    "an old pod that is leaving already": {"old": [old_pod(deleting=True)]},
    "an old pod that never had a node": {"old": [replace(old_pod(), node="")]},
    "a rollout that must not give up a pod": {"rollout": {"strategy": "Rolling"}},
    "a model without GPUs": {"resources": {"gpu": {"count": 0}}},
    "a quota of something else": {"message": "", "failed": "exceeded quota: all, requested: requests.memory=1Gi"},
}


@pytest.mark.parametrize("situation", KEPT.values(), ids=KEPT)
def test_the_old_pods_stay_for(situation: dict[str, Any]) -> None:
    assert deployment(in_rollout(**situation)[0]) is None


@pytest.mark.feature("gpu-surge")
def test_a_quota_of_gpus_counts_like_a_full_node() -> None:
    failed = (
        'pods "digits-2" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: 1, limited: 1'
    )
    changed = deployment(in_rollout("", failed=failed)[0])
    assert changed is not None
    assert changed["spec"]["strategy"] == REPLACE


def test_a_new_pod_is_given_time_to_find_a_gpu() -> None:
    long: dict[str, Any] = {"rollout": {"surgeTimeoutSeconds": 3600}}
    planned, children, pods = in_rollout(**long)
    since = pods[-1].unscheduled_since
    assert since is not None
    assert (deployment(planned) is not None, planned.requeue_after) == (True, None), "it has waited for twelve hours"
    fresh = replace(pods[-1], unscheduled_since=since.replace(hour=11, minute=30))
    waiting = plan_of(model(**GPU, **long), children, [pods[0], fresh])
    assert deployment(waiting) is None
    assert waiting.requeue_after == 1800


def test_recreate_ends_every_old_pod_first() -> None:
    made = deployment(plan_of(model(rollout={"strategy": "Recreate"})))
    assert made is not None
    assert made["spec"]["strategy"] == {"type": "Recreate"}


def test_switching_the_strategy_restarts_no_pod() -> None:
    planned, children, _ = in_rollout()
    changed = deployment(planned)
    assert changed is not None
    assert changed["spec"]["template"] == children[DEPLOYMENT].body["spec"]["template"]
