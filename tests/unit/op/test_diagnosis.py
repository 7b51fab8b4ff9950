"""The worst cause across all pods, in words that do not change while nothing else does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from slipway_operator.diagnosis import Diagnosis, diagnose
from slipway_operator.pod_causes import MOUNT_GRACE, PROBE_GRACE
from slipway_operator.records import DeploymentState, PodRecord, StatusCondition
from slipway_runtime.contract import FailureReason, Stage, TerminationMessage
from tests.fixtures.operator import crash_loop, evicted, ready, started_but_unready, unmounted, unscheduled, waiting
from tests.unit.op.observations import NOW, pod

pytestmark = pytest.mark.unit


def diagnosed(*pods: PodRecord, deployment: DeploymentState | None = None, **given: Any) -> Diagnosis:
    defaults: dict[str, Any] = {"template_hash": "this", "short_of_pods": True, "started_seen": {}, "now": NOW}
    return diagnose(pods, deployment, **(defaults | given))


def deployment(**conditions: StatusCondition) -> DeploymentState:
    return DeploymentState(1, 1, 0, 0, 0, conditions)


def test_a_ready_pod_is_no_failure_whatever_it_went_through() -> None:
    status = ready()
    status["containerStatuses"][0]["lastState"] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    assert diagnosed(pod(status)) == Diagnosis(None)


def test_a_pod_on_its_way_out_is_no_failure() -> None:
    assert diagnosed(pod(crash_loop(exitCode=143, reason="Error"), deleting=True)).worst is None


def test_the_back_off_changes_no_word() -> None:
    first = diagnosed(pod(waiting("ErrImagePull", "failed to pull x:1: not found")))
    later = diagnosed(
        pod(waiting("ImagePullBackOff", 'Back-off pulling image "x:1": ErrImagePull: failed to pull x:1: not found'))
    )
    assert first.worst is not None
    assert first == later


@pytest.mark.parametrize(
    ("message", "heals"),
    [
        ("x:1: not found", False),
        ("401 Unauthorized", False),
        ("dial tcp: i/o timeout", True),
        ("pull QPS exceeded", True),
    ],
)
def test_a_pull_that_cannot_succeed_is_told_apart(message: str, heals: bool) -> None:
    worst = diagnosed(pod(waiting("ErrImagePull", message))).worst
    assert worst is not None
    assert worst.heals is heals


def test_the_runtimes_own_words_are_passed_on() -> None:
    told = TerminationMessage(stage=Stage.VERIFY, reason=FailureReason.DIGEST_MISMATCH, message="expected a, got b")
    worst = diagnosed(pod(crash_loop(exitCode=1, reason="Error", message=told.encode().decode()))).worst
    assert worst is not None
    assert (worst.stage, worst.reason, worst.message) == ("Verify", "DigestMismatch", "expected a, got b")
    assert (worst.exit_code, worst.container, worst.heals) == (1, "runtime", False)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("one\n2026-01-01 12:00:00,123 ValueError: broken\n", "ValueError: broken"),
        ('{"ts": "2026-01-01T00:00:00Z", "level": "ERROR", "msg": "broken"}', "broken"),
        ("[2026-01-01T00:00:00.123Z] broken", "broken"),
    ],
)
def test_of_a_crash_the_last_line_is_shown_without_its_time(log: str, line: str) -> None:
    worst = diagnosed(pod(crash_loop(exitCode=3, reason="Error", message=log))).worst
    assert worst is not None
    assert worst.message == f"The container ended with exit code 3: {line}"


def test_a_crash_without_a_word_is_told_by_its_exit_code() -> None:
    worst = diagnosed(pod(crash_loop(exitCode=0, reason="Completed"))).worst
    assert worst is not None
    assert worst.message == "The container ended with exit code 0 and left no message."


def test_a_volume_that_does_not_come_is_told_with_what_it_is_made_from() -> None:
    volumes = [
        {"name": "config", "configMap": {"name": "digits-config"}},
        {"name": "api-keys", "secret": {"secretName": "digits-keys"}},
        {"name": "weights", "persistentVolumeClaim": {"claimName": "weights"}},
    ]
    found = diagnosed(pod(unmounted(), volumes=volumes))
    assert found.worst is not None
    assert found.worst.reason == "ContainerConfigError"
    assert "Secret digits-keys, PersistentVolumeClaim weights" in found.worst.message
    assert not found.worst.heals


def test_a_pod_without_volumes_of_the_users_may_yet_get_its_network() -> None:
    worst = diagnosed(pod(unmounted())).worst
    assert worst is not None
    assert worst.heals


def test_volumes_are_given_time_to_be_mounted() -> None:
    status = unmounted()
    status["conditions"][0]["lastTransitionTime"] = NOW.isoformat()
    assert diagnosed(pod(status)) == Diagnosis(None, look_again=NOW + MOUNT_GRACE)
    status["conditions"][-1]["status"] = "True"
    assert diagnosed(pod(status)) == Diagnosis(None)


def test_secrets_in_a_message_are_not_shown() -> None:
    message = "GET https://me:secret@models.example.com/digits.pt?X-Signature=secret failed"
    worst = diagnosed(pod(crash_loop(exitCode=1, reason="Error", message=message))).worst
    assert worst is not None
    assert "secret" not in worst.message
    assert "models.example.com/digits.pt" in worst.message


def test_this_generations_cause_comes_before_an_older_pods() -> None:
    old = pod(crash_loop(exitCode=137, reason="OOMKilled"), template="older", name="a")
    new = pod(unscheduled("0/1 nodes are available"), name="b")
    worst = diagnosed(old, new).worst
    assert worst is not None
    assert (worst.reason, worst.current) == ("Unschedulable", True)


def test_a_cause_that_needs_somebody_comes_before_one_that_may_pass() -> None:
    worst = diagnosed(
        pod(unscheduled("0/1 nodes are available"), name="a"),
        pod(waiting("CreateContainerConfigError", 'secret "keys" not found'), name="b"),
    ).worst
    assert worst is not None
    assert worst.pod == "b"


def test_a_probe_fails_only_after_its_grace() -> None:
    fresh = started_but_unready()
    started = NOW - PROBE_GRACE / 2
    fresh["containerStatuses"][0]["state"]["running"]["startedAt"] = started.isoformat()
    early = diagnosed(pod(fresh))
    assert early == Diagnosis(None, look_again=started + PROBE_GRACE)
    late = diagnosed(pod(fresh), now=started + PROBE_GRACE + timedelta(seconds=1))
    assert late.worst is not None
    assert late.worst.reason == "ProbeFailing"


def test_a_long_start_is_no_part_of_the_grace() -> None:
    """The status tells when the container began to run, long before its startup probe succeeded."""
    status = started_but_unready()
    seen = NOW - PROBE_GRACE / 2
    found = diagnosed(pod(status), started_seen={pod(status).uid: seen})
    assert found == Diagnosis(None, look_again=seen + PROBE_GRACE)


def test_an_evicted_pod_matters_only_while_pods_are_short() -> None:
    left_over = pod(evicted("The node was low on resource: memory."))
    assert diagnosed(left_over, short_of_pods=False).worst is None
    worst = diagnosed(left_over).worst
    assert worst is not None
    assert worst.reason == "Evicted"


@pytest.mark.parametrize(
    ("message", "reason", "shown"),
    [
        (
            'pods "digits-abc-xyz" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1',
            "QuotaExceeded",
            "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1",
        ),
        (
            'pods "digits-abc-xyz" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes',
            "PodRefused",
            'violates PodSecurity "restricted:latest": hostPath volumes',
        ),
    ],
)
def test_pods_that_could_not_be_made_are_told_without_their_random_names(message: str, reason: str, shown: str) -> None:
    refused = deployment(ReplicaFailure=StatusCondition("True", "FailedCreate", message))
    worst = diagnosed(deployment=refused).worst
    assert worst is not None
    assert (worst.reason, worst.message) == (reason, shown)
