"""Files and folders of a pod, and where its containers see them. Pure."""

from __future__ import annotations

from typing import Any, Final

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec, Traffic
from slipway_operator.names import config_key, config_map_name
from slipway_operator.render.config_map import config_hash
from slipway_operator.render.manifest import Owner
from slipway_operator.render.resources import (
    SHARED_MEMORY_PATH,
    SHARED_MEMORY_VOLUME,
    cache_size,
    shared_memory,
)
from slipway_runtime import contract

TMP_DIRECTORY: Final = "/tmp"  # noqa: S108 - a volume of the pod, shared with nobody

_CONFIG_VOLUME: Final = "config"
_CACHE_VOLUME: Final = "cache"
_API_KEYS_VOLUME: Final = "api-keys"
_TMP_VOLUME: Final = "tmp"
_TLS_VOLUME: Final = "tls"
_OWNER_AND_GROUP_READ: Final = 0o440
"""The file belongs to root and to the pod's fsGroup."""

CONFIG_MOUNT: Final[dict[str, Any]] = {"name": _CONFIG_VOLUME, "mountPath": contract.CONFIG_DIRECTORY, "readOnly": True}
TMP_MOUNT: Final[dict[str, Any]] = {"name": _TMP_VOLUME, "mountPath": TMP_DIRECTORY}
_CACHE_MOUNT: Final[dict[str, Any]] = {"name": _CACHE_VOLUME, "mountPath": contract.CACHE_DIRECTORY}


def pod_volumes(owner: Owner, spec: ModelDeploymentSpec, config: contract.RuntimeConfig) -> list[dict[str, Any]]:
    config_file = {
        "key": config_key(config_hash(config)),
        "path": contract.CONFIG_PATH.removeprefix(f"{contract.CONFIG_DIRECTORY}/"),
    }
    volumes: list[dict[str, Any]] = [
        {"name": _CONFIG_VOLUME, "configMap": {"name": config_map_name(owner.name), "items": [config_file]}},
        {"name": _CACHE_VOLUME, "emptyDir": {"sizeLimit": size} if (size := cache_size(spec)) else {}},
        {"name": _TMP_VOLUME, "emptyDir": {}},
    ]
    if (memory := shared_memory(spec.resources)) is not None:
        volumes.append({"name": SHARED_MEMORY_VOLUME, "emptyDir": memory})
    for name, (secret, _) in _secrets(spec).items():
        volumes.append({"name": name, "secret": {"secretName": secret, "defaultMode": _OWNER_AND_GROUP_READ}})
    return volumes


def runtime_mounts(spec: ModelDeploymentSpec) -> list[dict[str, Any]]:
    """Of the Slipway runtime."""
    mounts = [dict(CONFIG_MOUNT), dict(_CACHE_MOUNT), dict(TMP_MOUNT), *shared_memory_mounts(spec)]
    for name, (_, directory) in _secrets(spec).items():
        mounts.append({"name": name, "mountPath": directory, "readOnly": True})
    return mounts


def artifact_mount(*, read_only: bool) -> dict[str, Any]:
    """The artifact's folder, as a container of another engine sees it; the volume is the runtime's cache."""
    mount: dict[str, Any] = {"name": _CACHE_VOLUME, "mountPath": contract.ARTIFACT_DIRECTORY}
    return mount | {"readOnly": True} if read_only else mount


def shared_memory_mounts(spec: ModelDeploymentSpec) -> list[dict[str, Any]]:
    if shared_memory(spec.resources) is None:
        return []
    return [{"name": SHARED_MEMORY_VOLUME, "mountPath": SHARED_MEMORY_PATH}]


def _secrets(spec: ModelDeploymentSpec) -> dict[str, tuple[str, str]]:
    """Name and folder of each Secret that is mounted, by the volume's name."""
    traffic = spec.traffic or Traffic()
    found = {}
    if traffic.auth is not None:
        found[_API_KEYS_VOLUME] = (traffic.auth.api_keys_secret_ref.name, contract.API_KEYS_DIRECTORY)
    if traffic.tls is not None:
        found[_TLS_VOLUME] = (traffic.tls.secret_name, contract.TLS_DIRECTORY)
    return found
