"""`slipway validate` gives the API server's verdict, all of it at once, in words that say what to do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml

from slipway.validation import Report, find_problems, validate_files
from tests.api.accepted import ACCEPTED
from tests.api.manifests import EVERY_FIELD, Accepted, Refused
from tests.api.refused import REFUSED, TYPOS

pytestmark = pytest.mark.unit

VALID = """
apiVersion: slipway.dev/v1alpha1
kind: ModelDeployment
metadata:
  name: digits
  namespace: vision
spec:
  artifact:
    uri: s3://models/digits.pt
"""


def validate(text: str) -> Report:
    return validate_files([("model.yaml", text)])


def problems_of(spec: str, head: str = VALID) -> list[str]:
    return validate(head + spec).problems


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.title)
def test_a_manifest_is_accepted_when_the_api_server_accepts_it(case: Accepted) -> None:
    assert not find_problems(case.manifest)


@pytest.mark.parametrize("case", [*REFUSED, *TYPOS], ids=lambda case: case.title)
def test_a_manifest_is_refused_at_the_same_place_when_the_api_server_refuses_it(case: Refused) -> None:
    problems = [str(problem) for problem in find_problems(case.manifest)]
    assert problems
    places = [problem.partition(": ")[0] for problem in problems]
    # kubectl names the kind where it knows none such, and for a list in an object's place what lies below it.
    assert any(case.path.startswith(place) for place in places) or any(case.path in problem for problem in problems)
    if case.hidden:
        assert case.hidden not in "\n".join(problems)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.title)
def test_one_mistake_gets_one_answer_when_nothing_else_is_wrong(case: Refused) -> None:
    assert len(find_problems(case.manifest)) == 1


def test_a_manifest_is_left_as_it_was_when_checked() -> None:
    before = deepcopy(EVERY_FIELD)
    find_problems(EVERY_FIELD)
    assert before == EVERY_FIELD


@pytest.mark.feature("all-errors")
def test_every_mistake_is_named_with_its_line_when_there_are_many() -> None:
    problems = problems_of(
        """
  artifcat: {}
  replicas: "2"
  resources:
    gpu: {count: 65}
  runtime:
    env:
    - name: LEVEL
      value: 4
