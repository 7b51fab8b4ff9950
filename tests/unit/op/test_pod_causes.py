"""Causes that lie beside the runtime's container or behind its pod."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from slipway_operator.diagnosis import Diagnosis, diagnose
from slipway_operator.failures import Failure
from slipway_operator.pod_causes import ENDED_MEMORY
from slipway_operator.records import DeploymentState, PodRecord, StatusCondition
from slipway_runtime.contract import FailureReason, Stage, TerminationMessage
from tests.fixtures.operator import crash_loop, evicted, ready, unscheduled, waiting
from tests.unit.op.observations import NOW, pod

pytestmark = pytest.mark.unit


def diagnosed(*pods: PodRecord, deployment: DeploymentState | None = None, short_of_pods: bool = True) -> Diagnosis:
    return diagnose(pods, deployment, template_hash="this", short_of_pods=short_of_pods, started_seen={}, now=NOW)


def told(*pods: PodRecord, deployment: DeploymentState | None = None) -> Failure:
    found = diagnosed(*pods, deployment=deployment).worst
    assert found is not None
    return found


def container(name: str, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "ready": False, "started": False, **more}


def test_a_failure_names_the_revision_of_its_own_pod_and_not_the_newest() -> None:
    assert told(pod(crash_loop(exitCode=1, reason="Error"), template="older")).revision == "older"


def test_a_failure_of_no_pod_names_no_revision() -> None:
    refused = StatusCondition("True", "FailedCreate", "exceeded quota: none")
    assert told(deployment=DeploymentState(1, 1, 0, 0, 0, {"ReplicaFailure": refused})).revision is None


def test_a_revision_that_the_status_could_not_take_is_left_out() -> None:
    # Annotations can be edited by whoever may edit pods, and a status that is refused tells nothing at all.
    broken = crash_loop(exitCode=1, reason="Error")
    assert told(pod(broken, template="x" * 63)).revision == "x" * 63
    assert told(pod(broken, template="x" * 64)).revision is None


def test_an_evicted_pod_is_told_as_that_and_not_as_a_crash() -> None:
    status = evicted("The node was low on resource: ephemeral-storage.")
    ended = {"terminated": {"exitCode": 137, "reason": "Error", "message": "last words"}}
    status["containerStatuses"] = [container("runtime", ended)]
    found = told(pod(status))
    assert (found.reason, found.stage) == ("Evicted", "Serve")
    assert "low on resource: ephemeral-storage" in found.message


def test_an_evicted_pod_whose_container_ended_well_is_told_as_the_nodes_doing() -> None:
    """As the kubelet leaves it: its own reason is gone."""
    ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    status = {"phase": "Succeeded", "containerStatuses": [container("runtime", ended)]}
    found = told(pod(status))
    assert (found.reason, found.stage) == ("Evicted", "Serve")
    assert "The node ended the pod" in found.message


def test_an_evicted_pod_that_lies_about_explains_nothing_after_a_while() -> None:
    status = evicted("The node was low on resource: memory.")
    since = NOW - ENDED_MEMORY / 2
    status["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": since.isoformat()}]
    young = diagnosed(pod(status))
    assert young.worst is not None
    assert young.look_again == since + ENDED_MEMORY
    status["conditions"][0]["lastTransitionTime"] = (NOW - ENDED_MEMORY - timedelta(seconds=1)).isoformat()
    assert diagnosed(pod(status)) == Diagnosis(None)


def test_a_pod_of_a_lost_node_is_told_by_its_node() -> None:
    status = ready()
    # As the node lifecycle controller leaves it: readiness taken away without a reason, all else as it was.
    for condition in status["conditions"]:
        if condition["type"] == "Ready":
            condition["status"] = "False"
    lost = pod(status)
    assert told(lost).reason == "NodeLost"
    assert told(lost).heals
    by_kubelet = copy.deepcopy(status)
    for condition in by_kubelet["conditions"]:
        if condition["type"] == "Ready":
            condition["reason"] = "ReadinessGatesNotReady"
    assert diagnosed(pod(by_kubelet)).worst is None or told(pod(by_kubelet)).reason != "NodeLost"


def test_a_pod_that_cannot_be_deleted_from_a_lost_node_counts_while_pods_are_short() -> None:
    status = ready() | {"reason": "NodeLost", "message": "Node b which was running pod digits-1 is unresponsive"}
    status["conditions"][1]["status"] = "False"
    gone = pod(status, deleting=True)
    assert told(gone).reason == "NodeLost"
    assert diagnosed(gone, short_of_pods=False).worst is None


def test_a_kubelet_that_refuses_a_pod_is_told_in_its_words_and_another_node_may_take_it() -> None:
    status = {"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"}
    found = told(pod(status))
    assert (found.reason, found.heals) == ("PodRefused", True)
    assert "enough resource: cpu" in found.message


def test_an_init_container_that_fails_is_the_cause_and_is_named() -> None:
    status = waiting("PodInitializing", "")
    ended = {"exitCode": 1, "reason": "Error", "message": "iptables: permission denied"}
    status["initContainerStatuses"] = [
        container("mesh-init", {"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": ended})
    ]
    found = told(pod(status))
    assert (found.reason, found.container, found.exit_code) == ("Crashed", "mesh-init", 1)
    assert "permission denied" in found.message


def test_an_init_container_that_runs_or_has_ended_well_is_no_cause() -> None:
    status = waiting("PodInitializing", "")
    status["initContainerStatuses"] = [
        container("first", {"terminated": {"exitCode": 0, "reason": "Completed"}}, ready=True),
        container("second", {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, started=True),
    ]
    assert diagnosed(pod(status)).worst is None


def test_a_container_beside_a_runtime_that_is_well_is_the_cause_and_is_named() -> None:
    status = ready()
    for condition in status["conditions"]:
        if condition["type"] in ("Ready", "ContainersReady"):
            condition["status"] = "False"
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "proxy:1: not found"}}
    status["containerStatuses"].append(container("proxy", state))
    found = told(pod(status))
    assert (found.reason, found.container) == ("ImagePullFailed", "proxy")


def test_the_runtimes_own_failure_comes_before_that_of_a_container_beside_it() -> None:
    status = crash_loop(exitCode=1, reason="Error", message="broken")
    status["containerStatuses"].append(container("proxy", {"waiting": {"reason": "CrashLoopBackOff"}}))
    assert told(pod(status)).container == "runtime"


def test_of_the_schedulers_words_those_about_preemption_are_left_out() -> None:
    words = "0/3 nodes are available: 2 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint(s)."
    long = f"{words} no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found."
    assert told(pod(unscheduled(long))).message == words
    assert told(pod(unscheduled(f"{words} preemption: 0/3 nodes are available."))).message == words


def test_a_broken_download_tells_how_far_it_came() -> None:
    message = TerminationMessage(
        stage=Stage.FETCH,
        reason=FailureReason.ARTIFACT_STALLED,
        message="Nothing came for 120 s.",
        fetched_bytes=1000,
        artifact_bytes=4000,
    )
    found = told(pod(crash_loop(exitCode=1, reason="Error", message=message.encode().decode())))
    assert found.message == "Nothing came for 120 s. Received 1000 bytes of 4000 bytes."


def test_words_of_a_newer_runtime_are_passed_on() -> None:
    text = '{"stage": "Compile", "reason": "CompilerMissing", "message": "no compiler", "hint": "new"}'
    found = told(pod(crash_loop(exitCode=1, reason="Error", message=text)))
    assert (found.stage, found.reason, found.message) == ("Compile", "CompilerMissing", "no compiler")


@pytest.mark.parametrize(
    ("message", "heals"),
    [
        ("maximum memory usage per Container is 64Mi, but limit is 256Mi", False),
        ("Internal error occurred: failed calling webhook: connection refused", True),
    ],
)
def test_a_refusal_for_a_moment_is_told_apart_from_one_for_good(message: str, heals: bool) -> None:
    refused = StatusCondition("True", "FailedCreate", f'pods "digits-x" is forbidden: {message}')
    found = told(deployment=DeploymentState(1, 1, 0, 0, 0, {"ReplicaFailure": refused}))
    assert (found.reason, found.message, found.heals) == ("PodRefused", message, heals)


def test_a_replica_set_that_cannot_be_made_is_told_in_the_servers_words() -> None:
    words = "replicasets.apps is forbidden: exceeded quota: few, requested: count/replicasets.apps=1"
    stuck = StatusCondition("False", "ReplicaSetCreateError", f'Failed to create new replica set "digits-x": {words}')
    found = told(deployment=DeploymentState(1, 1, 0, 0, 0, {"Progressing": stuck}))
    assert (found.reason, found.message) == ("QuotaExceeded", words)
