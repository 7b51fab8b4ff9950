"""What a pod asks of its node: CPU, memory, disk, GPUs, and leave to run where GPUs are. Pure."""

from __future__ import annotations

from typing import Any, Final

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, Resources

SHARED_MEMORY_VOLUME: Final = "shm"
SHARED_MEMORY_PATH: Final = "/dev/shm"  # noqa: S108 - a volume of the pod, shared with nobody
DISK: Final = "ephemeral-storage"


def container_resources(spec: ModelDeploymentSpec) -> dict[str, dict[str, str]]:
    """Requests and limits. The artifact's room on disk is asked for where its size is stated and nothing else is."""
    given = spec.resources or Resources()
    gpus = _gpus(given)
    requests = {name: str(quantity) for name, quantity in given.requests.items()} | gpus
    limits = {name: str(quantity) for name, quantity in given.limits.items()} | gpus
    if (size := cache_size(spec)) is not None and DISK not in requests and DISK not in limits:
        requests[DISK] = size
    return {kind: amounts for kind, amounts in (("requests", requests), ("limits", limits)) if amounts}


def cache_size(spec: ModelDeploymentSpec) -> str | None:
    """Most that the artifact may take of the node's disk; None where it was not stated."""
    cache = spec.artifact.cache
    return str(cache.size_limit) if cache is not None and cache.size_limit is not None else None


def gpu_tolerations(resources: Resources | None) -> list[dict[str, Any]]:
    """Nodes with GPUs are tainted with the resource's name, or for all kinds of a vendor with its GPU.

    Source: Kubernetes, "ExtendedResourceToleration"; the taints that managed clusters put on such nodes.
    """
    if resources is None or resources.gpu is None or resources.gpu.count == 0:
        return []
    vendor = resources.gpu.resource_name.partition("/")[0]
    keys = dict.fromkeys((f"{vendor}/gpu", resources.gpu.resource_name))
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in keys]


def shared_memory(resources: Resources | None) -> dict[str, Any] | None:
    """The emptyDir behind /dev/shm; None leaves the container runtime's 64 MiB.

    Libraries that use several GPUs talk through it. Its bytes count as memory of the container.
    """
    if resources is None:
        return None
    if resources.shared_memory is not None:
        return {"medium": "Memory", "sizeLimit": str(resources.shared_memory)}
    several = resources.gpu is not None and resources.gpu.count > 1
    return {"medium": "Memory"} if several else None


def _gpus(resources: Resources) -> dict[str, str]:
    if resources.gpu is None or resources.gpu.count == 0:
        return {}
    return {resources.gpu.resource_name: str(resources.gpu.count)}
