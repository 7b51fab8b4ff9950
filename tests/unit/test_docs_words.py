"""The names that pages use exist: fields, reasons, metrics, variables, values of the chart, files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from slipway_operator.api.reasons import ConditionType, Reason
from slipway_operator.tools.crdgen import build_crd
from slipway_runtime.contract import FailureReason
from slipway_runtime.models.tuning.choice import Variant
from tests.monitoring import queries, references
from tests.pages import PAGES, ROOT, name_of, tables
from tests.pages import words_in_code as words

pytestmark = pytest.mark.unit

PARTS: Final = re.compile(r"_(bucket|sum|count)$")
"""Series of a histogram."""
OTHERS_WORDS: Final = frozenset(
    {
        # Kinds, conditions and reasons of Kubernetes and of its Gateway API.
        *("BackendConfig", "BackendTLSPolicy", "ControllerRevision", "ModelDeployment", "ReferenceGrant"),
        *("NotAllowedByListeners", "NoMatchingListenerHostname", "NoMatchingParent", "ResolvedRefs", "InProgress"),
        # Calls of the Open Inference Protocol over gRPC.
        *("ModelConfig", "ModelStatistics", "ModelStreamInfer", "RepositoryIndex"),
        # Python.
        *("HttpToolsProtocol", "MemoryError", "ValueError"),
        # Values of the chart.
        "OnChange",
    }
)
"""Words in our way of writing that are not the operator's to define."""


OTHERS_FIELDS: Final = frozenset({"status.storedVersions", "status.podIP"})
"""Of a CRD and of a pod."""


@cache
def fields() -> frozenset[str]:
    """Every path of the object, without the brackets of lists."""
    return frozenset(_paths(_schema(), ""))


@cache
def values() -> frozenset[str]:
    """Every path of the chart's values."""
    return frozenset(_keys(yaml.safe_load((ROOT / "charts" / "slipway" / "values.yaml").read_text()), ""))


@cache
def vocabulary() -> frozenset[str]:
    """Conditions, reasons, choices of fields, alerts."""
    alerts = {rule["alert"] for rule in queries.rules() if "alert" in rule}
    return frozenset(
        {*map(str, ConditionType), *map(str, Reason), *map(str, FailureReason), *map(str, Variant)}
        | set(_choices(_schema()))
        | alerts
    )


