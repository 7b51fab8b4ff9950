"""How the model gets on with the rest of the cluster: drains of nodes, and who may reach the pods."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from slipway_operator.api.scheduling import PodSelector
from slipway_operator.api.schema import ApiModel, Rule, list_atomic, rules

Unavailable = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "maxLength": 8,
            **rules(
                Rule(
                    "type(self) == int ? self >= 1 && self <= 1000 : self.matches('^([1-9][0-9]?|100)%$')",
                    "got '{string(self)}', expected a number of pods or a share of them such as 1 or 25%, without which"
                    " no node could ever be drained. Write a number from 1, or a share from 1% to 100%.",
                )
            ),
        }
    ),
]


class Disruption(ApiModel):
    """What a drain of nodes may take at a time."""

    max_unavailable: Unavailable = 1
    """Pods that may be away at a time, as a number or as a share such as 25%. It counts where there are several; a
    single pod holds up no drain."""


class NetworkPeer(ApiModel):
    """Pods elsewhere in the cluster. With both selectors: these pods in these namespaces."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.namespaceSelector) || has(self.podSelector)",
                "got neither namespaceSelector nor podSelector, expected one of them or both. Set one; an empty one"
                " stands for all.",
                reason="FieldValueRequired",
            )
        )
    )

    namespace_selector: PodSelector | None = None
    """Namespaces by their labels; each has its name as kubernetes.io/metadata.name. That of the ModelDeployment when
    unset."""
    pod_selector: PodSelector | None = None
    """Pods by their labels. All when unset."""


_Peers = Annotated[list[NetworkPeer], Field(max_length=32, json_schema_extra=list_atomic())]


class NetworkPolicy(ApiModel):
    """Who may reach the pods; everyone when this block is absent. Needs a network plugin that enforces NetworkPolicies.
    Probes of the kubelet always pass."""

    clients: _Peers = []
    """Who may ask for predictions: list the Ingress controller as well, where there is an Ingress. Pods of the same
    namespace when empty."""
    monitors: _Peers = []
    """Who may read metrics at the admin port. Nobody when empty."""
