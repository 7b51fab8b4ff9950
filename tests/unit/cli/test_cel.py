"""The CRD's rules are evaluated as the API server evaluates them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cel import Quantity, check_rules
from slipway_operator.tools.crdgen import openapi_schema

pytestmark = pytest.mark.unit


def rules_below(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get("x-kubernetes-validations", ())
    for child in schema.get("properties", {}).values():
        yield from rules_below(child)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from rules_below(schema[keyword])


def refusals(rule: str, value: Any, message: str = "'refused'") -> list[str]:
    schema = {"x-kubernetes-validations": [{"rule": rule, "messageExpression": message}]}
    return [problem.text for problem in check_rules(schema, value, ())]


@pytest.mark.parametrize("rule", list(rules_below(openapi_schema())), ids=lambda rule: rule["rule"])
def test_every_rule_of_the_crd_can_be_read_when_evaluated_here(rule: dict[str, str]) -> None:
    for expression in (rule["rule"], rule["messageExpression"]):
        # What is no CEL raises CELParseError here; a value of the wrong shape is an answer.
        assert isinstance(refusals(expression, {}), list)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", "1"),
        ("500m", "0.5"),
        ("1.5Gi", str(3 * 2**29)),
        ("4G", "4000000000"),
        ("1e3", "1000"),
        ("2E-1", "0.2"),
        ("1E", "1000000000000000000"),
        ("1Ei", str(2**60)),
        (".5", "0.5"),
        ("250u", "0.00025"),
    ],
)
def test_a_quantity_has_the_amount_that_kubernetes_gives_it_when_written(text: str, amount: str) -> None:
    assert Quantity(text).amount == Decimal(amount)


@pytest.mark.parametrize(
    ("left", "right", "holds"), [("1000m", "1", True), ("1Gi", "1G", False), ("0.1", "100m", True), ("2", "10", True)]
)
def test_quantities_are_compared_by_value_when_their_units_differ(left: str, right: str, holds: bool) -> None:
    rule = "quantity(self.left).compareTo(quantity(self.right)) <= 0"
    assert (not refusals(rule, {"left": left, "right": right})) is holds


@given(st.integers(0, 10**6), st.sampled_from(["", "m", "k", "Ki", "M", "Mi", "G", "Gi"]))
def test_a_quantity_equals_itself_when_compared(number: int, suffix: str) -> None:
    value = f"{number}{suffix}"
    assert not refusals("quantity(self).compareTo(quantity(self)) == 0", value)


def test_the_message_quotes_the_value_when_its_expression_does() -> None:
    assert refusals("self == 'a'", "b", "'got ' + self") == ["got b"]


def test_a_deciding_operand_wins_over_an_error_when_operands_are_lists_with_conditions() -> None:
    assert not refusals("!has(self.b) || self.a.filter(x, x in self.b).size() == 0", {"a": ["c"]})
    assert not refusals("!(has(self.b) && self.a.all(x, x in self.b))", {"a": ["c"]})
    assert refusals("self.a.filter(x, x in self.b).size() == 0 || false", {"a": ["c"]})


def test_a_rule_that_cannot_be_evaluated_refuses_when_nothing_inside_explains_it() -> None:
    (text,) = refusals("self.missing == 1", {"a": 1})
    assert text.startswith("the rule self.missing == 1 cannot be evaluated")


def test_an_outer_rule_is_silent_when_an_inner_one_has_told_the_cause() -> None:
    schema = {
        "x-kubernetes-validations": [{"rule": "quantity(self.a).compareTo(quantity('1')) <= 0", "message": "too much"}],
        "properties": {"a": {"x-kubernetes-validations": [{"rule": "isQuantity(self)", "message": "no quantity"}]}},
    }
    assert [str(problem) for problem in check_rules(schema, {"a": "1GB"}, ())] == ["a: no quantity"]
    assert [str(problem) for problem in check_rules(schema, {"a": "2"}, ())] == ["too much"]


def test_rules_are_left_out_when_the_value_below_has_the_wrong_shape() -> None:
    schema = {"x-kubernetes-validations": [{"rule": "false", "message": "never"}]}
    assert not list(check_rules(schema, {"a": 1}, {("a",)}))


def test_the_field_path_is_appended_when_a_rule_blames_a_field() -> None:
    schema = {
        "properties": {
            "tls": {"x-kubernetes-validations": [{"rule": "false", "message": "needs a host", "fieldPath": ".host"}]}
        }
    }
    (problem,) = check_rules(schema, {"tls": {}}, ())
    assert str(problem) == "tls.host: needs a host"
