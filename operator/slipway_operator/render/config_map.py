"""The ConfigMap that carries the runtime's configuration. Pure."""

from __future__ import annotations

from slipway_operator.names import config_key, config_map_name
from slipway_operator.render.manifest import Manifest, Owner, metadata, stable_hash
from slipway_runtime.contract import RuntimeConfig


def config_hash(config: RuntimeConfig) -> str:
    return stable_hash(config.to_json())


def render_config_map(owner: Owner, config: str) -> Manifest:
    """`config` is the text of the file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(owner, config_map_name(owner.name)),
        "data": {config_key(stable_hash(config)): config},
    }
