"""The installation's settings, read from the environment, which is passed in."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from slipway_operator.errors import SettingsError
from slipway_operator.lease import LeaseTimes
from slipway_operator.names import COMPONENT
from slipway_operator.object_metrics import ObjectDetail
from slipway_operator.render.ingress_controllers import CONTROLLERS
from slipway_operator.render.manifest import RenderSettings
from slipway_operator.resources import Key

KNOWN_SCHEMES: Final = ("s3", "https", "http", "file")
PULL_POLICIES: Final = ("", "Always", "IfNotPresent", "Never")
UPGRADE_POLICIES: Final = ("OnChange", "Always")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS: Final = ("json", "text")
BOOLEANS: Final = ("true", "false")

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OBJECT_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True)
class LeaseSettings:
    """Which Lease, who we are, and how long it holds."""

    key: Key
    identity: str
    times: LeaseTimes


@dataclass(frozen=True)
class Settings:
    """One field for each variable; `from_environment` documents their names."""

    render: RenderSettings
    namespaces: tuple[str, ...]
    """Empty: the whole cluster."""
    allowed_schemes: frozenset[str]
    log_level: str
    log_format: str
    object_metrics: ObjectDetail
    http_port: int
    writes_per_second: float
    sweep_seconds: float
    verify_predictions: bool
    """Only where the operator is inside the cluster's network."""
    verify_routes: bool
    """Only where the addresses of Ingresses and Gateways can be reached from there, and nothing else answers first."""
    lease: LeaseSettings


def from_environment(environment: Mapping[str, str]) -> Settings:
    image = environment.get("SLIPWAY_RUNTIME_IMAGE", "").strip()
    if not image:
        raise SettingsError(
            "SLIPWAY_RUNTIME_IMAGE: is not set, expected the image that serves models, such as"
            " registry.example.com/slipway-runtime:1.0. The chart sets it from runtime.image."
        )
    return Settings(
        render=RenderSettings(
            runtime_image=image,
            runtime_image_pull_policy=_choice(environment, "SLIPWAY_RUNTIME_IMAGE_PULL_POLICY", "", PULL_POLICIES),
            always_upgrade=_choice(environment, "SLIPWAY_RUNTIME_UPGRADE_POLICY", "OnChange", UPGRADE_POLICIES)
            == "Always",
            ingress_classes=_ingress_classes(environment, "SLIPWAY_INGRESS_CLASSES"),
            default_ingress_class=_class_name(environment, "SLIPWAY_DEFAULT_INGRESS_CLASS"),
            operator_namespace=_operator_namespace(environment, "SLIPWAY_OPERATOR_NAMESPACE"),
        ),
        namespaces=_namespaces(environment, "SLIPWAY_NAMESPACES"),
        allowed_schemes=_schemes(environment, "SLIPWAY_ALLOWED_SCHEMES", "s3,https,http"),
        log_level=_choice(environment, "SLIPWAY_LOG_LEVEL", "INFO", LOG_LEVELS),
        log_format=_choice(environment, "SLIPWAY_LOG_FORMAT", "json", LOG_FORMATS),
        object_metrics=ObjectDetail(_choice(environment, "SLIPWAY_OBJECT_METRICS", "All", tuple(ObjectDetail))),
        http_port=int(_number(environment, "SLIPWAY_HTTP_PORT", "8080", 1, 65535)),
        writes_per_second=_number(environment, "SLIPWAY_WRITES_PER_SECOND", "50", 1, 10_000),
        sweep_seconds=_number(environment, "SLIPWAY_SWEEP_SECONDS", "300", 1, 86_400),
        verify_predictions=_verifies(environment),
        verify_routes=_choice(environment, "SLIPWAY_VERIFY_ROUTES", "true", BOOLEANS) == "true",
        lease=_lease(environment),
    )


