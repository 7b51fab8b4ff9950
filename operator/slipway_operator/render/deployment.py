"""The Deployment that runs the pods. Pure.

Every value that the operator answers for is written out, so that a change by hand is seen and put back. What
depends on `spec.replicas` stays out of the pod template: scaling must not start a rollout.
"""

from __future__ import annotations

from typing import Any, Final

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, Rollout, Runtime
from slipway_operator.names import (
    CONFIG_HASH_ANNOTATION,
    TEMPLATE_HASH_ANNOTATION,
    VERSION_LABEL,
    child_labels,
    selector_labels,
)
from slipway_operator.render.config_map import config_hash
from slipway_operator.render.container import runtime_container
from slipway_operator.render.custom import custom_container, fetch_container, is_custom, scrape_annotations
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings, metadata, stable_hash
from slipway_operator.render.pod_template import with_additions
from slipway_operator.render.resources import gpu_tolerations
from slipway_operator.render.volumes import pod_volumes
from slipway_operator.scaling import wanted_replicas
from slipway_runtime import contract

_LABEL_LIMIT: Final = 63
RUNTIME_UID: Final = 65532
"""The user "nonroot" of distroless images and of the runtime's own."""
REVISION_HISTORY_LIMIT: Final = 5
GRACE_MARGIN_SECONDS: Final = 10
"""For the process itself to end, after the last request was answered."""

_SURGE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
_STRATEGIES: Final = {"Auto": _SURGE, "Rolling": _SURGE, "Recreate": {"type": "Recreate"}}


def render_deployment(owner: Owner, spec: ModelDeploymentSpec, template: Manifest) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(owner, template),
        "spec": {
            "replicas": wanted_replicas(spec),
            "revisionHistoryLimit": REVISION_HISTORY_LIMIT,
            "progressDeadlineSeconds": _rollout(spec).progress_deadline_seconds,
            "strategy": _STRATEGIES[_rollout(spec).strategy],
            "selector": {"matchLabels": selector_labels(owner.name)},
            "template": template,
        },
    }


def _metadata(owner: Owner, template: Manifest) -> dict[str, Any]:
    """With the server's version, which is no part of the pods: a label must not restart them."""
    found = metadata(owner, owner.name)
    version = image_version(template["spec"]["containers"][0]["image"])
    return found | {"labels": found["labels"] | {VERSION_LABEL: version}} if version else found


def image_version(image: str) -> str | None:
    """The tag, as far as it is a label's value; None for an image without one, such as one by its digest alone."""
    name, _, _ = image.partition("@")
    _, _, tag = name.rpartition("/")[2].partition(":")
    return tag[:_LABEL_LIMIT].strip("-_.") or None


def template_hash(deployment: Manifest) -> str:
    """The hash that the pods of this Deployment carry."""
    found: str = deployment["spec"]["template"]["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION]
    return found


def render_template(
    owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig, settings: RenderSettings
) -> Manifest:
    """The pods, with the hash by which this rendering is known."""
    annotations = {CONFIG_HASH_ANNOTATION: config_hash(config)}
    if is_custom(spec):
        annotations = scrape_annotations(spec) | annotations
    template: dict[str, Any] = {
        "metadata": {"labels": child_labels(owner.name), "annotations": annotations},
        "spec": _pod_spec(owner, spec, config, settings),
    }
    if spec.pod_template is not None:
        template = with_additions(template, spec.pod_template)
    template["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION] = stable_hash(template)
    return template


def _pod_spec(
    owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig, settings: RenderSettings
) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "serviceAccountName": owner.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_period_seconds(config),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": RUNTIME_UID,
            "runAsGroup": RUNTIME_UID,
            "fsGroup": RUNTIME_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            _spread(owner, "kubernetes.io/hostname"),
            _spread(owner, "topology.kubernetes.io/zone"),
        ],
        **_containers(owner, spec, config, settings),
        "volumes": pod_volumes(owner, spec, config),
    }
    pull_secrets = _runtime(spec).image_pull_secrets
    if tolerations := gpu_tolerations(spec.resources):
        pod["tolerations"] = tolerations
    if pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret.name} for secret in pull_secrets]
    return pod


def _containers(
    owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig, settings: RenderSettings
) -> dict[str, Any]:
    if not is_custom(spec):
        return {"containers": [runtime_container(spec, settings)]}
    serving = {"containers": [custom_container(owner, spec, config)]}
    fetching = fetch_container(spec, settings)
    return serving if fetching is None else {"initContainers": [fetching], **serving}


def grace_period_seconds(config: contract.RuntimeConfig) -> int:
    """Long enough for endpoints to forget the pod, then for the slowest request, then for the process to end."""
    drain_seconds = max(config.drain_delay_seconds, config.drain_limit_seconds)
    return drain_seconds + config.request_timeout_seconds + GRACE_MARGIN_SECONDS


def _spread(owner: Owner, topology_key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": topology_key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector_labels(owner.name)},
        # Else pods of the old revision would push the new ones aside in a rollout.
        "matchLabelKeys": ["pod-template-hash"],
    }


def names_revision(deployment: Manifest) -> bool:
    """Whether the pods are told their revision, and so can tell it to whoever checks the way to them."""
    (container, *_) = deployment["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable for variable in container.get("env") or []}
    return "fieldRef" in (variables.get(contract.REVISION_VARIABLE, {}).get("valueFrom") or {})


def _runtime(spec: ModelDeploymentSpec) -> Runtime:
    return spec.runtime or Runtime()


def _rollout(spec: ModelDeploymentSpec) -> Rollout:
    return spec.rollout or Rollout()
