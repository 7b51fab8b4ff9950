"""The configuration file that the runtime is started with. Pure."""

from __future__ import annotations

from typing import Any, Final

from slipway_operator.api.v1alpha1 import Batching, Execution, ModelDeploymentSpec, Runtime, Sla, Traffic, Tuning
from slipway_operator.render.service import service_exposure
from slipway_operator.render.volumes import warmup_path
from slipway_runtime.contract import (
    API_KEYS_DIRECTORY,
    GRPC_PORT,
    TLS_DIRECTORY,
    ArtifactConfig,
    AuthConfig,
    BatchingConfig,
    EngineConfig,
    RuntimeConfig,
    SLAConfig,
    TensorSpec,
    TLSConfig,
    TuningConfig,
    WarmupSample,
)

DRAIN_DELAY_SECONDS: Final = 5
"""Endpoints, kube-proxy and Ingress controllers have forgotten a pod by then."""


def render_runtime_config(name: str, spec: ModelDeploymentSpec) -> RuntimeConfig:
    """Blocks that the spec leaves out stay out of the file: the runtime's own defaults are those of the API."""
    traffic = spec.traffic or Traffic()
    runtime = spec.runtime or Runtime()
    blocks: dict[str, Any] = {
        "batching": spec.batching and _batching(spec.batching),
        "sla": spec.sla and _sla(spec.sla),
        "engine": runtime.execution and _engine(runtime.execution),
        "tuning": runtime.tuning and _tuning(runtime.tuning),
        "auth": traffic.auth and AuthConfig(api_keys_path=API_KEYS_DIRECTORY),
        "tls": TLSConfig(certificate_path=f"{TLS_DIRECTORY}/tls.crt", key_path=f"{TLS_DIRECTORY}/tls.key")
        if traffic.tls
        else None,
        "warmup_samples_path": warmup_path(spec),
        "max_concurrency": traffic.max_concurrency,
        "grpc_port": GRPC_PORT if service_exposure(spec).grpc_port is not None else None,
    }
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
        **{name: block for name, block in blocks.items() if block is not None},
    )


def _batching(batching: Batching) -> BatchingConfig:
    return BatchingConfig(
        mode=batching.mode,
        objective=batching.objective,
        max_batch_size=batching.max_batch_size,
        max_queue_delay_milliseconds=batching.max_queue_delay_milliseconds,
        max_queue_length=batching.max_queue_length,
        allowed_batch_sizes=sorted(batching.allowed_batch_sizes),
    )


def _sla(sla: Sla) -> SLAConfig:
    return SLAConfig(
        p50_milliseconds=sla.p50_milliseconds,
        p95_milliseconds=sla.p95_milliseconds,
        p99_milliseconds=sla.p99_milliseconds,
        on_overload=sla.on_overload,
    )


def _engine(execution: Execution) -> EngineConfig:
    return EngineConfig(kind=execution.isolation, workers=execution.workers, threads=execution.threads)


def _tuning(tuning: Tuning) -> TuningConfig:
    return TuningConfig(enabled=tuning.mode == "Auto", precision=tuning.precision)


def _warmup_samples(spec: ModelDeploymentSpec) -> list[WarmupSample]:
    if spec.runtime is None or spec.runtime.warmup is None or spec.runtime.warmup.samples is None:
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
    return spec.exposure.path if spec.exposure is not None else ""
