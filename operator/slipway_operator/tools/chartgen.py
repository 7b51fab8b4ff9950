"""The chart's generated files: values.yaml, its schema, the README's table, the CRD and the roles. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any, Final

import yaml
from pydantic import BaseModel

from slipway_operator import rbac
from slipway_operator.tools.chart_values import ChartValues
from slipway_operator.tools.crdgen import build_crd
from slipway_operator.tools.value_types import Values

WIDTH: Final = 120

_CRD_HEAD: Final = """\
{{- /* A template and not in crds/, because helm upgrades templates only. */ -}}
{{- if .Values.crds.enabled }}
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: NAME
  labels:
    {{- include "slipway.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""

_README: Final = """\
# Slipway's chart

Installs the operator that turns `ModelDeployment` objects into served models, and the CustomResourceDefinition.
[docs/install.md](../../docs/install.md) tells how to install, upgrade and uninstall it and what it may do.

    helm install slipway charts/slipway --namespace slipway-system --create-namespace

Needs Kubernetes 1.29 or newer, helm 3.17 or newer, and nothing else in the cluster.

## Values

| Value | Default | What it is for |
|---|---|---|
"""


def to_yaml(document: Any, *, flow_leaves: bool = False) -> str:
    """Block style; with `flow_leaves` lists and maps that hold only scalars are written on one line."""
    style = None if flow_leaves else False
    text: str = yaml.safe_dump(document, sort_keys=False, width=WIDTH, allow_unicode=True, default_flow_style=style)
    return text


def crd_template() -> str:
    crd = build_crd()
    text = _CRD_HEAD.replace("NAME", crd["metadata"]["name"]) + to_yaml({"spec": crd["spec"]})
    if "{{" in text.removeprefix(_CRD_HEAD.replace("NAME", crd["metadata"]["name"])):
        raise ValueError("the CRD holds '{{', which helm would take for a template. Reword the description.")
    return text + "{{- end }}\n"


def rules_template() -> str:
    """The permissions of `slipway_operator.rbac` as named templates, for Roles and a ClusterRole."""
    tables = {
        "slipway.rules": rbac.PERMISSIONS,
        "slipway.clusterRules": rbac.CLUSTER_PERMISSIONS,
        **{f"slipway.{role}Rules": table for role, table in rbac.USER_PERMISSIONS.items()},
        "slipway.leaseRules": rbac.lease_permissions('{{ include "slipway.operatorName" . }}'),
    }
    return "".join(
        f'{{{{- define "{name}" -}}}}\n{to_yaml(rbac.rules(table), flow_leaves=True)}{{{{- end }}}}\n'
        for name, table in tables.items()
    )


def values_yaml() -> str:
    return "\n".join(_values_lines(ChartValues(), indent="")) + "\n"


def _values_lines(values: Values, indent: str) -> Iterator[str]:
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        width = WIDTH - len(indent) - 2
        yield from (f"{indent}# {line}" for line in textwrap.wrap(_sentence(field.description), width))
        if isinstance(value, Values):
            yield f"{indent}{field.alias}:"
            yield from _values_lines(value, indent + "  ")
        elif value == "":
            yield f'{indent}{field.alias}: ""'
        else:
            yield from textwrap.indent(to_yaml({field.alias: value}), indent).splitlines()
        if not indent:
            yield ""


def values_schema() -> str:
    """JSON Schema, draft 7: what both helm 3 and helm 4 check values against."""
    document = ChartValues.model_json_schema(by_alias=True)
    definitions = document.pop("$defs")
    schema = _inline(document, definitions)
    # helm hands `global` to every chart that another chart depends on.
    schema["properties"]["global"] = {"type": "object", "description": "Values of a parent chart; not used here."}
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **schema}, indent=2) + "\n"


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")] | {
            key: value for key, value in schema.items() if key != "$ref"
        }
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: _inline(item, definitions) for name, item in value.items()}
        elif key == "description":
            result[key] = _sentence(value)
        elif key not in ("title", "default"):
            result[key] = _inline(value, definitions)
    return result


def readme() -> str:
    rows = [
        f"| `{path}` | {_cell(default)} | {_sentence(description)} |"
        for path, default, description in _rows(ChartValues(), "")
    ]
    return _README + "\n".join(rows) + "\n"


def _rows(values: BaseModel, prefix: str) -> Iterator[tuple[str, Any, str | None]]:
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        path = f"{prefix}{field.alias}"
        if isinstance(value, Values):
            yield from _rows(value, f"{path}.")
        else:
            yield path, value, field.description


def _cell(default: Any) -> str:
    return f"`{json.dumps(default)}`"


def _sentence(text: str | None) -> str:
    if not text:
        raise ValueError("a value has no description. Write a docstring below the field.")
    return " ".join(text.split())
