"""How many pods are wanted: what was asked for, within the bounds of `spec.autoscaling`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec


@dataclass(frozen=True)
class Scaling:
    asked: int
    """`spec.replicas`, whoever set it."""
    replicas: int
    """What the Deployment gets."""
    bounded: bool
    """There are bounds, whether or not they count now."""


def scaling(spec: ModelDeploymentSpec) -> Scaling:
    """A number outside of the bounds is carried out as far as they go, and not refused: a scaler that asks for more
    would only see its write fail."""
    asked = spec.replicas
    autoscaling = spec.autoscaling
    if autoscaling is None:
        return Scaling(asked, asked, bounded=False)
    least, most = autoscaling.min_replicas, autoscaling.max_replicas
    replicas = asked if least is None else max(asked, least)
    replicas = replicas if most is None else min(replicas, most)
    return Scaling(asked, replicas, bounded=least is not None or most is not None)


def wanted_replicas(spec: ModelDeploymentSpec) -> int:
    return scaling(spec).replicas
