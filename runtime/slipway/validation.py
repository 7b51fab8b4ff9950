"""Say what the API server would refuse, all of it at once and without a cluster.

The schema and its rules are those of the CRD itself (`slipway_operator.tools.crdgen`). What only a cluster knows is
not checked: whether a Secret exists, whether the operator allows the artifact's scheme, quotas, policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from slipway.cel import check_rules
from slipway.manifest import Document, ManifestSyntaxError, read_documents
from slipway.metadata import check_metadata, check_type, concerns_us
from slipway.problem import MapKey, Path, Problem, quote
from slipway.structural import Schema, check_structure, fill_defaults, prune
from slipway_operator.api.v1alpha1 import KIND, ModelDeploymentSpec
from slipway_operator.tools.crdgen import build_crd

_GENERATED_SUFFIX: Final = "xxxxx"
"""As long as the one that the API server appends to generateName."""


@dataclass(frozen=True)
class ValidModel:
    """A ModelDeployment that the API server would take."""

    source: str
    namespace: str | None
    name: str
    spec: ModelDeploymentSpec


@dataclass
class Report:
    """The verdict on manifests, in their order."""

    problems: list[str] = field(default_factory=list)
    """One line each: `FILE:LINE: ModelDeployment NAME: path: text`."""
    notes: list[str] = field(default_factory=list)
    models: list[ValidModel] = field(default_factory=list)


def validate_files(files: Iterable[tuple[str, str]]) -> Report:
    """`files` are pairs of a name for messages and the text."""
    report = Report()
    seen: dict[tuple[str | None, str], str] = {}
    for source, text in files:
        try:
            for document in read_documents(source, text):
                _judge(document, report, seen)
        except ManifestSyntaxError as error:
            report.problems.append(f"{source}:{error.line}:{error.column}: not YAML: {error}.")
    return report


def _judge(document: Document, report: Report, seen: dict[tuple[str | None, str], str]) -> None:
    value = document.value
    here = f"{document.source}:{document.line(())}"
    if not concerns_us(value):
        report.notes.append(f"{here}: {value['kind']} {_name(document)}: skipped, only {KIND} is checked.")
        return
    found, spec = admit(value)
    problems = sorted([*document.duplicates, *found], key=lambda problem: document.line(problem.path))
    report.problems += [
        f"{document.source}:{document.line(problem.path)}: {KIND} {_name(document)}: {problem}" for problem in problems
    ]
    if problems:
        return
    metadata = value["metadata"]
    name = _object_name(metadata)
    key = (metadata.get("namespace"), name)
    if key in seen:
        report.notes.append(f"{here}: {KIND} {name}: given before at {seen[key]}; kubectl applies the later one last.")
    seen[key] = here
    model = ModelDeploymentSpec.model_validate(spec)
    report.models.append(ValidModel(document.source, metadata.get("namespace"), name, model))


def _name(document: Document) -> str:
    metadata = document.value.get("metadata") if isinstance(document.value, dict) else None
    name = (metadata.get("name") or metadata.get("generateName")) if isinstance(metadata, dict) else None
    return str(name) if name else f"(document {document.number})"


def find_problems(value: Any) -> list[Problem]:
    """What the API server would refuse of one object, from strict decoding to the last rule; `value` stays as it is."""
    return admit(value)[0]


def admit(value: Any) -> tuple[list[Problem], dict[str, Any]]:
    """Problems, and the spec as the API server would store it: pruned, nulls gone, defaults filled in."""
    if not isinstance(value, dict):
        return [Problem((), f"got {quote(value)}, expected an object with apiVersion, kind, metadata and spec.")], {}
    metadata = value.get("metadata")
    problems = [*check_type(value), *check_metadata(metadata)]
    schema = _schema()
    own_schema = _without_metadata(schema)
    # The status is dropped unread: only the operator writes it, through its subresource.
    dropped = ("apiVersion", "kind", "metadata", "status")
    subject = {key: deepcopy(item) for key, item in value.items() if key not in dropped}
    problems += prune(own_schema, subject)
    fill_defaults(own_schema, subject)

    structural = list(check_structure(own_schema, subject))
    broken: set[Path] = {problem.path for problem in problems if problem.path[:1] == ("metadata",)}
    broken |= {problem.path for problem in structural}
    name = _object_name(metadata) if isinstance(metadata, dict) else ""
    problems += [*structural, *check_rules(schema, {**subject, "metadata": {"name": name}}, broken)]
    return [Problem(_mark_map_keys(schema, problem.path), problem.text) for problem in problems], subject.get(
        "spec", {}
    )


def _mark_map_keys(schema: Schema, path: Path) -> Path:
    """The schema alone tells a field from a key that the user chose."""
    marked: list[str | int] = []
    for step in path:
        known = schema.get("properties", {})
        further = schema.get("additionalProperties")
        if isinstance(step, str) and step not in known and isinstance(further, Mapping):
            marked.append(MapKey(step))
            schema = further
        else:
            marked.append(step)
            schema = schema.get("items", {}) if isinstance(step, int) else known.get(step, {})
    return tuple(marked)


def _object_name(metadata: dict[str, Any]) -> str:
    return str(metadata.get("name") or f"{metadata.get('generateName', '')}{_GENERATED_SUFFIX}")


@lru_cache(maxsize=1)
def _schema() -> Schema:
    schema: Schema = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _without_metadata(schema: Schema) -> Schema:
    own = {"apiVersion", "kind", "metadata"}
    return {**schema, "properties": {key: item for key, item in schema["properties"].items() if key not in own}}
