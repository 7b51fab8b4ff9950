"""Ready rests on a prediction that went through the Service, and on nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.cache import Memory
from slipway_operator.plan import Plan, Policy, plan
from slipway_operator.proof import prove
from slipway_operator.records import ChildRecord
from slipway_operator.resources import ChildRef
from slipway_operator.verification import (
    Look,
    Question,
    Verdict,
    artifact_status,
    judge_answer,
    no_answer,
    stepped,
)
from slipway_runtime.contract import Format, RuntimeStatus, Stage
from tests.fixtures.operator import crash_loop, ready
from tests.unit.op.observations import POLICY, UID, applied, claims, deployed_template, model, observed, pod

pytestmark = pytest.mark.unit

ASKING = replace(POLICY, asks=True)
SERVICE = ChildRef("Service", "digits")
QUESTION = Question("http://10.96.0.9:80/slipway/verify", "rev", "svc", 30)
DIGEST = "sha256:" + "0123456789abcdef" * 4


def children_of(**spec: Any) -> dict[ChildRef, ChildRecord]:
    found = applied(plan(observed(model(**spec)), ASKING))
    body = found[SERVICE].body
    body["spec"]["clusterIP"] = "10.96.0.9"
    found[SERVICE] = replace(found[SERVICE], packed_body=json.dumps(body).encode())
    return found


def look(
    children: dict[ChildRef, ChildRecord], memory: Memory, policy: Policy = ASKING, status: Any = None, **spec: Any
) -> Plan:
    pods = [pod(status or ready(), template=deployed_template(children))]
    return plan(observed(model(**spec), children, pods, memory), policy)


def facts(revision: str) -> RuntimeStatus:
    return RuntimeStatus(
        revision=revision,
        stage=Stage.SERVE,
        fetched_bytes=1234,
        artifact_bytes=1234,
        digest=DIGEST,
        resolved_uri="s3://models/digits.pt#etag=0a1b",
        format=Format.TORCH_SCRIPT,
        loader="TorchScript",
    )


def answered(children: dict[ChildRef, ChildRecord], memory: Memory) -> Plan:
    """After the Service was asked and has answered."""
    question = look(children, memory).inquiry
    assert isinstance(question, Question)
    memory.verdict = Verdict(question, facts=facts(question.revision))
    return look(children, memory)


def test_ready_pods_are_not_enough() -> None:
    children = children_of()
    planned = look(children, Memory(UID, status={}))
    assert claims(planned)["Ready"] == ("False", "Verifying")
    assert claims(planned)["Available"] == ("True", "PodsReady")
    assert isinstance(planned.inquiry, Question)
    assert planned.inquiry.url == "http://10.96.0.9:80/slipway/verify"
    assert planned.inquiry.revision == deployed_template(children)
    assert "stableRevision" not in planned.status


def test_it_is_ready_once_the_service_has_answered_and_nobody_is_asked_again() -> None:
    children, memory = children_of(), Memory(UID, status={})
    planned = answered(children, memory)
    assert claims(planned)["Ready"] == ("True", "PredictionsAnswered")
    assert claims(planned)["ArtifactResolved"] == ("True", "ArtifactVerified")
    assert planned.status["artifact"]["digest"] == DIGEST
    assert planned.status["artifact"]["format"] == planned.status["artifact"]["loader"] == "TorchScript"
    assert planned.status["artifact"]["resolvedURI"] == "s3://models/digits.pt#etag=0a1b"
    assert planned.inquiry is None
    # A restarted operator remembers nothing but the status.
    restarted = look(children, Memory(UID, status=planned.status))
    assert (restarted.status, restarted.inquiry) == (planned.status, None)


@pytest.mark.parametrize("spec", [{"exposure": {"service": {"port": 9000}}}, {"runtime": {"image": "other:1"}}])
def test_another_service_or_revision_is_asked_anew(spec: dict[str, Any]) -> None:
    memory = Memory(UID, status={})
    memory.status = answered(children_of(), memory).status
    changed = look(children_of(**spec), memory, generation=2, **spec)
    assert claims(changed)["Ready"] == ("False", "Verifying")
    assert isinstance(changed.inquiry, Question)
    assert "verification" not in changed.status


def test_pods_that_were_all_gone_are_asked_anew() -> None:
    children, memory = children_of(), Memory(UID, status={})
    memory.status = answered(children, memory).status
    down = look(children, memory, status=crash_loop(exitCode=1, reason="Error", message="broken"))
    assert claims(down)["Ready"] == ("False", "Crashed")
    assert "verification" not in down.status
    back = look(children, Memory(UID, status=down.status))
    assert claims(back)["Ready"] == ("False", "Verifying")


def test_scaling_asks_nobody() -> None:
    children, memory = children_of(), Memory(UID, status={})
    memory.status = answered(children, memory).status
    scaled = look(children_of(replicas=3), memory, generation=2, replicas=3)
    assert claims(scaled)["Ready"] == ("True", "PredictionsAnswered")
    assert scaled.inquiry is None


def test_one_that_was_ready_before_anybody_asked_stays_so_until_the_answer() -> None:
    children = children_of()
    before = look(children, Memory(UID, status={}), POLICY)
    assert claims(before)["Ready"][0] == "True"
    after = look(children, Memory(UID, status=before.status))
    assert claims(after)["Ready"][0] == "True"
    assert isinstance(after.inquiry, Question)
    assert "verification" not in after.status
    failed = Memory(UID, status=before.status, verdict=no_answer(after.inquiry, "no route to host"))
    assert claims(look(children, failed))["Ready"] == ("False", "ServiceUnreachable")


def test_a_failure_is_told_everywhere_and_in_one_event() -> None:
    children, memory = children_of(), Memory(UID, status={})
    question = look(children, memory).inquiry
    assert isinstance(question, Question)
    memory.verdict = judge_answer(question, 500, question.revision, "ValueError: broken")
    planned = look(children, memory)
    assert claims(planned)["Ready"] == ("False", "PredictionFailed")
    assert claims(planned)["Degraded"] == ("True", "PredictionFailed")
    assert planned.status["lastFailure"]["reason"] == "PredictionFailed"
    assert "ValueError: broken" in planned.status["lastFailure"]["message"]
    assert [note.reason for note in planned.notes].count("PredictionFailed") == 1
    assert planned.inquiry == question


def test_pods_that_are_not_told_their_revision_are_not_asked() -> None:
    spec: dict[str, Any] = {"runtime": {"env": [{"name": "SLIPWAY_REVISION", "value": "mine"}]}}
    planned = look(children_of(**spec), Memory(UID, status={}), **spec)
    assert claims(planned)["Ready"] == ("True", "PredictionsAnswered")
    assert planned.inquiry is None


@pytest.mark.parametrize(
    ("status", "revision", "reason"),
    [
        (200, "rev", ""),
        (401, "rev", ""),
        (429, "rev", ""),
        (422, "rev", ""),
        (500, "rev", "PredictionFailed"),
        (503, "rev", "PredictionFailed"),
        (504, "rev", "PredictionFailed"),
        (200, "other", "ServiceUnreachable"),
        (200, None, "ServiceUnreachable"),
        (401, None, "ServiceUnreachable"),
        (404, None, "ServiceUnreachable"),
    ],
)
def test_an_answer_counts_only_from_a_server_of_this_revision(status: int, revision: str | None, reason: str) -> None:
    verdict = judge_answer(QUESTION, status, revision, "words")
    assert verdict.reason == reason
    assert verdict.holds is (not reason)
    if reason:
        assert "words" in verdict.message


def test_no_answer_is_told_with_the_systems_words_and_without_secrets() -> None:
    verdict = no_answer(QUESTION, "http://me:secret@proxy refused")
    assert verdict.reason == "ServiceUnreachable"
    assert "10.96.0.9:80" in verdict.message
    assert "secret" not in verdict.message


def test_there_is_nobody_to_ask_before_the_service_has_an_address() -> None:
    proof = prove(None, None, {}, was_ready=False)
    assert proof.claim is not None
    assert proof.question is None
    assert proof.failure is None


def test_a_pod_on_its_way_is_looked_at_and_its_progress_is_told() -> None:
    children = children_of()
    revision = deployed_template(children)
    starting = {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "containerStatuses": [{"name": "runtime", "state": {"running": {"startedAt": "2026-01-01T12:00:00Z"}}}],
    }
    first = look(children, Memory(UID, status={}), status=starting)
    assert first.inquiry == Look("http://10.0.0.7:8081/statusz", revision)
    seen = RuntimeStatus(revision=revision, stage=Stage.FETCH, fetched_bytes=470, artifact_bytes=1000)
    told = look(children, Memory(UID, status={}, progress=seen), status=starting)
    assert told.status["artifact"] == {"revision": revision, "downloadedBytes": 450, "sizeBytes": 1000}
    progressing = next(item for item in told.status["conditions"] if item["type"] == "Progressing")
    assert "Fetch, 45 %" in progressing["message"]


def test_a_pod_that_has_received_nothing_yet_tells_nothing() -> None:
    assert artifact_status(RuntimeStatus(revision="rev", stage=Stage.CONFIG), "rev", {}) == {}


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("https://cdn.example.com/a.pt?…#etag=0a1b", "https://cdn.example.com/a.pt?…#etag=0a1b"),
        ("https://me:secret@store/a.pt?X-Amz-Signature=secret#etag=1", "https://…@store/a.pt?…#etag=1"),
        ("s3://models/a.pt#versionId=secret token", "s3://models/a.pt"),
        ("s3://models/" + "a" * 5000, None),
        ("s3://models/a\nReady", None),
        ("", None),
    ],
)
def test_a_resolved_uri_is_shown_without_secrets_whatever_a_pod_tells(told: str, shown: str | None) -> None:
    seen = facts("rev").model_copy(update={"resolved_uri": told, "loader": "not a word"})
    status = artifact_status(seen, "rev", {})
    assert status.get("resolvedURI") == shown
    assert "loader" not in status
    assert "secret" not in str(status)


def test_what_an_older_revision_told_is_forgotten() -> None:
    known = {"artifact": {"revision": "old", "digest": DIGEST}}
    assert artifact_status(None, "new", known) == {}
    assert artifact_status(facts("old"), "new", known) == {}
    assert artifact_status(facts("new"), "new", known)["digest"] == DIGEST


def test_what_a_pod_tells_later_is_added_and_nothing_is_taken_back() -> None:
    early = RuntimeStatus(revision="rev", stage=Stage.LOAD, fetched_bytes=1234, artifact_bytes=1234, digest=DIGEST)
    known = artifact_status(early, "rev", {})
    assert "format" not in known
    whole = artifact_status(facts("rev"), "rev", {"artifact": known})
    assert whole["format"] == "TorchScript"
    again = RuntimeStatus(revision="rev", stage=Stage.FETCH, fetched_bytes=10, artifact_bytes=1234)
    assert artifact_status(again, "rev", {"artifact": known}) == known
    assert artifact_status(again, "rev", {"artifact": whole}) == whole


@given(st.integers(1, 2**45), st.data())
def test_a_download_of_any_size_and_pace_is_written_at_most_twenty_times(size: int, data: st.DataObject) -> None:
    received = sorted(data.draw(st.lists(st.integers(0, size), max_size=200)))
    shown = {stepped(count, size) for count in [*received, size]}
    assert len(shown - {0}) <= 20
    assert all(stepped(count, size) <= count for count in received)
    assert stepped(size, size) == size
