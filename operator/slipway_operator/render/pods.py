"""What one revision runs: its pod template and the configuration that its pods read. Pure.

The two belong together. A revision keeps both as they were first rendered, so that another version of the operator,
which might render them otherwise, restarts no pod.
"""

from __future__ import annotations

from dataclasses import dataclass

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.render.deployment import render_template
from slipway_operator.render.manifest import Manifest, Owner, RenderSettings
from slipway_operator.render.runtime_config import render_runtime_config


@dataclass(frozen=True)
class Pods:
    """`config` is the text of the runtime's configuration file."""

    template: Manifest
    config: str


def render_pods(owner: Owner, spec: ModelDeploymentSpec, settings: RenderSettings) -> Pods:
    config = render_runtime_config(owner.name, spec)
    return Pods(template=render_template(owner, spec, config, settings), config=config.to_json())
