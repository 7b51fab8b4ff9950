"""What holds for every request on a port. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from slipway_runtime.contract import VERIFY_PATH, LimitsConfig, RuntimeConfig


@dataclass(frozen=True)
class Rules:
    """What holds for every request on the port."""

    model: str = ""
    """Named in errors."""
    max_request_bytes: int = 64 * 1024
    request_timeout_seconds: float = 30
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    open_paths: frozenset[bytes] = frozenset()
    """Asked for without a key: health is nobody's secret, and probes have no keys."""
    verify_paths: frozenset[bytes] = frozenset({VERIFY_PATH.encode()})
    """Through a route the prefix stands before it."""
    revision: str = ""
    """Told at these to those who have no key, so that whoever checks the way to this server knows where it ended."""

    @classmethod
    def of(cls, config: RuntimeConfig) -> Rules:
        health = ("/v2/health/live", "/v2/health/ready", f"/v2/models/{config.name}/ready")
        return cls(
            config.name,
            config.max_request_bytes,
            config.request_timeout_seconds,
            config.limits,
            frozenset((prefix + path).encode() for prefix in {"", config.root_path} for path in health),
            frozenset((prefix + VERIFY_PATH).encode() for prefix in {"", config.root_path}),
        )
