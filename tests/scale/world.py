"""ModelDeployments by the thousand, and a watch that notes when each of them has converged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

from slipway_operator.resources import DEPLOYMENT, MODEL, Key, Resource
from slipway_operator.sweep import CHILD_SELECTOR
from tests.fixtures.apiserver import NAMESPACE, ApiServer, ApiServerError
from tests.fixtures.objects import Manifest

PER_NAMESPACE: Final = 100
_AT_ONCE: Final = 16
_RETRY_SECONDS: Final = 0.2


class ScaleError(Exception):
    """The run could not be brought to its end."""


def keys(count: int, namespaces: list[str]) -> list[Key]:
    return [Key(namespaces[number % len(namespaces)], f"model-{number:05d}") for number in range(count)]


def model(key: Key) -> Manifest:
    """What a usual user writes; every child that the defaults give."""
    return {
        "metadata": {"namespace": key.namespace, "name": key.name},
        "spec": {
            "artifact": {"uri": f"s3://models/{key.name}/model.pt"},
            "sla": {"p99Milliseconds": 50},
            "batching": {"mode": "Static", "maxBatchSize": 8},
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        },
    }


def edit(batch_size: int) -> Manifest:
    """Changes the ConfigMap and the Deployment, and so rolls the pods."""
    return {"spec": {"batching": {"maxBatchSize": batch_size}}}


async def make_namespaces(api: ApiServer, names: list[str]) -> None:
    for name in names:
        await api.create(NAMESPACE, None, {"metadata": {"name": name}})


async def create_all(api: ApiServer, wanted: list[Key]) -> None:
    queue = iter(wanted)

    async def work() -> None:
        for key in queue:
            await api.create(MODEL, key.namespace, model(key))

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())


@dataclass
class Tracker:
    """Follows every ModelDeployment, and the Deployments while `deployments` runs. Both run as tasks."""

    api: ApiServer
    namespace: str | None = None
    """None: everywhere."""
    converged: dict[Key, int] = field(default_factory=dict)
    """The generation at which each was last seen serving."""
    last_change: float = 0.0
    generations: dict[Key, int] = field(default_factory=dict)
    """Of the Deployments."""
    _waiting: dict[Key, tuple[int, asyncio.Future[float]]] = field(default_factory=dict)

    async def models(self) -> None:
        async for body in self._follow(MODEL, ""):
            metadata = body["metadata"]
            key = Key(metadata["namespace"], metadata["name"])
            if has_converged(body) and self.converged.get(key) != metadata["generation"]:
                self.converged[key] = metadata["generation"]
                self.last_change = time.monotonic()

    async def deployments(self) -> None:
        async for body in self._follow(DEPLOYMENT, CHILD_SELECTOR):
            metadata = body["metadata"]
            key = Key(metadata["namespace"], metadata["name"])
            self.generations[key] = metadata["generation"]
            before, seen = self._waiting.get(key, (0, None))
            if seen is not None and not seen.done() and metadata["generation"] > before:
                seen.set_result(time.monotonic())

    async def all_seen(self, count: int) -> None:
        while len(self.generations) < count:  # noqa: ASYNC110 - a condition of a dictionary has no event
            await asyncio.sleep(_RETRY_SECONDS)

    @contextlib.contextmanager
    def next_deployment(self, key: Key) -> Iterator[asyncio.Future[float]]:
        """The moment at which the next generation of the Deployment of `key` was seen."""
        seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[key] = (self.generations[key], seen)
        try:
            yield seen
        finally:
            del self._waiting[key]

    async def _follow(self, resource: Resource, selector: str) -> AsyncIterator[Manifest]:
        while True:
            with contextlib.suppress(ApiServerError):
                items, version = await self.api.list_with_version(resource, self.namespace, selector)
                for body in items:
                    yield body
                async for kind, body in self.api.watch(resource, version, selector, self.namespace):
                    if kind != "DELETED":
                        yield body
            await asyncio.sleep(_RETRY_SECONDS)


def has_converged(body: Manifest) -> bool:
    """Everything is reported about this generation, and its pods are there and counted."""
    status = body.get("status") or {}
    return (
        status.get("observedGeneration") == body["metadata"]["generation"]
        and status.get("replicaSummary") == f"{body['spec'].get('replicas', 1)}/{body['spec'].get('replicas', 1)}"
        and any(item["type"] == "Progressing" and item["reason"] == "RolloutComplete" for item in status["conditions"])
    )
