"""From pydantic models to a structural schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from slipway.cel import check_rules
from slipway_operator.api.reasons import ConditionType, Reason
from slipway_operator.api.schema import ApiModel, Rule, list_atomic, number, rules
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.tools import generate
from slipway_operator.tools.crdgen import SchemaError, build_crd, openapi_schema, structural_schema
from slipway_operator.tools.docgen import meanings
from slipway_runtime.contract import FailureReason

pytestmark = pytest.mark.unit

_DECORATION = {"title", "$ref", "$defs", "const", "nullable", "oneOf", "allOf", "exclusiveMinimum", "exclusiveMaximum"}


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from schemas(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from schemas(schema[keyword], f"{path}[]")


def test_the_schema_is_structural() -> None:
    for path, schema in schemas(openapi_schema()):
        assert not _DECORATION & schema.keys(), path
        assert "anyOf" not in schema or schema.get("x-kubernetes-int-or-string"), path
        assert "type" in schema or schema.get("x-kubernetes-int-or-string"), path
        assert schema.get("default", "") not in (None, [], {}), path


def test_no_unknown_field_is_kept_anywhere() -> None:
    assert "x-kubernetes-preserve-unknown-fields" not in str(build_crd())


def test_defaults_are_those_of_the_models() -> None:
    """The operator fills in what an absent block leaves open; both sides must say the same."""
    for path, schema in schemas(openapi_schema()["properties"]["spec"]):
        if "default" in schema:
            field: Any = ModelDeploymentSpec
            *blocks, name = re.findall(r"\w+", path)
            for block in blocks:
                field = _model_of(_by_alias(field, block).annotation)
            assert _by_alias(field, name).default == schema["default"], path


def _by_alias(model: type[BaseModel], alias: str) -> Any:
    return next(field for field in model.model_fields.values() if field.alias == alias)


def _model_of(annotation: Any) -> type[BaseModel]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_of(item) for item in getattr(annotation, "__args__", ()) if item is not type(None)]
    return inner[0]


def test_every_rule_says_what_is_expected_and_what_to_do() -> None:
    for path, schema in schemas(openapi_schema()):
        for rule in schema.get("x-kubernetes-validations", ()):
            message = rule["messageExpression"]
            assert re.search(r"expected|already|needs", message), f"{path}: {message}"
            fix = r"\. (Set|Write|Remove|Rename|Correct|Choose|Put|Print|Look|Lower) "
            assert re.search(fix, message), f"{path}: {message}"


def test_a_message_quotes_the_refused_value_through_cel() -> None:
    rule = Rule("self > 0", "got '{string(self)}', expected \"more\". Raise it.")
    assert rule.message_expression() == '"got \'" + string(self) + "\', expected \\"more\\". Raise it."'


@pytest.mark.parametrize("given", [0, 7, 10, 65, 100, 999, 1000, 65_535])
def test_a_number_is_written_digit_by_digit(given: int) -> None:
    rule = Rule("false", f"got {{{number('self.size', 65_535)}}}, expected none. Remove it.").as_schema()
    schema = {"type": "object", "x-kubernetes-validations": [rule]}
    (problem,) = check_rules(schema, {"size": given}, broken=())
    assert problem.text == f"got {given}, expected none. Remove it."


class Sample(ApiModel):
    """A model with every construct that is converted."""

    kind: Literal["Only"] = "Only"
    """A constant."""
    size: Annotated[int, Field(ge=1, le=10)] | None = None
    """An optional
    number."""
    total: Annotated[int, Field(le=2**40)] = 2
    """A large number."""
    names: Annotated[
        list[Annotated[str, Field(max_length=3)]], Field(max_length=2, json_schema_extra=list_atomic())
    ] = []
    """A list."""


def test_constructs_of_json_schema_become_those_of_openapi() -> None:
    assert structural_schema(Sample)["properties"] == {
        "kind": {"description": "A constant.", "type": "string", "enum": ["Only"], "default": "Only"},
        "size": {
            "description": "An optional number.",
            "type": "integer",
            "format": "int32",
            "minimum": 1,
            "maximum": 10,
        },
        "total": {
            "description": "A large number.",
            "type": "integer",
            "format": "int64",
            "default": 2,
            "maximum": 2**40,
        },
        "names": {
            "description": "A list.",
            "type": "array",
            "maxItems": 2,
            "x-kubernetes-list-type": "atomic",
            "items": {"type": "string", "maxLength": 3},
        },
    }


def model_with(annotation: Any, description: str = "Text.") -> type[BaseModel]:
    namespace = {
        "__annotations__": {"field": annotation},
        "field": Field(description=description),
        "__module__": __name__,
    }
    return type("Broken", (ApiModel,), namespace)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (str, "needs max_length"),
        (list[int], "a list needs max_length"),
        (dict[str, int], "a map needs max_length"),
        (int | bool, "has 2 types"),
        (Annotated[int, Field(gt=0)], "no exclusiveMinimum"),
        (Any, "has no type"),
    ],
)
def test_a_model_is_refused_when_the_api_server_would_refuse_its_schema(annotation: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=f"Broken.field: .*{text}"):
        structural_schema(model_with(annotation))


def test_a_field_is_refused_when_it_has_no_description() -> None:
    with pytest.raises(SchemaError, match=r"Broken\.field: has no description"):
        structural_schema(model_with(bool, description=""))


def test_a_rule_reaches_the_schema_of_an_optional_field() -> None:
    rule = Rule("self != 'x'", "expected another. Choose one.", field_path=".name", reason="FieldValueForbidden")

    class WithRule(ApiModel):
        """A model."""

        model_config = ConfigDict(json_schema_extra=rules(rule))

    class Outer(ApiModel):
        """Its owner."""

        inner: WithRule | None = None
        """The block."""

    inner = structural_schema(Outer)["properties"]["inner"]
    assert inner["description"] == "The block."
    assert inner["x-kubernetes-validations"] == [
        {
            "rule": "self != 'x'",
            "messageExpression": '"expected another. Choose one."',
            "reason": "FieldValueForbidden",
            "fieldPath": ".name",
        }
    ]


@pytest.mark.parametrize("words", [ConditionType, Reason, FailureReason])
def test_every_word_of_the_status_is_explained(words: Any) -> None:
    explained = dict(meanings(words))
    assert explained.keys() == {member.value for member in words}


def test_reasons_of_operator_and_runtime_differ_unless_they_mean_the_same() -> None:
    assert {str(reason) for reason in Reason} & {str(reason) for reason in FailureReason} == {"InternalError"}


def test_generated_files_are_fresh() -> None:
    assert generate.stale(generate.REPOSITORY, generate.outputs()) == [], "run: make generate"


def test_stale_files_are_named_and_mended(tmp_path: Any) -> None:
    wanted = {"a/one.md": "1\n", "two.md": "2\n"}
    (tmp_path / "two.md").write_text("old\n")
    assert generate.stale(tmp_path, wanted) == ["a/one.md", "two.md"]
    assert generate.write(tmp_path, wanted) == ["a/one.md", "two.md"]
    assert generate.write(tmp_path, wanted) == []
