"""The user's additions to the pods. Pure.

Lists with identities are merged by them, as a strategic merge does. Where both sides speak of the same thing the
operator's word stands in what it promises (labels that select, volumes, Pod Security), the user's everywhere else.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from slipway_operator.api.pod_template import PodTemplate
from slipway_operator.render.manifest import Manifest

_TAKEN_AS_GIVEN: Final = (
    "nodeSelector",
    "affinity",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "serviceAccountName",
)


def with_additions(template: Manifest, given: PodTemplate) -> Manifest:
    """The pod template with what `spec.podTemplate` adds; `template` stays as it is."""
    said: dict[str, Any] = given.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True, mode="json")
    metadata, pod = template["metadata"], template["spec"]
    (container,) = pod["containers"]
    return {
        "metadata": {
            "labels": {**said.get("labels", {}), **metadata["labels"]},
            "annotations": {**said.get("annotations", {}), **metadata["annotations"]},
        },
        "spec": {
            **pod,
            **{name: said[name] for name in _TAKEN_AS_GIVEN if name in said},
            **_tolerations(pod.get("tolerations", []), said.get("tolerations", [])),
            "securityContext": pod["securityContext"] | said.get("securityContext", {}),
            "topologySpreadConstraints": _spread(pod["topologySpreadConstraints"], given),
            "containers": [container | {"volumeMounts": container["volumeMounts"] + said.get("volumeMounts", [])}],
            "volumes": pod["volumes"] + said.get("volumes", []),
        },
    }


def _tolerations(own: list[Any], given: list[Any]) -> dict[str, list[Any]]:
    both = own + [item for item in given if item not in own]
    return {"tolerations": both} if both else {}


def _spread(own: list[dict[str, Any]], given: PodTemplate) -> list[dict[str, Any]]:
    """Which pods are counted is never the user's to say: those of this model, each revision by itself."""
    counted = {name: own[0][name] for name in ("labelSelector", "matchLabelKeys")}
    replaced = {spread.topology_key for spread in given.topology_spread_constraints}
    wanted = [
        spread.model_dump(by_alias=True, exclude_none=True) | copy.deepcopy(counted)
        for spread in given.topology_spread_constraints
    ]
    return [spread for spread in own if spread["topologyKey"] not in replaced] + wanted
