"""Where pods may run, in Kubernetes' own words: affinity, tolerations and spread."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from slipway_operator.api.fields import LABEL_VALUE, LabelMap, LabelName
from slipway_operator.api.schema import ApiModel, Rule, list_atomic, list_map, map_atomic, rules

Values = Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=48, json_schema_extra=list_atomic())]


_GIVEN = "(has(self.values) && self.values.size() > 0)"


def _compared(*, numbers: bool) -> dict[str, Any]:
    """Rules on `values`, which each operator wants in its own way. `numbers`: some compare them as numbers."""
    found = [
        Rule(
            f"!(self.operator in ['In', 'NotIn']) || {_GIVEN}",
            "got none, expected one or more where operator is In or NotIn. Write one, or set operator to Exists.",
            field_path=".values",
            reason="FieldValueRequired",
        ),
        Rule(
            f"!(self.operator in ['Exists', 'DoesNotExist']) || !{_GIVEN}",
            "got '{self.values[0]}', expected none where operator is Exists or DoesNotExist. Remove it, or set operator"
            " to In.",
            field_path=".values",
        ),
        Rule(
            f"!(self.operator in ['In', 'NotIn']) || !{_GIVEN} ||"
            f" self.values.all(value, value.matches('{LABEL_VALUE}'))",
            f"lists '{{self.values.filter(value, !value.matches('{LABEL_VALUE}'))[0]}}', expected letters, digits, -, _"
            " and '.', with a letter or digit at both ends. Correct the value.",
            field_path=".values",
        ),
    ]
    if numbers:
        found.append(
            Rule(
                f"!(self.operator in ['Gt', 'Lt']) || ({_GIVEN} && self.values.size() == 1 &&"
                " self.values[0].matches('^-?[0-9]+$'))",
                "expected exactly one whole number where operator is Gt or Lt, in quotes. Write one.",
                field_path=".values",
            )
        )
    return rules(*found)


class NodeRequirement(ApiModel):
    """One condition on a node's labels."""

    model_config = ConfigDict(json_schema_extra=_compared(numbers=True))

    key: LabelName
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How it is compared with `values`."""
    values: Values = []
    """What it is compared with."""


class NodeTerm(ApiModel):
    """Conditions that hold together."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    match_expressions: Annotated[list[NodeRequirement], Field(max_length=16, json_schema_extra=list_atomic())] = []
    """All must hold."""


class NodeSelection(ApiModel):
    """Terms, one of which must hold."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1, max_length=16, json_schema_extra=list_atomic())]
    """One of them must hold."""


Weight = Annotated[int, Field(ge=1, le=100)]


class PreferredNode(ApiModel):
    """Nodes that are better than others."""

    weight: Weight
    """How much it counts among the preferences."""
    preference: NodeTerm
    """The nodes."""


class NodeAffinity(ApiModel):
    """Which nodes pods may or should run on."""

    required_during_scheduling_ignored_during_execution: NodeSelection | None = None
    """Pods are placed on no other node."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredNode], Field(max_length=16, json_schema_extra=list_atomic())
    ] = []
    """Pods are placed there if possible."""


class PodRequirement(ApiModel):
    """One condition on a pod's labels."""

    model_config = ConfigDict(json_schema_extra=_compared(numbers=False))

    key: LabelName
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared with `values`."""
    values: Values = []
    """What it is compared with."""


class PodSelector(ApiModel):
    """Pods by their labels."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    match_labels: LabelMap = {}
    """Labels that they carry."""
    match_expressions: Annotated[list[PodRequirement], Field(max_length=16, json_schema_extra=list_atomic())] = []
    """All must hold."""


class PodTerm(ApiModel):
    """Pods, and what counts as near them."""

    label_selector: PodSelector
    """The pods, in the namespace of the ModelDeployment."""
    topology_key: LabelName
    """Nodes with the same value of this label are one place."""


class PreferredPodTerm(ApiModel):
    """Pods that are better or worse company than others."""

    weight: Weight
    """How much it counts among the preferences."""
    pod_affinity_term: PodTerm
    """The pods."""


class PodAffinity(ApiModel):
    """Which other pods are to be near, or far."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodTerm], Field(max_length=16, json_schema_extra=list_atomic())
    ] = []
    """Pods are placed nowhere else."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredPodTerm], Field(max_length=16, json_schema_extra=list_atomic())
    ] = []
    """Pods are placed so if possible."""


class Affinity(ApiModel):
    """Nodes and company that pods need, prefer or avoid."""

    node_affinity: NodeAffinity | None = None
    """Rules about nodes, by their labels."""
    pod_affinity: PodAffinity | None = None
    """Pods to be near."""
    pod_anti_affinity: PodAffinity | None = None
    """Pods to be far from."""


class Toleration(ApiModel):
    """A taint that keeps pods away from a node, and does not keep these."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.operator != 'Exists' || !has(self.value)",
                "got '{self.value}', expected none where operator is Exists. Remove it, or set operator to Equal.",
                field_path=".value",
            ),
            Rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "needs the effect NoExecute, the only one that ends pods. Set effect to NoExecute, or remove"
                " tolerationSeconds.",
                field_path=".tolerationSeconds",
            ),
            Rule(
                f"!has(self.value) || self.value.matches('{LABEL_VALUE}')",
                "got '{self.value}', expected letters, digits, -, _ and '.', with a letter or digit at both ends."
                " Correct the value.",
                field_path=".value",
            ),
            Rule(
                "has(self.key) || self.operator == 'Exists'",
                "needs a key where operator is Equal. Set it, or set operator to Exists for every taint.",
                field_path=".key",
                reason="FieldValueRequired",
            ),
        )
    )

    key: LabelName | None = None
    """The taint's key. Every taint when unset."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether `value` is compared."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Every effect when unset."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """How long a pod stays after the taint came."""


class TopologySpread(ApiModel):
    """How evenly the pods of this model are spread."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
                "needs whenUnsatisfiable: DoNotSchedule, without which it has no effect. Set whenUnsatisfiable, or"
                " remove it.",
                field_path=".minDomains",
            )
        )
    )

    topology_key: LabelName
    """Nodes with the same value of this label are one place."""
    max_skew: Annotated[int, Field(ge=1, le=1000)] = 1
    """By how many pods two places may differ."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    """What becomes of a pod that would make it uneven."""
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Least number of places; only with DoNotSchedule."""


Tolerations = Annotated[list[Toleration], Field(max_length=32, json_schema_extra=list_atomic())]
TopologySpreads = Annotated[list[TopologySpread], Field(max_length=8, json_schema_extra=list_map("topologyKey"))]