@cache
def sources() -> str:
    """All code, in which an environment variable is read or set."""
    patterns = ("operator/**/*.py", "runtime/**/*.py", "tests/**/*.py", "benchmarks/**/*.py", "charts/**/*.yaml")
    files = [path for pattern in patterns for path in ROOT.glob(pattern) if path != Path(__file__)]
    files += [path for path in (ROOT / ".ci").iterdir() if path.is_file()]
    return "".join(path.read_text() for path in [*files, ROOT / "Makefile", ROOT / "Dockerfile"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_field_of_a_model_exists_when_named(page: Path) -> None:
    named = [match[0] for word in words(page) if (match := re.match(r"(?:spec|status)(?:\.\w+(?:\[\])?)+", word))]
    unknown = {name for name in named if not name.endswith(".py") and not known_field(name.replace("[]", ""))}
    assert unknown <= OTHERS_FIELDS


def known_field(path: str) -> bool:
    """Requests, limits and labels have keys of their own below the last field that is known."""
    if path in fields():
        return True
    parent = path.rpartition(".")[0]
    return parent in fields() and parent not in {known.rpartition(".")[0] for known in fields()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_value_of_the_chart_exists_when_named(page: Path) -> None:
    tops = {value for value in values() if "." not in value}
    named = [match[1] for word in words(page) if (match := re.match(r"(\w+(?:\.\w+)+)(?::.*)?$", word))]
    of_the_chart = [name for name in named if name.partition(".")[0] in tops]
    unknown = [name for name in of_the_chart if name not in values() and not is_short_for_a_field(name)]
    assert not unknown


def is_short_for_a_field(name: str) -> bool:
    return any(known.endswith(f".{name}") for known in fields())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_word_of_the_status_and_of_a_choice_exists_when_named(page: Path) -> None:
    camel = {word for word in words(page) if re.fullmatch(r"(?:[A-Z][a-z0-9]+){2,}", word)}
    unknown = camel - vocabulary() - OTHERS_WORDS
    assert not unknown, "no such word of ours; one of somebody else's belongs into OTHERS_WORDS"


AS_IT_SHOULD_BE: Final = frozenset(
    {
        *(
            Reason.RECONCILING,
            Reason.VALID,
            Reason.ROLLBACK_REQUESTED,
            Reason.SERVING_SPEC,
            Reason.PREDICTIONS_ANSWERED,
        ),
        *(Reason.READINESS_ANSWERED, Reason.PODS_READY, Reason.NO_PODS_READY, Reason.DESIRED_WITHIN_RANGE),
        *(Reason.NO_BOUNDS, Reason.ROLLING_OUT, Reason.ROLLOUT_COMPLETE, Reason.NOT_STALLED, Reason.AS_EXPECTED),
        *(Reason.ARTIFACT_VERIFIED, Reason.SERVICE_ONLY, Reason.ADDRESS_ASSIGNED, Reason.ROUTE_ACCEPTED, Reason.ACTIVE),
        *(Reason.TOO_FEW_REPLICAS, Reason.TOO_MANY_REPLICAS),
    }
)
"""Nothing is to be done, or the message says all."""


def test_every_reason_for_trouble_is_on_the_page_that_tells_what_to_do() -> None:
    pages = [ROOT / "docs" / name for name in ("troubleshooting.md", "exposing.md")]
    told = {word for page in pages for word in words(page)}
    asked = {str(reason) for reason in {*Reason, *FailureReason} if reason not in AS_IT_SHOULD_BE}
    assert asked - told == set()


def test_words_of_others_are_listed_only_while_a_page_uses_them() -> None:
    used = {word for page in PAGES for word in words(page)}
    assert used >= OTHERS_WORDS
    assert not OTHERS_WORDS & vocabulary()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_metric_exists_when_named(page: Path) -> None:
    families = {PARTS.sub("", name) for name in references.known()} | set(references.known())
    unknown = []
    for name in re.findall(r"slipway_(?:operator|runtime)_[a-z0-9_*]+", page.read_text()):
        stem = name.rstrip("*")
        found = any(family.startswith(stem) for family in families) if stem.endswith("_") else stem in families
        if not found:
            unknown.append(name)
    assert not unknown


SHORT_NAMES: Final = (("operator", "## The operator", "### "), ("runtime", "## The metrics of a model", "## "))


@pytest.mark.parametrize(("part", "heading", "end"), SHORT_NAMES, ids=["operator", "runtime"])
def test_every_metric_exists_when_the_page_leaves_its_prefix_out(part: str, heading: str, end: str) -> None:
    text = (ROOT / "docs" / "observability.md").read_text().partition(heading)[2].partition(f"\n{end}")[0]
    families = {PARTS.sub("", name) for name in references.known()} | set(references.known())
    cells = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ")][1:]
    found = {name for cell in cells for name in re.findall(r"(?<=[`(])([a-z]+(?:_[a-z]+)*)(?=[`{\[])", cell)}
    named = {name for name in found if "_" in name or name == "leader"} - LABELS
    assert len(named) > 8
    assert {name for name in named if f"slipway_{part}_{name}" not in families} == set()


LABELS: Final = {label for labels in references.known().values() for label in labels}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_environment_variable_of_ours_is_read_somewhere_when_named(page: Path) -> None:
    named = set(re.findall(r"SLIPWAY_[A-Z_]+[A-Z]", page.read_text()))
    # Parameters of a handler are named by whoever writes the handler.
    own = {name for name in named if not name.startswith("SLIPWAY_PARAM_")}
    assert {name for name in own if not re.search(rf"\b{name}\b", sources())} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_this_repository_exists_when_named(page: Path) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    missing = []
    for word in words(page):
        path = word.rstrip("/").partition(":")[0]
        if "/" not in path or path.partition("/")[0] not in folders or not re.fullmatch(r"[\w./*-]+", path):
            continue
        if not any(ROOT.glob(path)) and path not in NOT_THERE:
            missing.append(word)
    assert not missing


def test_the_map_of_the_code_names_every_package_and_only_modules_that_exist() -> None:
    page = ROOT / "docs" / "code.md"
    roots = (ROOT / "operator" / "slipway_operator", ROOT / "runtime" / "slipway_runtime", ROOT)
    named = {word.rstrip("/") for word in words(page) if re.fullmatch(r"[\w/]+(?:/|\.py)|tests/\w+", word)}
    assert [name for name in sorted(named) if not any((root / name).exists() for root in roots)] == []
    packages = {path.parent.name for root in roots[:2] for path in root.glob("*/__init__.py")}
    packages |= {f"tests/{path.name}" for path in (ROOT / "tests").iterdir() if any(path.glob("*.py"))}
    assert packages - named == set()


NOT_THERE: Final = frozenset({"operator/__init__.py", "tests/operator"})
"""Which a decision says must never be there."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_code_of_an_error_exists_when_a_table_names_it_beside_its_status(page: Path) -> None:
    for row in (row for table in tables(page) for row in table):
        for first, second in pairwise(row):
            if re.fullmatch(r"[45]\d\d", first) and (match := re.fullmatch(r"`([a-z_]+)`", second)):
                assert f'"{match[1]}"' in sources(), f"{first} {match[1]}"


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _paths(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below
        yield from _paths(inner, below)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _paths(schema[key], path)


def _choices(schema: dict[str, Any]) -> Iterator[str]:
    yield from map(str, schema.get("enum", ()))
    for inner in schema.get("properties", {}).values():
        yield from _choices(inner)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _choices(schema[key])


def _keys(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        below = f"{path}.{name}" if path else name
        yield below
        yield from _keys(inner, below)
