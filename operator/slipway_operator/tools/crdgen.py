"""The CustomResourceDefinition, from the pydantic models. Pure.

Pydantic writes JSON Schema; the API server takes the part of it called structural: no `$ref`, no `null`, no titles,
one `type` for each value. A construct that cannot be carried over is refused here and not at `kubectl apply`.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from slipway_operator.api import v1alpha1
from slipway_operator.tools.explanation import explained

JsonSchema = dict[str, Any]

INT32_MAXIMUM: Final = 2**31 - 1

# Also the order of the keys in the output: what a reader looks for first comes first.
_SCALAR_KEYWORDS: Final = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
)
_TYPE_META: Final[JsonSchema] = {
    "apiVersion": {
        "description": "Version of the schema of this object: slipway.dev/v1alpha1.",
        "type": "string",
    },
    "kind": {"description": "Kind of this object: ModelDeployment.", "type": "string"},
    # Named so that a rule on the object's name can point at it; `kubectl explain` has its own text for the rest.
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
}


class SchemaError(ValueError):
    """A model uses what a structural schema cannot say."""


def structural_schema(model: type[BaseModel]) -> JsonSchema:
    """The model as a structural OpenAPI v3 schema, references resolved."""
    document = model.model_json_schema(by_alias=True, mode="validation")
    definitions = document.pop("$defs", {})
    return _convert(document, definitions, model.__name__)


def _convert(schema: JsonSchema, definitions: dict[str, JsonSchema], where: str) -> JsonSchema:
    schema = _resolve(schema, definitions, where)
    nested = {keyword: schema.pop(keyword, None) for keyword in ("properties", "items", "additionalProperties")}
    required = schema.pop("required", None)
    any_of = schema.pop("anyOf", None)
    result = _scalars(schema, where)
    if any_of is not None:
        result["anyOf"] = any_of
    if required:
        result["required"] = sorted(required)
    if nested["properties"] is not None:
        result["properties"] = {
            name: _property(value, definitions, f"{where}.{name}") for name, value in nested["properties"].items()
        }
    if nested["items"] is not None:
        result["items"] = _convert(nested["items"], definitions, f"{where}[]")
    if nested["additionalProperties"] is not None:
        result["additionalProperties"] = _convert(nested["additionalProperties"], definitions, f"{where}{{}}")
    _check(result, where)
    return result


def _scalars(schema: JsonSchema, where: str) -> JsonSchema:
    """The keywords that hold no further schema, in the order of the output."""
    for dropped in ("title", "propertyNames"):
        schema.pop(dropped, None)
    if schema.get("default", ...) in (None, [], {}):
        # The API server knows these by absence; stored objects stay as short as their authors wrote them.
        del schema["default"]
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if schema.get("type") == "integer":
        schema.setdefault("format", "int32" if schema.get("maximum", INT32_MAXIMUM + 1) <= INT32_MAXIMUM else "int64")
    if unknown := sorted(schema.keys() - set(_SCALAR_KEYWORDS)):
        raise SchemaError(f"{where}: a structural schema has no {', '.join(unknown)}. Say it with a CEL rule.")
    return {keyword: schema[keyword] for keyword in _SCALAR_KEYWORDS if keyword in schema}


def _property(schema: JsonSchema, definitions: dict[str, JsonSchema], where: str) -> JsonSchema:
    result = _convert(schema, definitions, where)
    if not result.get("description"):
        raise SchemaError(
            f"{where}: has no description. Write a docstring below the field; `kubectl explain` shows it."
        )
    return result


def _resolve(schema: JsonSchema, definitions: dict[str, JsonSchema], where: str) -> JsonSchema:
    """A copy without `$ref` and without the `null` of an optional field; the outer description and default win."""
    schema = dict(schema)
    if "$ref" in schema:
        target = definitions[schema.pop("$ref").removeprefix("#/$defs/")]
        schema = {**target, **schema}
        return _resolve(schema, definitions, where)
    branches = schema.get("anyOf")
    if branches is None or schema.get("x-kubernetes-int-or-string"):
        return schema
    branches = [branch for branch in branches if branch != {"type": "null"}]
    if len(branches) != 1:
        raise SchemaError(f"{where}: has {len(branches)} types, a structural schema takes one. Choose one.")
    del schema["anyOf"]
    return _resolve({**branches[0], **schema}, definitions, where)


def _check(schema: JsonSchema, where: str) -> None:
    """Bounds are not decoration: without them the API server counts a CEL rule as too expensive and refuses the CRD."""
    if "type" not in schema and not schema.get("x-kubernetes-int-or-string"):
        raise SchemaError(f"{where}: has no type.")
    if schema.get("type") == "array" and not {"maxItems", "x-kubernetes-list-type"} <= schema.keys():
        raise SchemaError(f"{where}: a list needs max_length, and list_map(…) or list_atomic() for server-side apply.")
    if "additionalProperties" in schema and "maxProperties" not in schema:
        raise SchemaError(f"{where}: a map needs max_length.")
    free_text = schema.get("type") == "string" and not {"enum", "format"} & schema.keys()
    if free_text and "maxLength" not in schema:
        raise SchemaError(f"{where}: a string needs max_length.")


def openapi_schema() -> JsonSchema:
    """The schema of a whole ModelDeployment, as the API server checks it: bounds, defaults and CEL rules."""
    schema = structural_schema(v1alpha1.ModelDeployment)
    schema["properties"] = _TYPE_META | schema["properties"]
    return schema


def build_crd() -> dict[str, Any]:
    """The CustomResourceDefinition as one document, ready for `kubectl apply`."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{v1alpha1.PLURAL}.{v1alpha1.GROUP}"},
        "spec": {
            "group": v1alpha1.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": v1alpha1.KIND,
                "listKind": f"{v1alpha1.KIND}List",
                "plural": v1alpha1.PLURAL,
                "singular": v1alpha1.SINGULAR,
                "shortNames": [v1alpha1.SHORT_NAME],
                "categories": [v1alpha1.CATEGORY],
            },
            "versions": [
                {
                    "name": v1alpha1.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": v1alpha1.PRINTER_COLUMNS,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": explained(openapi_schema())},
                }
            ],
        },
    }
