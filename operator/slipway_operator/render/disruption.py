"""The PodDisruptionBudget: a node's drain takes one pod at a time. Pure."""

from __future__ import annotations

from slipway_operator.api.v1alpha1 import Disruption
from slipway_operator.names import selector_labels
from slipway_operator.render.manifest import Manifest, Owner, metadata


def render_pod_disruption_budget(owner: Owner, disruption: Disruption | None) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(owner, owner.name),
        "spec": {
            "maxUnavailable": (disruption or Disruption()).max_unavailable,
            "selector": {"matchLabels": selector_labels(owner.name)},
            # A pod that never became ready protects nobody and must not hold up a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
