"""The image registry on the first node, from which containerd pulls.

Its content lies in the cache, shared by all clusters and kept: layers are named by their content, and the large ones of
the base image need not be pushed anew to every cluster.
"""

from __future__ import annotations

import http.client
import json
import secrets
from typing import Final

from tests.cluster import process
from tests.cluster.state import ClusterState, cache_directory
from tests.cluster.topology import REGISTRY_PORT, Node, registry_reference

PROGRAM: Final = "registry"
_START_SECONDS: Final = 20.0


def start(state: ClusterState, node: Node) -> None:
    content = cache_directory() / "registry"
    content.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(content)}, "delete": {"enabled": True}},
        "http": {"addr": registry_reference(state), "secret": secrets.token_hex()},
    }
    path = node.directory / "registry.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(configuration, indent=2) + "\n", encoding="utf-8")
    process.start(state, PROGRAM, ["docker-registry", "serve", path], netns=node.netns)


def wait_until_ready(state: ClusterState, node: Node) -> None:
    process.wait_until(
        state,
        lambda: _answers(str(node.address)),
        what=f"the registry answers at {registry_reference(state)}",
        needs=[PROGRAM],
        timeout_seconds=_START_SECONDS,
    )


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, REGISTRY_PORT, timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
