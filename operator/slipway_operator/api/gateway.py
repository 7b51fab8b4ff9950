"""The route from outside by the Gateway API."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from slipway_operator.api.fields import HostName, ObjectName, Port, RoutePath
from slipway_operator.api.schema import ApiModel, Rule, list_atomic, list_set, rules

NamespaceName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        json_schema_extra=rules(
            Rule(
                "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                "got '{self}', expected the name of a namespace: lower-case letters, digits and -, with a letter or"
                " digit at both ends. Correct the name.",
            )
        ),
    ),
]


def _same(field: str) -> str:
    """CEL for: both have it alike, or neither has it. `namespace` is a word of CEL, so it is written with underscores:
    without them the API server takes its value for endless, and refuses the CRD."""
    one, other = f"one.{field}", f"other.{field}"
    return f"has({one}) == has({other}) && (!has({one}) || {one} == {other})"


class ParentReference(ApiModel):
    """A Gateway that is to serve the route."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: NamespaceName | None = None
    """Namespace of the Gateway. That of the ModelDeployment when unset."""
    section_name: ObjectName | None = None
    """One listener of the Gateway, by its name. All that admit the route when unset."""
    port: Port | None = None
    """Only listeners at this port."""


class GatewayExposure(ApiModel):
    """An HTTPRoute, for clusters with the Gateway API."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.parentRefs.all(one, self.parentRefs.exists_one(other, one.name == other.name"
                f" && {_same('__namespace__')}"
                " && (!has(one.sectionName) || !has(other.sectionName) || one.sectionName == other.sectionName)))",
                "names the same listener twice, expected each once. Remove one, or give each a sectionName of its own.",
                field_path=".parentRefs",
            )
        )
    )

    parent_refs: Annotated[list[ParentReference], Field(min_length=1, max_length=8, json_schema_extra=list_atomic())]
    """The Gateways that are to serve the route."""
    hostnames: Annotated[list[HostName], Field(max_length=16, json_schema_extra=list_set())] = []
    """Host names of the route; the first one is in the URL. Those of the listeners when empty."""
    path: RoutePath = "/"
    """Path prefix of the route. The runtime strips it, so no Gateway need rewrite anything."""
