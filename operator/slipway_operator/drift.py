"""Whether a live object still says what was rendered. Pure.

Only what we rendered is compared: fields that others added are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

_LIST_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
    "ports": ("port", "containerPort", "protocol"),
}
"""Lists whose items have an identity for server-side apply. All other lists are one value.
Source: `x-kubernetes-list-map-keys` in Kubernetes' OpenAPI document."""

_ATOMIC_MAPS: Final = frozenset({"selector", "matchLabels"})
"""Maps that are one value: a key that somebody adds changes what ours select.
Source: `x-kubernetes-map-type: atomic` in Kubernetes' OpenAPI document."""

_QUANTITY: Final = re.compile(r"([0-9]*\.?[0-9]*)(?:([KMGTPE]i)|([numkMGTPE]?)|[eE]([+-]?[0-9]+))")
_BINARY: Final[dict[str, int]] = {f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL: Final[dict[str, int]] = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_ABSENT: Final = object()


def differences(desired: dict[str, Any], live: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """Paths at which `live` does not hold our value, each with the value it holds.

    `live` is the body of a `ChildRecord`: its identity is known, and of its metadata only what can drift is left.
    """
    wanted = {name: value for name, value in desired.items() if name not in ("apiVersion", "kind")}
    wanted["metadata"] = {
        name: value for name, value in wanted["metadata"].items() if name not in ("name", "namespace")
    }
    return frozenset(_compare("", "", wanted, live))


def _compare(path: str, field: str, desired: Any, live: Any) -> Iterator[tuple[str, str]]:
    if desired == live or (isinstance(desired, dict) and not desired and live is _ABSENT):
        # Most of a live object is as it should be, and comparing it as a whole is quick.
        return
    if isinstance(desired, dict) and isinstance(live, dict):
        for name, value in desired.items():
            yield from _compare(f"{path}.{name}", name, value, live.get(name, _ABSENT))
        if field in _ATOMIC_MAPS:
            for name in live.keys() - desired.keys():
                yield f"{path}.{name}", repr(live[name])
    elif isinstance(desired, list) and isinstance(live, list):
        yield from _compare_lists(path, field, desired, live)
    elif desired != live and not (_is_quantity(path, field) and _same_quantity(desired, live)):
        yield path, "" if live is _ABSENT else repr(live)


def _is_quantity(path: str, field: str) -> bool:
    return "resources" in path or field == "sizeLimit"


def _compare_lists(path: str, field: str, desired: list[Any], live: list[Any]) -> Iterator[tuple[str, str]]:
    keys = _LIST_KEYS.get(field)
    if keys is None:
        if len(desired) != len(live):
            yield path, repr(live)
            return
        for index, (wanted, found) in enumerate(zip(desired, live, strict=True)):
            yield from _compare(f"{path}[{index}]", "", wanted, found)
        return
    by_identity = {_identity(item, keys): item for item in live}
    for wanted in desired:
        identity = _identity(wanted, keys)
        yield from _compare(f"{path}[{'/'.join(identity)}]", "", wanted, by_identity.get(identity, _ABSENT))


def _identity(item: dict[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(item[key]) for key in keys if key in item)


def _same_quantity(desired: Any, live: Any) -> bool:
    """The API server writes quantities in its own way: 1000m becomes 1."""
    wanted = _quantity(desired)
    return wanted is not None and wanted == _quantity(live)


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int) else None
    if match is None or not re.search("[0-9]", match[1]):
        return None
    number = Decimal(match[1])
    binary, decimal, exponent = match[2], match[3], match[4]
    if binary:
        return number * _BINARY[binary]
    return number.scaleb(int(exponent) if exponent else _DECIMAL[decimal or ""])
