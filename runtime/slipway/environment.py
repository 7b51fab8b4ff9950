"""The environment of a local run: what the manifest would set in the pod, as far as it is known here. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from slipway_operator.api.v1alpha1 import ModelDeploymentSpec

CACHE_VARIABLE: Final = "SLIPWAY_CACHE_DIR"
TERMINATION_MESSAGE_VARIABLE: Final = "SLIPWAY_TERMINATION_MESSAGE_PATH"
_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where needed, AWS_REGION, AWS_ENDPOINT_URL, AWS_SESSION_TOKEN",
    "http": "HTTP_BEARER_TOKEN, or HTTP_USERNAME and HTTP_PASSWORD",
    "https": "HTTP_BEARER_TOKEN, or HTTP_USERNAME and HTTP_PASSWORD",
}
_REFERENCE: Final = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where artifacts are kept between runs. Source: XDG Base Directory Specification."""
    base = environment.get("XDG_CACHE_HOME", "")
    home = Path(environment.get("HOME", "/tmp"))  # noqa: S108 a machine without a home
    return (Path(base) if base.startswith("/") else home / ".cache") / "slipway" / "artifacts"


def run_environment(spec: ModelDeploymentSpec, user: Mapping[str, str]) -> dict[str, str]:
    """The user's environment with the manifest's plain variables over it, as a pod would see them."""
    found = {CACHE_VARIABLE: str(cache_directory(user)), **user}
    declared: dict[str, str] = {}
    for variable in spec.runtime.env if spec.runtime else ():
        if variable.value_from is None:
            declared[variable.name] = expand(variable.value or "", declared)
        elif variable.name in user:
            declared[variable.name] = user[variable.name]
    return found | declared


def expand(value: str, declared: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by a variable declared before; an unknown one stays, `$$` is a dollar sign.

    Source: Kubernetes API reference, EnvVar.value.
    """

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else declared.get(match[2], match[0])

    return _REFERENCE.sub(replace, value)


def needed_samples(spec: ModelDeploymentSpec) -> str | None:
    """Why a local run needs a file with warm-up samples, and how to get one; None where it needs none."""
    warmup = spec.runtime and spec.runtime.warmup
    source = warmup.config_map_ref if warmup else None
    if source is None:
        return None
    path = source.key.replace(".", "\\.")
    return (
        f"spec.runtime.warmup.configMapRef: the ConfigMap {source.name}, key {source.key}, is not read here. Give it as"
        f" a file: --warmup-samples FILE. The cluster has it: kubectl get configmap {source.name}"
        f" -o jsonpath='{{.data.{path}}}' > FILE"
    )


def describe_differences(spec: ModelDeploymentSpec, uri: str, user: Mapping[str, str]) -> Iterator[str]:
    """What the cluster does with this manifest and a local run cannot; one sentence each."""
    runtime = spec.runtime
    if spec.artifact.credentials is not None and (variables := _CREDENTIALS.get(urlsplit(uri).scheme)):
        secret = spec.artifact.credentials.secret_ref.name
        yield f"the Secret {secret} is not read here; the store's credentials come from your environment: {variables}."
    for variable in runtime.env if runtime else ():
        source = variable.value_from
        if source is None or variable.name in user:
            continue
        reference = source.secret_key_ref or source.config_map_key_ref
        if source.field_ref is not None:
            where = f"the pod's {source.field_ref.field_path}"
        else:
            kind = "Secret" if source.secret_key_ref else "ConfigMap"
            where = f"the {kind} {reference.name}, key {reference.key}" if reference else "elsewhere"
        yield f"{variable.name} comes from {where} in a cluster. Set it in your environment if the model needs it."
    yield from _unknown_here(spec)
    if runtime is not None and runtime.image is not None:
        yield f"the image {runtime.image} is not used; the runtime installed beside this command serves."
    if spec.traffic is not None and spec.traffic.auth is not None:
        secret = spec.traffic.auth.api_keys_secret_ref.name
        yield f"the Secret {secret} is not read here; requests are answered without an API key."
    if spec.traffic is not None and spec.traffic.tls is not None:
        yield f"the Secret {spec.traffic.tls.secret_name} is not read here; HTTP is plain."
    if spec.resources is not None and spec.resources.gpu is not None and spec.resources.gpu.count > 0:
        count = spec.resources.gpu.count
        yield f"a pod gets {count} of {spec.resources.gpu.resource_name}; here the model gets what torch finds."


def _unknown_here(spec: ModelDeploymentSpec) -> Iterator[str]:
    for many in spec.runtime.env_from if spec.runtime else ():
        kind, named = ("Secret", many.secret_ref) if many.secret_ref else ("ConfigMap", many.config_map_ref)
        if named is not None:
            yield f"the {kind} {named.name} is not read here; its variables come from your environment."
    if spec.runtime is not None and spec.runtime.args:
        yield f"the arguments {' '.join(spec.runtime.args)} are not passed on."
    if spec.rollout is not None and spec.rollout.rollback_to is not None:
        yield f"revision {spec.rollout.rollback_to} is known to the cluster only; this spec is served."
