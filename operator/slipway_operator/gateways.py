"""Whether the cluster has the Gateway API, which may come and go while we run, and the Gateways that routes name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from slipway_operator.acceptance import read_spec
from slipway_operator.conditions import Claim
from slipway_operator.errors import ApiError
from slipway_operator.kube import KubeApi
from slipway_operator.listeners import GatewayRecord, GatewaySight, gateway_record
from slipway_operator.names import COMPONENT
from slipway_operator.records import ModelRecord
from slipway_operator.resources import GATEWAY, HTTP_ROUTE, Key

DISCOVERY_SECONDS: Final = 10.0
"""No event that we may watch in every mode tells that a CRD was installed or a Gateway changed. One small request for
the former and for each Gateway in use, however many models are behind it."""

_log = logging.getLogger(f"{COMPONENT}.gateways")


@dataclass(frozen=True)
class _Answer:
    """`record` is None where there is no such Gateway."""

    readable: bool
    record: GatewayRecord | None = None


@dataclass
class _Known:
    answer: _Answer
    users: set[Key] = field(default_factory=set)
    """Who asked for it since it changed last."""


class GatewayApi:
    """What is known of the cluster's Gateway API. `wake` has an object looked at again."""

    def __init__(self, api: KubeApi, wake: Callable[[Key], None]) -> None:
        self._api = api
        self._wake = wake
        self._known: dict[Key, _Known] = {}
        self.there = asyncio.Event()
        """Set while the API server knows HTTPRoutes."""

    @property
    def served(self) -> bool:
        return self.there.is_set()

    async def look(self) -> bool:
        """Ask the API server. Returns whether its answer is another than before."""
        before, served = self.served, await self._api.served(HTTP_ROUTE)
        (self.there.set if served else self.there.clear)()
        return served != before

    async def run(self, changed: Callable[[], None]) -> None:
        """`changed` is called after the API came or went."""
        while True:
            await asyncio.sleep(DISCOVERY_SECONDS)
            try:
                another = await self.look()
                await self.refresh()
            except ApiError as error:
                _log.debug("the API server did not say what it has of the Gateway API: %s", error)
                continue
            if another:
                _log.info("the Gateway API is %s", "there now" if self.served else "gone")
                changed()

    async def refresh(self) -> None:
        """Read each Gateway in use anew, and wake the models behind one that changed, came or went."""
        if not self.served:
            self._known.clear()
        for key, known in list(self._known.items()):
            if not known.users:
                self._known.pop(key, None)
                continue
            answer = await self._ask(key)
            if answer == known.answer:
                continue
            _log.info("Gateway %s has changed", key)
            self._known[key] = _Known(answer)
            for user in known.users:
                self._wake(user)

    async def sight(self, model: ModelRecord) -> GatewaySight:
        """With the Gateways that the spec names."""
        if not self.served:
            return GatewaySight()
        spec = read_spec(model) if "gateway" in (model.spec.get("exposure") or {}) else None
        if spec is None or isinstance(spec, Claim) or spec.exposure is None or spec.exposure.gateway is None:
            return GatewaySight(served=True)
        found: dict[Key, GatewayRecord | None] = {}
        for reference in spec.exposure.gateway.parent_refs:
            key = Key(reference.namespace or model.key.namespace, reference.name)
            if key not in self._known:
                answer = await self._ask(key)
                self._known.setdefault(key, _Known(answer))
            known = self._known[key]
            known.users.add(model.key)
            if known.answer.readable:
                found[key] = known.answer.record
        return GatewaySight(served=True, gateways=found)

    async def _ask(self, key: Key) -> _Answer:
        try:
            body = await self._api.get(GATEWAY, key.namespace, key.name)
        except ApiError as error:
            if error.status != 403:
                raise
            return _Answer(readable=False)
        return _Answer(readable=True, record=gateway_record(body) if body is not None else None)