""".lstrip("\n")
    )
    assert problems == [
        "model.yaml:10: ModelDeployment digits: spec.artifcat: unknown field. Did you mean artifact?",
        "model.yaml:11: ModelDeployment digits: spec.replicas: got '2' (a string), expected an integer."
        " Remove the quotes.",
        "model.yaml:13: ModelDeployment digits: spec.resources.gpu.count: got 65, expected at most 64.",
        "model.yaml:17: ModelDeployment digits: spec.runtime.env[0].value: got 4 (an integer), expected a string."
        " Put it into quotes.",
    ]


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        (
            "  resources: {gpu: 2}",
            "spec.resources.gpu: got 2 (an integer), expected an object. Its fields: count, resourceName.",
        ),
        ("  exposure: [ingress]", "spec.exposure: got a list, expected an object. Remove the '- ' before its keys."),
        ("  runtime: {env: {A: b}}", "spec.runtime.env: got an object, expected a list. Begin each item with '- '."),
        ("  webhook: {}", "spec.webhook: unknown field. Known here: artifact, autoscaling, "),
        (
            "  resources: {limits: {memory: true}}",
            "spec.resources.limits[memory]: got true (a boolean), expected an integer or a string. Put it into quotes.",
        ),
        (
            "  resources: {limits: {memory: 9223372036854775808}}",
            "spec.resources.limits[memory]: got 9223372036854775808 (an integer), expected an integer or a string.",
        ),
        ("  runtime: {image: ''}", "spec.runtime.image: got '', expected at least 1 character."),
        (
            "  exposure: {service: {type: clusterip}}",
            "spec.exposure.service.type: got 'clusterip', expected one of ClusterIP, NodePort, LoadBalancer."
            " Did you mean ClusterIP?",
        ),
        (
            "  runtime: {env: [{name: A, value: b}, {name: A, value: c}]}",
            "spec.runtime.env[1]: repeats item [0] with name 'A'. Remove one of the two or rename it.",
        ),
        ("  replicas: 1\n  replicas: 2", "spec.replicas: given twice, first on line 10. Remove one of the two."),
    ],
)
def test_the_answer_says_what_was_given_what_is_expected_and_what_to_do_when_refused(spec: str, answer: str) -> None:
    (problem,) = problems_of(spec)
    assert problem.split(": ", 2)[2].startswith(answer)


@pytest.mark.parametrize(
    ("metadata", "answer"),
    [
        ("{name: digits, labels: {version: 1}}", "metadata.labels[version]: got 1, expected a string."),
        ("{name: digits, labels: {a: 'b c'}}", "metadata.labels[a]: got 'b c', expected at most 63 letters"),
        ("{name: digits, annotations: {a/b/c: d}}", "metadata.annotations[a/b/c]: got the key 'a/b/c', expected NAME"),
        ("{name: digits, nmaespace: x}", "metadata.nmaespace: unknown field. Did you mean namespace?"),
        ("{name: digits, namespace: My_Space}", "metadata.namespace: got 'My_Space', expected at most 63 lower-case"),
        ("{labels: {a: b}}", "metadata.name: required and missing. Add a name."),
        ("{name: digits_2}", "metadata.name: got 'digits_2', expected lower-case letters, digits and '-'"),
        ("{name: Digits}", "metadata.name: got 'Digits', expected lower-case letters, digits and '-'"),
        ("{generateName: Digits-}", "metadata.generateName: got 'Digits-', expected lower-case letters"),
        ("{name: 1}", "metadata.name: got 1, expected a string. Put it into quotes."),
        ("[name]", "metadata: got a list, expected an object. Add metadata with a name."),
    ],
)
def test_metadata_is_checked_as_every_object_is_when_given(metadata: str, answer: str) -> None:
    manifest = yaml.safe_load(VALID) | {"metadata": yaml.safe_load(metadata)}
    (problem,) = find_problems(manifest)
    assert str(problem).startswith(answer)


def test_a_generated_name_is_accepted_when_it_fits_with_its_suffix() -> None:
    manifest = yaml.safe_load(VALID) | {"metadata": {"generateName": "digits-"}}
    assert not find_problems(manifest)
    manifest["metadata"]["generateName"] = "d" * 48
    (problem,) = find_problems(manifest)
    assert "at most 52" in problem.text


def test_a_secret_is_not_repeated_when_the_uri_holds_one() -> None:
    (problem,) = find_problems(yaml.safe_load(VALID.replace("s3://models", "s3://user:hunter2@models")))
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize("status", ["{}", "{replicas: many}", "{unknown: 1}"])
def test_a_status_is_not_judged_when_the_manifest_carries_one(status: str) -> None:
    assert not validate(f"{VALID}status: {status}").problems


def test_other_kinds_are_skipped_with_a_note_when_they_stand_beside_ours() -> None:
    report = validate(f"{VALID}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: store}}\n")
    assert [model.name for model in report.models] == ["digits"]
    assert report.notes == ["model.yaml:11: Secret store: skipped, only ModelDeployment is checked."]


@pytest.mark.parametrize(
    "head",
    [
        "apiVersion: slipway.dev/v1alpha1\nkind: ModelDeploymnt",
        "apiVersion: slipway.dev/v1beta1\nkind: ModelDeployment",
        "apiVersion: slipwey.dev/v1alpha1\nkind: ModelDeployment",
        "apiVersion: slipway.dev/v1alpha1",
        "kind: ModelDeployment",
        "apiVersion: 1\nkind: ModelDeployment",
    ],
)
def test_a_near_miss_is_refused_and_not_skipped_when_version_or_kind_is_mistyped(head: str) -> None:
    report = validate(f"{head}\nmetadata: {{name: digits}}\nspec: {{artifact: {{uri: 's3://models/a'}}}}\n")
    (problem,) = report.problems
    assert "slipway.dev/v1alpha1" in problem or ": kind: " in problem


def test_other_documents_are_judged_when_one_is_no_yaml() -> None:
    files = [("a.yaml", "a: b: c"), ("b.yaml", VALID), ("c.yaml", VALID + "  replicas: -1\n---\n- [\n")]
    report = validate_files(files)
    assert [model.source for model in report.models] == ["b.yaml"]
    assert report.problems[0] == "a.yaml:1:5: not YAML: mapping values are not allowed here."
    assert report.problems[1].startswith("c.yaml:10: ModelDeployment digits: spec.replicas: got -1")
    assert report.problems[2].startswith("c.yaml:13:1: not YAML: ")


def test_defaults_are_filled_in_before_the_rules_when_a_block_is_empty() -> None:
    # gpu.resourceName has a default, which the rule on limits compares with.
    (problem,) = problems_of("  resources: {gpu: {}, limits: {nvidia.com/gpu: 1}}")
    assert "gpu.count sets already" in problem


def test_a_null_counts_as_absent_when_the_field_takes_none() -> None:
    nothing = "  rollout:\n  replicas: null\n  resources: {limits: {memory: null}, gpu: {count: ~}}"
    (model,) = validate(VALID + nothing).models
    assert (model.spec.rollout, model.spec.replicas) == (None, 1)
    (problem,) = validate(VALID.replace("uri: s3://models/digits.pt", "uri:")).problems
    assert "spec.artifact.uri: required and missing" in problem


def test_the_same_object_twice_is_noted_when_both_are_valid() -> None:
    report = validate(f"{VALID}---{VALID}")
    assert len(report.models) == 2
    assert report.notes == ["model.yaml:11: ModelDeployment digits: given before at model.yaml:2; kubectl applies the"
                            " later one last."]  # fmt: skip


def test_a_document_that_is_no_object_is_named_by_its_place_when_refused() -> None:
    assert validate("just text").problems == [
        "model.yaml:1: ModelDeployment (document 1): got 'just text', expected an object with apiVersion, kind,"
        " metadata and spec."
    ]


def test_the_spec_is_the_one_that_the_operator_gets_when_accepted() -> None:
    (model,) = validate(VALID).models
    spec: Any = model.spec
    assert (model.namespace, model.name) == ("vision", "digits")
    assert (spec.replicas, spec.artifact.stall_timeout_seconds) == (1, 120)
