"""Ready is not True where it does not hold: what else serves, what somebody turned elsewhere, what nobody was asked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from slipway_operator.cache import Memory
from slipway_operator.names import INSTANCE_LABEL, TEMPLATE_HASH_ANNOTATION, child_labels
from slipway_operator.plan import Plan, plan
from slipway_operator.records import ChildRecord, PodRecord, pod_record
from slipway_operator.resources import ChildRef
from slipway_operator.verification import Example, Question, Verdict, judge_example
from tests.fixtures.operator import ready
from tests.unit.op.observations import POLICY, UID, applied, claims, deployed_template, model, observed, pod

pytestmark = pytest.mark.unit

ASKING: Final = replace(POLICY, asks=True)
SERVICE: Final = ChildRef("Service", "digits")
DEPLOYMENT: Final = ChildRef("Deployment", "digits")
PREDICTION: Final = {"path": "/predict", "body": '{"x": 1}'}
Children = dict[ChildRef, ChildRecord]


def custom(prediction: dict[str, str] | None = None) -> dict[str, Any]:
    container = {"prediction": prediction} if prediction else {}
    return {"runtime": {"engine": "Custom", "image": "team/app:1", "container": container}}


def edited(children: Children, ref: ChildRef, **spec: Any) -> Children:
    """As after a change by hand."""
    body = children[ref].body
    body["spec"] |= spec
    return children | {ref: replace(children[ref], packed_body=json.dumps(body).encode())}


def children_of(**spec: Any) -> Children:
    return edited(applied(plan(observed(model(**spec)), ASKING)), SERVICE, clusterIP="10.96.0.9")


def serving(children: Children) -> PodRecord:
    return pod(ready(), template=deployed_template(children))


def look(
    children: Children, memory: Memory, *more: PodRecord, asks: bool = True, generation: int = 1, **spec: Any
) -> Plan:
    pods = [serving(children), *more]
    return plan(observed(model(generation=generation, **spec), children, pods, memory), ASKING if asks else POLICY)


def proven(children: Children, **spec: Any) -> Memory:
    memory = Memory(UID, status={})
    question = look(children, memory, **spec).inquiry
    assert isinstance(question, Question)
    memory.verdict = Verdict(question)
    memory.status = look(children, memory, **spec).status
    assert claims(look(children, memory, **spec))["Ready"] == ("True", "PredictionsAnswered")
    return memory


def message(planned: Plan, kind: str = "Ready") -> str:
    return str(next(item["message"] for item in planned.status["conditions"] if item["type"] == kind))


def test_a_server_of_another_kind_is_ready_by_its_readiness_path_and_says_so() -> None:
    planned = look(children_of(**custom()), Memory(UID, status={}), **custom())
    assert claims(planned)["Ready"] == ("True", "ReadinessAnswered")
    assert "spec.runtime.container.prediction" in message(planned)
    assert planned.inquiry is None


def test_it_is_ready_by_an_answer_where_the_spec_says_what_to_ask() -> None:
    spec = custom(PREDICTION)
    children, memory = children_of(**spec), Memory(UID, status={})
    planned = look(children, memory, **spec)
    assert claims(planned)["Ready"] == ("False", "Verifying")
    question = planned.inquiry
    assert isinstance(question, Question)
    assert question.url == "http://10.96.0.9:80/predict"
    assert question.example == Example("/predict", '{"x": 1}', "application/json")
    memory.verdict = judge_example(question, "/predict", 422, "x: expected a list")
    failed = look(children, memory, **spec)
    assert claims(failed)["Ready"] == ("False", "PredictionFailed")
    assert "answered 422 through the Service, expected 200 to 299: x: expected a list" in message(failed)
    memory.verdict = judge_example(question, "/predict", 201, "")
    answered = look(children, memory, **spec)
    assert claims(answered)["Ready"] == ("True", "PredictionsAnswered")
    assert answered.inquiry is None, "such a pod has no port that tells its progress"


def test_another_prediction_is_asked_anew_and_restarts_nothing() -> None:
    children = children_of(**custom(PREDICTION))
    memory = proven(children, **custom(PREDICTION))
    other = custom(PREDICTION | {"body": '{"x": 2}'})
    edit = look(children, memory, generation=2, **other)
    assert [item.ref.kind for item in edit.applies] == ["ControllerRevision"]
    changed = look(children_of(**other), memory, generation=2, **other)
    assert claims(changed)["Ready"] == ("False", "Verifying")


def test_one_that_was_ready_is_not_before_the_prediction_that_its_new_spec_asks_for() -> None:
    children = children_of(**custom())
    memory = Memory(UID, status=look(children, Memory(UID, status={}), **custom()).status)
    asked = look(children_of(**custom(PREDICTION)), memory, generation=2, **custom(PREDICTION))
    assert claims(asked)["Ready"] == ("False", "Verifying")


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500])
def test_any_other_answer_of_such_a_server_proves_nothing(status: int) -> None:
    question = Question("http://10.96.0.9:80/predict", "rev", "svc", 30, Example("/predict", "", "text/plain"))
    assert judge_example(question, "/predict", status, "").reason == "PredictionFailed"


@pytest.mark.parametrize(
    ("spec", "asks", "reason", "why"),
    [
        ({}, False, "PredictionsAnswered", "operator.verifyPredictions"),
        ({"runtime": {"env": [{"name": "SLIPWAY_REVISION", "value": "me"}]}}, True, "PredictionsAnswered", "revision"),
        (custom(PREDICTION), False, "ReadinessAnswered", "operator.verifyPredictions"),
    ],
)
def test_what_ready_rests_on_is_told_where_nobody_asked(
    spec: dict[str, Any], asks: bool, reason: str, why: str
) -> None:
    planned = look(children_of(**spec), Memory(UID, status={}), asks=asks, **spec)
    assert claims(planned)["Ready"] == ("True", reason)
    assert why in message(planned)


@pytest.mark.parametrize(
    "turned",
    [
        {"selector": {"app": "other"}},
        {"ports": [{"name": "http", "port": 80, "targetPort": 9999, "protocol": "TCP"}]},
        {"internalTrafficPolicy": "Local"},
    ],
)
def test_a_service_that_was_turned_elsewhere_while_repairs_wait_proves_nothing(turned: dict[str, Any]) -> None:
    children = children_of()
    memory = proven(children)
    memory.verdict = None
    planned = look(edited(children, SERVICE, **turned), memory, paused=True)
    assert claims(planned)["Ready"][0] == "False"
    assert "verification" not in planned.status
    assert isinstance(planned.inquiry, Question)
    assert planned.inquiry.turned, "for a moment pods behind the old way would answer"
    memory.status = planned.status
    asked = look(edited(children, SERVICE, **turned), memory, paused=True).inquiry
    assert isinstance(asked, Question), "it is asked where it leads now, until there is an answer"
    memory.verdict = Verdict(asked, "ServiceUnreachable", "It gives no answer.")
    told = look(edited(children, SERVICE, **turned), memory, paused=True)
    assert claims(told)["Ready"][0] == "False"
    assert claims(told)["Degraded"] == ("True", "ServiceUnreachable")


def test_what_does_not_turn_a_service_asks_nobody() -> None:
    children = children_of()
    memory = proven(children)
    ports = [port | {"nodePort": 30080} for port in children[SERVICE].body["spec"]["ports"]]
    planned = look(edited(children, SERVICE, ports=ports, ipFamilies=["IPv4"]), memory)
    assert claims(planned)["Ready"] == ("True", "PredictionsAnswered")


@pytest.mark.parametrize("asks", [True, False])
def test_without_its_service_nothing_is_ready(asks: bool) -> None:
    children = children_of()
    memory = proven(children)
    gone = {ref: live for ref, live in children.items() if ref != SERVICE}
    planned = look(gone, memory, asks=asks, paused=True)
    assert claims(planned)["Ready"] == ("False", "Paused")


def test_where_nobody_asks_a_turned_service_is_seen_all_the_same() -> None:
    children = children_of()
    memory = Memory(UID, status=look(children, Memory(UID, status={}), asks=False).status)
    planned = look(edited(children, SERVICE, selector={"app": "other"}), memory, asks=False, paused=True)
    assert claims(planned)["Ready"][0] == "False"


def test_pods_of_a_template_that_was_changed_by_hand_prove_nothing() -> None:
    children = children_of()
    memory = proven(children)
    template = children[DEPLOYMENT].body["spec"]["template"]
    template["spec"]["containers"][0]["image"] = "somebody/else:1"
    planned = look(edited(children, DEPLOYMENT, template=template), memory, paused=True)
    assert claims(planned)["Ready"] == ("False", "Paused"), "its pods carry our hash"


def test_a_pod_with_the_same_labels_that_is_nobodys_is_told() -> None:
    children = children_of()
    memory = proven(children)
    stranger = replace(pod(ready(), name="mine"), template_hash=None)
    planned = look(children, memory, stranger)
    assert claims(planned)["Ready"] == ("False", "ServiceUnreachable")
    assert claims(planned)["Degraded"] == ("True", "ServiceUnreachable")
    assert "pod mine" in message(planned)
    unready = look(children, memory, replace(stranger, ready=False))
    assert claims(unready)["Ready"] == ("True", "PredictionsAnswered"), "no request reaches it"


def test_a_pod_that_was_taken_from_the_service_does_not_serve() -> None:
    children = children_of()
    taken = replace(serving(children), selected=False)
    planned = plan(observed(model(), children, [taken], proven(children)), ASKING)
    assert claims(planned)["Ready"][0] == "False"
    assert claims(planned)["Available"] == ("False", "NoPodsReady")
    assert planned.status["replicaSummary"] == "0/1"


@pytest.mark.parametrize(("label", "selected"), [(INSTANCE_LABEL, False), ("app.kubernetes.io/managed-by", True)])
def test_a_pod_is_selected_by_the_labels_of_the_service(label: str, selected: bool) -> None:
    labels = {name: value for name, value in child_labels("digits").items() if name != label}
    metadata = {"namespace": "vision", "name": "digits-1", "uid": "u", "resourceVersion": "1", "labels": labels}
    found = pod_record({"metadata": metadata | {"annotations": {TEMPLATE_HASH_ANNOTATION: "x"}}, "status": ready()})
    assert found is not None
    assert found.selected is selected
