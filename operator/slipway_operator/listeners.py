"""Gateways as the API server shows them: what of a route's URL only they know. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from slipway_operator.resources import Key

USUAL_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Listener:
    """A port of a Gateway. `hostname` may begin with `*.`; it is empty where every host is served."""

    name: str
    protocol: str
    port: int
    hostname: str

    def serves(self, host: str) -> bool:
        if self.hostname.startswith("*."):
            return host.endswith(self.hostname[1:])
        return self.hostname in ("", host)


@dataclass(frozen=True)
class GatewayRecord:
    listeners: tuple[Listener, ...]
    addresses: tuple[str, ...]
    """Host names and IP addresses, in the controller's order."""


@dataclass(frozen=True)
class GatewaySight:
    """What one look at the cluster says about its Gateway API."""

    served: bool = False
    """The API server knows HTTPRoutes."""
    gateways: Mapping[Key, GatewayRecord | None] = field(default_factory=dict)
    """Those that a spec names. None: there is no such Gateway. A missing key: we may not read it."""


def gateway_record(body: dict[str, Any]) -> GatewayRecord:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    return GatewayRecord(
        listeners=tuple(
            Listener(item["name"], item["protocol"], int(item["port"]), item.get("hostname") or "")
            for item in spec.get("listeners") or []
        ),
        addresses=tuple(item["value"] for item in status.get("addresses") or []),
    )


def url(scheme: str, host: str, port: int, path: str) -> str:
    """`path` without a slash at its end; the URL has one."""
    authority = f"[{host}]" if ":" in host else host
    if port != USUAL_PORTS[scheme]:
        authority = f"{authority}:{port}"
    return f"{scheme}://{authority}{path}/"
