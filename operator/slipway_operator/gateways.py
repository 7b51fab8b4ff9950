"""Whether the cluster has the Gateway API, which may come and go while we run, and the Gateways that routes name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from slipway_operator import clock
from slipway_operator.acceptance import read_spec
from slipway_operator.conditions import Claim
from slipway_operator.errors import ApiError
from slipway_operator.kube import KubeApi
from slipway_operator.listeners import GatewayRecord, GatewaySight, gateway_record
from slipway_operator.names import COMPONENT
from slipway_operator.records import ModelRecord
from slipway_operator.resources import GATEWAY, HTTP_ROUTE, Key

DISCOVERY_SECONDS: Final = 10.0
"""No event that we may watch in every mode tells that a CRD was installed. One small request each time."""
FRESH_SECONDS: Final = 10.0
"""A thousand models behind one Gateway ask for it once in this time."""

_log = logging.getLogger(f"{COMPONENT}.gateways")


class GatewayApi:
    """What is known of the cluster's Gateway API."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._known: dict[Key, tuple[float, GatewayRecord | None]] = {}
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
            except ApiError as error:
                _log.debug("the API server did not say whether it has the Gateway API: %s", error)
                continue
            if another:
                _log.info("the Gateway API is %s", "there now" if self.served else "gone")
                changed()

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
            try:
                found[key] = await self._gateway(key)
            except ApiError as error:
                if error.status != 403:
                    raise
        return GatewaySight(served=True, gateways=found)

    async def _gateway(self, key: Key) -> GatewayRecord | None:
        known = self._known.get(key)
        if known is not None and clock.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        body = await self._api.get(GATEWAY, key.namespace, key.name)
        record = gateway_record(body) if body is not None else None
        self._known[key] = (clock.monotonic(), record)
        return record
