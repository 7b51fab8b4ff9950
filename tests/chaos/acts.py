"""Carries acts out, and keeps the book that the verdict is given by."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from slipway_operator.names import COMPONENT, MANAGED_BY_LABEL, MODEL_LABEL, config_map_name
from slipway_operator.resources import (
    CHILDREN,
    CONFIG_MAP,
    MODEL,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    Resource,
)
from tests.chaos.schedule import STEADY, Act
from tests.fixtures.apiserver import ApiServer, ApiServerError
from tests.fixtures.objects import Manifest

Place = tuple[str, str]
"""Kind and name within the namespace."""

_BY_KIND: Final = {resource.kind: resource for resource in CHILDREN}
_GONE: Final = frozenset({404, 409})


@dataclass
class Book:
    """What was done in one namespace, as far as the operator may be judged by it."""

    namespace: str
    seed: int
    strangers: dict[Place, Manifest] = field(default_factory=dict)
    """Objects that are not the operator's, as the server kept them when they were made."""
    steady: dict[Place, Manifest] = field(default_factory=dict)
    """The untouched model's children and pods before the disorder."""
    templates: Counter[str] = field(default_factory=Counter)
    """Pod templates that each model's acts may have brought about."""
    needless: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Model and kind: how often acts may have made a child needless."""
    told: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def blame(self, what: str) -> None:
        self.violations.append(what)


def child_name(kind: str, model: str) -> str:
    return config_map_name(model) if kind == CONFIG_MAP.kind else model


class Actor:
    """Everybody in one namespace but the operator."""

    def __init__(self, api: ApiServer, book: Book) -> None:
        self._api = api
        self._book = book
        self._namespace = book.namespace

    async def prepare(self) -> None:
        """The model that nobody will touch, and two objects that look like children and are none."""
        spec = {"artifact": {"uri": "s3://models/steady.pt"}, "replicas": 2}
        await self._create(MODEL, STEADY, {"spec": spec})
        labels = {MANAGED_BY_LABEL: COMPONENT, MODEL_LABEL: "alpha"}
        for resource, body in ((CONFIG_MAP, {"data": {"mine": "1"}}), (SERVICE_ACCOUNT, {})):
            made = await self._create(resource, "bystander", body, labels)
            self._book.strangers[(resource.kind, "bystander")] = made

    async def follow(self, acts: list[Act], begin: float) -> None:
        for act in acts:
            await asyncio.sleep(max(begin + act.at - asyncio.get_running_loop().time(), 0))
            try:
                outcome = await self._perform(act)
            except ApiServerError as error:
                outcome = str(error)
                if error.status not in _GONE:
                    self._book.blame(f"the act was refused in a way that was not foreseen: {act}: {error}")
            self._book.told.append(f"{act}  -> {outcome}")

    async def _perform(self, act: Act) -> str:
        # Before the deed: what comes of it must never be there unforeseen.
        self._book.templates[act.model] += act.templates
        self._book.needless.update((act.model, kind) for kind in act.needless)
        special = {
            "refused": self._refused,
            "squat": self._squat,
            "unsquat": self._unsquat,
            "remove pod": self._remove_pod,
            "remove child": self._remove_child,
            "tamper": self._tamper,
            "decorate": self._tamper,
        }
        if act.verb in special:
            return await special[act.verb](act)
        if act.verb == "create":
            await self._create(MODEL, act.model, act.body)
        elif act.verb == "delete":
            await self._api.delete(MODEL, self._namespace, act.model)
        else:
            await self._api.patch(MODEL, self._namespace, act.model, act.body)
        return "done"

    async def _refused(self, act: Act) -> str:
        try:
            await self._api.patch(MODEL, self._namespace, act.model, act.body)
        except ApiServerError as error:
            if error.status != 422:
                raise
            return "refused, as it should be"
        self._book.blame(f"the API server accepted a spec that it has to refuse: {act}")
        return "accepted"

    async def _squat(self, act: Act) -> str:
        bodies: dict[str, Manifest] = {
            CONFIG_MAP.kind: {"data": {"mine": "1"}},
            SERVICE_ACCOUNT.kind: {},
            SERVICE.kind: {"spec": {"ports": [{"port": 81}]}},
        }
        name = child_name(act.kind, act.model)
        made = await self._create(_BY_KIND[act.kind], name, bodies[act.kind])
        self._book.strangers[(act.kind, name)] = made
        return "taken"

    async def _unsquat(self, act: Act) -> str:
        name = child_name(act.kind, act.model)
        stranger = self._book.strangers.pop((act.kind, name), None)
        if stranger is None:
            return "nobody has it"
        await self._api.delete(_BY_KIND[act.kind], self._namespace, name, stranger["metadata"]["uid"])
        return "given back"

    async def _own(self, act: Act) -> Manifest | None:
        """The child, if it is one of this model's."""
        found = await self._api.get(_BY_KIND[act.kind], self._namespace, child_name(act.kind, act.model))
        owned = found is not None and found["metadata"].get("ownerReferences")
        return found if owned else None

    async def _remove_child(self, act: Act) -> str:
        found = await self._own(act)
        if found is None:
            return "not there"
        resource, name = _BY_KIND[act.kind], child_name(act.kind, act.model)
        await self._api.delete(resource, self._namespace, name, found["metadata"]["uid"])
        return "removed"

    async def _tamper(self, act: Act) -> str:
        found = await self._own(act)
        if found is None:
            return "not there"
        # Not an object that took the name in between.
        body = act.body | {"metadata": act.body.get("metadata", {}) | {"uid": found["metadata"]["uid"]}}
        await self._api.patch(_BY_KIND[act.kind], self._namespace, child_name(act.kind, act.model), body)
        return "done"

    async def _remove_pod(self, act: Act) -> str:
        pods = await self._api.list(POD, self._namespace, f"{MODEL_LABEL}={act.model}")
        if not pods:
            return "not there"
        metadata = min(pods, key=lambda pod: pod["metadata"]["name"])["metadata"]
        await self._api.delete(POD, self._namespace, metadata["name"], metadata["uid"])
        return "removed"

    async def _create(
        self, resource: Resource, name: str, body: Manifest, labels: dict[str, str] | None = None
    ) -> Manifest:
        metadata = {"namespace": self._namespace, "name": name, "labels": labels or {}}
        return await self._api.create(resource, self._namespace, {"metadata": metadata} | body)


def revision(deployment: Manifest) -> int:
    """How many pod templates this Deployment has had; the Deployment controller counts them."""
    return int((deployment["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", "0"))
