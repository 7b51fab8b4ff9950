"""The configuration file that the runtime is started with. Pure."""

from __future__ import annotations

from typing import Final

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, Traffic
from slipway_runtime.contract import ArtifactConfig, RuntimeConfig, TensorSpec, WarmupSample

DRAIN_DELAY_SECONDS: Final = 5
"""Endpoints, kube-proxy and Ingress controllers have forgotten a pod by then."""


def render_runtime_config(name: str, spec: ModelDeploymentSpec) -> RuntimeConfig:
    traffic = spec.traffic or Traffic()
    return RuntimeConfig(
        name=name,
        artifact=ArtifactConfig(
            uri=spec.artifact.uri,
            digest=spec.artifact.digest,
            format=spec.artifact.format,
            stall_timeout_seconds=spec.artifact.stall_timeout_seconds,
        ),
        warmup_samples=_warmup_samples(spec),
        root_path=_root_path(spec),
        request_timeout_seconds=traffic.request_timeout_seconds,
        max_request_bytes=traffic.max_request_bytes,
        drain_delay_seconds=DRAIN_DELAY_SECONDS,
    )


def _warmup_samples(spec: ModelDeploymentSpec) -> list[WarmupSample]:
    if spec.runtime is None or spec.runtime.warmup is None:
        return []
    return [
        WarmupSample(
            inputs=[
                TensorSpec(name=given.name, datatype=given.datatype, shape=list(given.shape)) for given in sample.inputs
            ]
        )
        for sample in spec.runtime.warmup.samples
    ]


def _root_path(spec: ModelDeploymentSpec) -> str:
    if spec.exposure is None or spec.exposure.ingress is None:
        return ""
    return spec.exposure.ingress.path.rstrip("/")
