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

    broken: bool = False
    """Its controller says that it does not serve, for want of a certificate or of a free port."""

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


@dataclass(frozen=True)
class Way:
    """A URL of the model, and where its host is found: DNS need not know it yet, or not where the operator runs."""

    url: str
    address: str


def gateway_record(body: dict[str, Any]) -> GatewayRecord:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    broken = {item["name"] for item in status.get("listeners") or [] if _is_broken(item)}
    return GatewayRecord(
        listeners=tuple(
            Listener(
                item["name"],
                item["protocol"],
                int(item["port"]),
                item.get("hostname") or "",
                broken=item["name"] in broken,
            )
            for item in spec.get("listeners") or []
        ),
        addresses=tuple(item["value"] for item in status.get("addresses") or []),
    )


def _is_broken(said: dict[str, Any]) -> bool:
    return any(
        item["type"] in ("Accepted", "Programmed") and item["status"] == "False"
        for item in said.get("conditions") or []
    )


def url(scheme: str, host: str, port: int, path: str) -> str:
    """`path` without a slash at its end; the URL has one."""
    authority = f"[{host}]" if ":" in host else host
    if port != USUAL_PORTS[scheme]:
        authority = f"{authority}:{port}"
    return f"{scheme}://{authority}{path}/"
