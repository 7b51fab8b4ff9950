"""Metrics about the ModelDeployments themselves, written as text: thousands of series must not hold up the loop.

The lines of an object are made when it changes and kept until it changes again; a scrape only joins them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from slipway_operator.api.reasons import ConditionType
from slipway_operator.records import ModelRecord
from slipway_operator.resources import Key

_PREFIX: Final = "slipway_operator_modeldeployment"
_VALUES: Final = {"True": 1, "False": 0}
_UNKNOWN: Final = -1


class ObjectDetail(StrEnum):
    """How much each object tells. The counts of all objects are always there."""

    ALL = "All"
    READY = "Ready"
    """Of the conditions only Ready."""
    NONE = "None"


@dataclass(frozen=True)
class Family:
    """A metric with its help text, as on the reference page."""

    name: str
    labels: tuple[str, ...]
    text: str

    def head(self) -> str:
        return f"# HELP {self.name} {self.text}\n# TYPE {self.name} gauge\n"


_OBJECT: Final = ("namespace", "modeldeployment")

TOTAL: Final = Family(
    f"{_PREFIX}s",
    ("condition", "status", "reason"),
    "ModelDeployments by what each condition says. The sum over one condition is how many there are that have it.",
)
INFO: Final = Family(f"{_PREFIX}_info", (*_OBJECT, "uid", "scheme", "format"), "1, with what is served in the labels.")
CONDITION: Final = Family(
    f"{_PREFIX}_condition", (*_OBJECT, "condition"), "What the condition says: 1 True, 0 False, -1 Unknown."
)
REASON: Final = Family(
    f"{_PREFIX}_not_ready_reason", (*_OBJECT, "reason"), "1 with the reason of Ready while Ready is not True."
)
READY_CHANGED: Final = Family(
    f"{_PREFIX}_ready_changed_timestamp_seconds", _OBJECT, "When the condition Ready last became what it is."
)
LAG: Final = Family(
    f"{_PREFIX}_generation_lag", _OBJECT, "Generations of the spec that the status does not tell about yet."
)
WANTED: Final = Family(f"{_PREFIX}_replicas_wanted", _OBJECT, "Pods that the spec asks for.")
READY: Final = Family(f"{_PREFIX}_replicas_ready", _OBJECT, "Pods that answer predictions, of any generation.")

PER_OBJECT: Final = (INFO, CONDITION, REASON, READY_CHANGED, LAG, WANTED, READY)
FAMILIES: Final = (TOTAL, *PER_OBJECT)


@dataclass
class _Lines:
    """One object's part of each family, and of which record it was made."""

    record: ModelRecord
    claims: tuple[tuple[str, str, str], ...]
    lines: tuple[str, ...]
    """In the order of `PER_OBJECT`."""

    def still_true_of(self, record: ModelRecord) -> bool:
        same = record is self.record or (record == self.record and record.packed_status == self.record.packed_status)
        if same:
            # An equal record that the cache has replaced is not kept alive.
            self.record = record
        return same


class ObjectMetrics:
    """`records` yields what is to be told about: nothing while another operator leads."""

    def __init__(self, records: Callable[[], Iterable[ModelRecord]], detail: ObjectDetail) -> None:
        self._records = records
        self._detail = detail
        self._known: dict[Key, _Lines] = {}

    def text(self) -> bytes:
        known: dict[Key, _Lines] = {}
        for record in self._records():
            lines = self._known.get(record.key)
            known[record.key] = lines if lines and lines.still_true_of(record) else _lines(record, self._detail)
        self._known = known
        return "".join(self._parts()).encode()

    def _parts(self) -> Iterator[str]:
        totals = Counter(claim for lines in self._known.values() for claim in lines.claims)
        yield TOTAL.head()
        for claim, count in sorted(totals.items()):
            yield _line(TOTAL, claim, count)
        if self._detail is ObjectDetail.NONE:
            return
        for number, family in enumerate(PER_OBJECT):
            yield family.head()
            for lines in self._known.values():
                yield lines.lines[number]


def seconds_to_ready(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """Between two statuses: how long Ready had not been True, if it is now."""
    was, now = (
        next((item for item in status.get("conditions") or [] if item["type"] == ConditionType.READY), None)
        for status in (before, after)
    )
    if was is None or now is None or was["status"] == "True" or now["status"] != "True":
        return None
    since, until = (datetime.fromisoformat(item["lastTransitionTime"]) for item in (was, now))
    return (until - since).total_seconds()


def _lines(record: ModelRecord, detail: ObjectDetail) -> _Lines:
    status = record.status
    conditions = status.get("conditions") or []
    claims = tuple((item["type"], item["status"], item.get("reason") or "") for item in conditions)
    lines = tuple(_of_object(record, status, conditions, detail)) if detail is not ObjectDetail.NONE else ()
    return _Lines(record, claims, lines)


def _of_object(
    record: ModelRecord, status: dict[str, Any], conditions: list[dict[str, Any]], detail: ObjectDetail
) -> Iterator[str]:
    key = tuple(record.key)
    spec = record.spec
    artifact = spec.get("artifact") or {}
    scheme = str(artifact.get("uri") or "").partition("://")[0]
    ready = next((item for item in conditions if item["type"] == ConditionType.READY), None)
    shown = conditions if detail is ObjectDetail.ALL else [ready] if ready is not None else []
    yield _line(INFO, (*key, record.uid, scheme, str(artifact.get("format") or "")), 1)
    yield "".join(_line(CONDITION, (*key, item["type"]), _VALUES.get(item["status"], _UNKNOWN)) for item in shown)
    unready = ready is not None and ready["status"] != "True"
    yield _line(REASON, (*key, str(ready.get("reason") or "")), 1) if ready is not None and unready else ""
    yield _line(READY_CHANGED, key, _timestamp(ready["lastTransitionTime"])) if ready is not None else ""
    yield _line(LAG, key, record.generation - int(status.get("observedGeneration", 0)))
    yield _line(WANTED, key, int(spec.get("replicas", 1)))
    yield _line(READY, key, int(status.get("readyReplicas", 0)))


def _line(family: Family, values: tuple[str, ...], value: int) -> str:
    labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in zip(family.labels, values, strict=True))
    return f"{family.name}{{{labels}}} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _timestamp(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
