"""What is told about the server and its one model, in Triton's shapes where the protocol has none. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway_runtime.contract import BatchingConfig, BatchingMode, Datatype, Format, RuntimeConfig, TensorSpec
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.protocol.predict.imageform import image_form, is_image_input

MODEL_VERSION: Final = "1"
"""One runtime serves one revision, so there is one version; clients may name it or leave it out."""

SERVER_NAME: Final = "slipway"
EXTENSIONS: Final = (
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "binary_tensor_data",
    "schedule_policy",
    "statistics",
)
"""Those of Triton's that are spoken."""

ONE_MODEL: Final = (
    "A runtime serves the one model that it was started with and neither loads nor unloads others. To serve another"
    " artifact, change spec.artifact of the ModelDeployment: the operator replaces the pods one after another."
)
"""Why nothing is loaded or unloaded on request."""
NO_SHARED_MEMORY: Final = "Shared memory is not supported: send tensors in the request."
NO_SETTINGS: Final = "Settings of logs and traces are not changed or told here: they belong to the configuration."

_TRITON_TYPES: Final = {Datatype.BYTES: "TYPE_STRING"}
"""Triton's configuration has other words than its protocol: this one, and a prefix."""


def server_metadata(version: str) -> dict[str, Any]:
    return {"name": SERVER_NAME, "version": version, "extensions": list(EXTENSIONS)}


def platform_of(loaded: LoadedModel) -> str:
    """As the protocol has it: the project and the format, for example `pytorch_torchscript`."""
    return "python" if loaded.format is Format.PYTHON else f"pytorch_{loaded.format.lower()}"


def properties_of(loaded: LoadedModel) -> dict[str, str]:
    """What is known of the running model beside its signature."""
    return {
        "format": str(loaded.format),
        "device": loaded.device,
        "max_batch_size": str(loaded.max_batch_size),
        **loaded.properties,
    }


def model_metadata(model: str, loaded: LoadedModel) -> dict[str, Any]:
    signature = loaded.signature
    return {
        "name": model,
        "versions": [MODEL_VERSION],
        "platform": platform_of(loaded),
        "inputs": [spec.model_dump(mode="json") for spec in signature.inputs],
        "outputs": [spec.model_dump(mode="json") for spec in signature.outputs],
        "properties": properties_of(loaded),
    }


def repository_index(model: str, ready: bool, *, only_ready: bool = False) -> list[dict[str, str]]:
    """The body of `POST /v2/repository/index`; `only_ready` leaves out what is not."""
    if only_ready and not ready:
        return []
    state = {"state": "READY", "reason": ""} if ready else {"state": "UNAVAILABLE", "reason": "draining"}
    return [{"name": model, "version": MODEL_VERSION, **state}]


def model_config(config: RuntimeConfig, loaded: LoadedModel) -> dict[str, Any]:
    """The body of `GET /v2/models/{model}/config`: Triton's words for how the model is served."""
    signature = loaded.signature
    batched = signature.batched
    content: dict[str, Any] = {
        "name": config.name,
        "platform": platform_of(loaded),
        "backend": SERVER_NAME,
        "runtime": "",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": loaded.max_batch_size if batched else 0,
        "input": [_input(spec, batched) for spec in signature.inputs],
        "output": [_output(spec, batched) for spec in signature.outputs],
        "batch_input": [],
        "batch_output": [],
        "instance_group": [_instances(config, loaded)],
        "default_model_filename": "",
        "cc_model_filenames": {},
        "metric_tags": {},
        "parameters": {key: {"string_value": value} for key, value in properties_of(loaded).items()},
        "model_warmup": [],
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
    }
    if batched and config.batching.mode is not BatchingMode.DISABLED:
        content["dynamic_batching"] = _batching(config.batching)
    return content


def _input(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    return {**_tensor(spec, batched), "format": _format(spec), "allow_ragged_batch": False, "optional": False}


def _format(spec: TensorSpec) -> str:
    """Clients of image models learn from it how to lay out what they send."""
    form = image_form(spec) if is_image_input(spec) else None
    if form is None or form.flat:
        return "FORMAT_NONE"
    return "FORMAT_NCHW" if form.channels_first else "FORMAT_NHWC"


def _output(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    return {**_tensor(spec, batched), "label_filename": ""}


def _tensor(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    return {
        "name": spec.name,
        "data_type": _TRITON_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}"),
        "dims": spec.shape[1:] if batched else spec.shape,
        "is_shape_tensor": False,
    }


def _batching(batching: BatchingConfig) -> Mapping[str, Any]:
    return {
        "preferred_batch_size": batching.allowed_batch_sizes,
        "max_queue_delay_microseconds": (batching.max_queue_delay_milliseconds or 0) * 1000,
        "preserve_ordering": False,
        "priority_levels": 3,
        "default_priority_level": 2,
        "priority_queue_policy": {},
    }


def _instances(config: RuntimeConfig, loaded: LoadedModel) -> Mapping[str, Any]:
    workers = loaded.properties.get("engine_workers", "1")
    return {
        "name": config.name,
        "kind": "KIND_GPU" if loaded.device == "cuda" else "KIND_CPU",
        "count": int(workers) if workers.isdigit() else 1,
        "gpus": [],
        "secondary_devices": [],
        "profile": [],
        "passive": False,
        "host_policy": "",
    }
