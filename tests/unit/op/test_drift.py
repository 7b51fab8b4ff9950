"""Drift: our values are compared, those of others are not looked at."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.drift import differences

pytestmark = pytest.mark.unit


def deployment() -> dict[str, Any]:
    return {
        "metadata": {"name": "digits", "namespace": "vision", "labels": {"a": "b"}},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "runtime",
                            "args": ["--config", "x"],
                            "env": [{"name": "A", "value": "1"}],
                            "resources": {"limits": {"cpu": "1000m", "memory": "0.5Gi"}},
                        }
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                }
            }
        },
    }


def live() -> dict[str, Any]:
    found = copy.deepcopy(deployment())
    found["metadata"] = {"labels": {"a": "b", "team": "vision"}}
    pod = found["spec"]["template"]["spec"]
    pod["dnsPolicy"] = "ClusterFirst"
    pod["containers"][0]["env"].insert(0, {"name": "INJECTED", "value": "x"})
    pod["containers"][0]["resources"]["limits"] = {"cpu": "1", "memory": "512Mi"}
    pod["containers"].insert(0, {"name": "sidecar"})
    return found


@pytest.mark.parametrize("path", [(), ("matchLabels",)])
def test_key_that_is_added_to_a_selector_is_drift(path: tuple[str, ...]) -> None:
    """It would select other pods, or none; a selector is one value to the API server too."""
    selector: dict[str, Any] = {"app": "digits"}
    added: dict[str, Any] = selector | {"team": "vision"}
    for name in path:
        selector, added = {name: selector}, {name: added}
    desired = {"metadata": {}, "spec": {"selector": selector}}
    (found,) = differences(desired, {"metadata": {}, "spec": {"selector": added}})
    assert found == (".".join(("", "spec", "selector", *path, "team")), "'vision'")


def test_what_others_added_and_how_the_server_writes_numbers_is_no_drift() -> None:
    assert differences(deployment(), live()) == frozenset()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "labels", "a"), "c"),
        (("spec", "template", "spec", "containers", 1, "args"), ["--config", "x", "--more"]),
        (("spec", "template", "spec", "containers", 1, "env", 1, "value"), "2"),
        (("spec", "template", "spec", "containers", 1, "resources", "limits", "cpu"), "2"),
        (("spec", "template", "spec", "volumes"), []),
    ],
)
def test_a_changed_value_of_ours_is_drift(path: tuple[str | int, ...], value: object) -> None:
    found: Any = live()
    *way, last = path
    at: Any = found
    for step in way:
        at = at[step]
    at[last] = value
    (difference,) = differences(deployment(), found)
    assert str(last) in difference[0] or "[" in difference[0]


def test_a_removed_value_of_ours_is_drift() -> None:
    found = live()
    del found["spec"]["template"]["spec"]["containers"][1]["resources"]["limits"]["memory"]
    assert differences(deployment(), found) == {(".spec.template.spec.containers[runtime].resources.limits.memory", "")}


@given(st.integers(0, 10_000))
def test_milli_units_equal_their_decimal_form(number: int) -> None:
    wanted = {"metadata": {}, "resources": {"cpu": f"{number * 1000}m"}}
    assert differences(wanted, {"metadata": {}, "resources": {"cpu": str(number)}}) == frozenset()


def test_quantities_are_numbers_only_among_resources() -> None:
    assert differences({"metadata": {"labels": {"a": "1000m"}}}, {"metadata": {"labels": {"a": "1"}}})
