"""Keeps the configurations of older revisions while their pods may still start. Pure.

All revisions share one ConfigMap, each under a key of its own. If a key went away with the next spec, an older pod
that restarts in the middle of a failing rollout could not start any more.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Final

from slipway_operator.records import ChildRecord, PodRecord
from slipway_operator.render.manifest import Manifest, stable_hash

KEPT_LIMIT: Final = 20
"""Configurations of revisions that no pod uses; more failed attempts in a row than this are not remembered."""

_KEY: Final = re.compile(r"config-([0-9a-f]+)\.json")


def with_older_configurations(
    config_map: Manifest, live: ChildRecord | None, pods: Iterable[PodRecord], *, rolled_out: bool
) -> Manifest:
    """`rolled_out`: every pod is of the wanted generation, so older configurations have had their day."""
    if live is None:
        return config_map
    used = {pod.config_hash for pod in pods if not pod.deleting}
    older = {
        key: text
        for key, text in sorted((live.body.get("data") or {}).items())
        if (match := _KEY.fullmatch(key)) and key not in config_map["data"] and stable_hash(text) == match[1]
    }
    in_use = {key: text for key, text in older.items() if key[len("config-") : -len(".json")] in used}
    spare = {} if rolled_out else dict(list(older.items())[:KEPT_LIMIT])
    kept = copy.deepcopy(config_map)
    kept["data"] |= spare | in_use
    return kept
