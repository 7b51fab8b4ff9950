"""All children of a ModelDeployment, in the order in which they are applied. Pure."""

from __future__ import annotations

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.render.config_map import render_config_map
from slipway_operator.render.deployment import render_deployment
from slipway_operator.render.disruption import render_pod_disruption_budget
from slipway_operator.render.http_route import render_http_route
from slipway_operator.render.ingress import render_ingress
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings
from slipway_operator.render.network_policy import render_network_policy
from slipway_operator.render.pods import Pods, render_pods
from slipway_operator.render.service import render_service
from slipway_operator.render.service_account import render_service_account
from slipway_operator.scaling import wanted_replicas


def render_children(
    owner: Owner, spec: ModelDeploymentSpec, settings: RenderSettings, pods: Pods | None = None
) -> list[Manifest]:
    """The Deployment comes last: a sibling that the API server refuses then stops the rollout before it begins.

    `pods` are those of a revision that was rendered before; they are rendered now when None.
    """
    pods = pods or render_pods(owner, spec, settings)
    children = [
        render_config_map(owner, pods.config),
        render_service_account(owner),
        render_service(owner, spec, settings),
    ]
    if wanted_replicas(spec) > 1:
        children.append(render_pod_disruption_budget(owner, spec.disruption))
    if spec.network_policy is not None:
        children.append(render_network_policy(owner, spec, spec.network_policy, settings))
    if spec.exposure is not None and spec.exposure.ingress is not None:
        children.append(render_ingress(owner, spec, spec.exposure.ingress, settings))
    if spec.exposure is not None and spec.exposure.gateway is not None:
        children.append(render_http_route(owner, spec, spec.exposure.gateway))
    children.append(render_deployment(owner, spec, pods.template))
    return children