def _lease(environment: Mapping[str, str]) -> LeaseSettings:
    times = LeaseTimes(
        duration_seconds=int(_number(environment, "SLIPWAY_LEASE_DURATION_SECONDS", "15", 3, 600)),
        renew_deadline_seconds=_number(environment, "SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS", "10", 1, 600),
        retry_seconds=_number(environment, "SLIPWAY_LEASE_RETRY_SECONDS", "2", 0.1, 60),
    )
    if times.renew_deadline_seconds > 0.8 * times.duration_seconds:
        raise SettingsError(
            f"SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS: got {times.renew_deadline_seconds:g}, expected at most"
            f" {0.8 * times.duration_seconds:g}, four fifths of SLIPWAY_LEASE_DURATION_SECONDS: the rest is for writes"
            " under way and for clocks of different speed. Lower it or raise the duration."
        )
    if times.retry_seconds > times.renew_deadline_seconds / 3:
        raise SettingsError(
            f"SLIPWAY_LEASE_RETRY_SECONDS: got {times.retry_seconds:g}, expected at most"
            f" {times.renew_deadline_seconds / 3:.3g}, a third of SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS: one lost"
            " renewal must not stop the operator. Lower it or raise the deadline."
        )
    host = platform.node() or COMPONENT
    return LeaseSettings(
        key=Key(
            _name(environment, "SLIPWAY_LEASE_NAMESPACE", "default", _NAMESPACE),
            _name(environment, "SLIPWAY_LEASE_NAME", COMPONENT, _OBJECT_NAME),
        ),
        # A name that no other process has: two that share one would both believe to hold the Lease.
        identity=environment.get("SLIPWAY_LEASE_IDENTITY", "").strip() or f"{host}_{uuid4()}",
        times=times,
    )


def _name(environment: Mapping[str, str], name: str, default: str, pattern: re.Pattern[str]) -> str:
    value = environment.get(name, "").strip() or default
    if not pattern.fullmatch(value):
        raise SettingsError(
            f"{name}: got {value!r}, expected a name of lower-case letters, digits and hyphens, as Kubernetes has it."
        )
    return value


def _choice(environment: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = environment.get(name, default).strip()
    if value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise SettingsError(f"{name}: got {value!r}, expected one of {expected}.")
    return value


def _number(environment: Mapping[str, str], name: str, default: str, low: float, high: float) -> float:
    text = environment.get(name, default).strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # Written so that NaN, which compares false with everything, is refused.
    if not low <= value <= high:
        raise SettingsError(f"{name}: got {text!r}, expected a number from {low:g} to {high:g}.")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _namespaces(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    found = _names(environment.get(name, ""))
    for namespace in found:
        if not _NAMESPACE.fullmatch(namespace):
            raise SettingsError(
                f"{name}: got {namespace!r}, expected names of namespaces separated by commas,"
                " or nothing for the whole cluster."
            )
    return found


def _ingress_classes(environment: Mapping[str, str], name: str) -> tuple[tuple[str, str], ...]:
    found = []
    for part in _names(environment.get(name, "")):
        class_name, _, controller = (text.strip() for text in part.partition("="))
        if not _OBJECT_NAME.fullmatch(class_name) or controller not in CONTROLLERS:
            raise SettingsError(
                f"{name}: got {part!r}, expected CLASS=CONTROLLER, separated by commas, with one of"
                f" {', '.join(CONTROLLERS)} as the controller."
            )
        found.append((class_name, controller))
    return tuple(found)


def _class_name(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if value and not _OBJECT_NAME.fullmatch(value):
        raise SettingsError(f"{name}: got {value!r}, expected the name of an IngressClass, or nothing.")
    return value


def _operator_namespace(environment: Mapping[str, str], name: str) -> str:
    found = environment.get(name, "").strip()
    if found and not _NAMESPACE.fullmatch(found):
        raise SettingsError(f"{name}: got {found!r}, expected the name of the namespace that the operator runs in.")
    return found if _verifies(environment) else ""


def _verifies(environment: Mapping[str, str]) -> bool:
    return _choice(environment, "SLIPWAY_VERIFY_PREDICTIONS", "false", BOOLEANS) == "true"


def _schemes(environment: Mapping[str, str], name: str, default: str) -> frozenset[str]:
    found = _names(environment.get(name, default))
    unknown = [scheme for scheme in found if scheme not in KNOWN_SCHEMES]
    if unknown or not found:
        given = ", ".join(repr(scheme) for scheme in unknown) or "nothing"
        raise SettingsError(f"{name}: got {given}, expected one or more of {', '.join(KNOWN_SCHEMES)}.")
    return frozenset(found)
