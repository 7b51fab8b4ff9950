"""Check the part of an object that Kubernetes itself defines: apiVersion, kind and metadata. Pure.

Here is what the API server checks of every object; what the CRD asks of the name beyond that are its own rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, Final

from slipway.problem import MapKey, Problem, did_you_mean, quote
from slipway_operator.api.v1alpha1 import API_VERSION, GROUP, KIND

_KNOWN: Final = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_PREFIX_LIMIT: Final = 253
_ANNOTATIONS_LIMIT_BYTES: Final = 256 * 1024
_SIMILAR: Final = 0.8


def concerns_us(value: Any) -> bool:
    """Whether the document is a ModelDeployment, or was meant to be one."""
    if not isinstance(value, dict):
        return True
    kind, version = value.get("kind"), value.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str):
        return True
    if "/" in version and SequenceMatcher(None, version.split("/")[0], GROUP).ratio() >= _SIMILAR:
        return True
    return SequenceMatcher(None, kind.lower(), KIND.lower()).ratio() >= _SIMILAR


def check_type(value: Mapping[str, Any]) -> Iterator[Problem]:
    """apiVersion and kind must be exactly ours."""
    for key, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if value.get(key) is None:
            yield Problem((key,), f"required and missing. Add {key}: {expected}.")
        elif value[key] != expected:
            yield Problem((key,), f"got {quote(value[key])}, expected {expected}.")


def check_metadata(metadata: Any) -> Iterator[Problem]:
    if not isinstance(metadata, dict):
        given = "required and missing" if metadata is None else f"got {quote(metadata)}, expected an object"
        yield Problem(("metadata",), f"{given}. Add metadata with a name.")
        return
    for key in metadata:
        if key not in _KNOWN:
            yield Problem(("metadata", key), f"unknown field.{did_you_mean(key, _KNOWN)}")
    yield from _check_names(metadata)
    for field in ("labels", "annotations"):
        yield from _check_map(field, metadata.get(field))


def _check_names(metadata: Mapping[str, Any]) -> Iterator[Problem]:
    for field in ("name", "generateName", "namespace"):
        if metadata.get(field) is not None and not isinstance(metadata[field], str):
            yield Problem(("metadata", field), f"got {quote(metadata[field])}, expected a string. Put it into quotes.")
    name = metadata.get("name") or metadata.get("generateName")
    if not name:
        yield Problem(("metadata", "name"), "required and missing. Add a name.")
    elif isinstance(name, str) and not _DNS_SUBDOMAIN.fullmatch(name if metadata.get("name") else f"{name}x"):
        expected = "lower-case letters, digits and '-', beginning with a letter and ending with a letter or digit"
        field = "name" if metadata.get("name") else "generateName"
        yield Problem(("metadata", field), f"got {quote(name)}, expected {expected}. Choose such a name.")
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and namespace and not _DNS_LABEL.fullmatch(namespace):
        expected = "at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"
        yield Problem(("metadata", "namespace"), f"got {quote(namespace)}, expected {expected}.")


def _check_map(field: str, given: Any) -> Iterator[Problem]:
    if given is None:
        return
    if not isinstance(given, dict):
        yield Problem(("metadata", field), f"got {quote(given)}, expected keys with values.")
        return
    for key, value in given.items():
        path = ("metadata", field, MapKey(key))
        if not _is_key(key):
            expected = "NAME or DOMAIN/NAME, NAME of at most 63 letters, digits, '-', '_' and '.'"
            yield Problem(path, f"got the key {quote(key)}, expected {expected}.")
        if not isinstance(value, str):
            yield Problem(path, f"got {quote(value)}, expected a string. Put it into quotes.")
        elif field == "labels" and not _LABEL_VALUE.fullmatch(value):
            expected = "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
            yield Problem(path, f"got {quote(value)}, expected {expected}. Use an annotation for other text.")
    size = sum(len(str(key).encode()) + len(str(value).encode()) for key, value in given.items())
    if field == "annotations" and size > _ANNOTATIONS_LIMIT_BYTES:
        yield Problem(("metadata", field), f"got {size} bytes, expected at most {_ANNOTATIONS_LIMIT_BYTES} altogether.")


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= _PREFIX_LIMIT and _DNS_SUBDOMAIN.fullmatch(prefix.lower())):
        return False
    return bool(_QUALIFIED_NAME.fullmatch(name))
