"""What the operator and the runtime must agree on: the config file, the ports, the termination message.

Free of heavy imports (pydantic and the standard library only), because the operator's image holds no torch.
The operator writes a `RuntimeConfig` into a ConfigMap and the runtime reads it; the runtime writes a
`TerminationMessage` for the kubelet and the operator reads it from the pod's status.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

INFERENCE_PORT: Final = 8080
"""Users' traffic: the inference protocols and Swagger."""
ADMIN_PORT: Final = 8081
"""Probes and metrics, apart from users' traffic so that load never delays a probe."""

GRPC_PORT: Final = 9000
"""Users' traffic over gRPC, where it is asked for."""

CONFIG_DIRECTORY: Final = "/etc/slipway"
CONFIG_PATH: Final = f"{CONFIG_DIRECTORY}/config.json"
CACHE_DIRECTORY: Final = "/var/cache/slipway"
"""Where a fetched artifact is placed; writable in a container whose root file system is read-only."""
API_KEYS_DIRECTORY: Final = "/run/slipway/api-keys"
"""Where the operator mounts the Secret with the API keys."""
TLS_DIRECTORY: Final = "/run/slipway/tls"
"""Where the operator mounts a Secret of type kubernetes.io/tls: `tls.crt` and `tls.key`."""
WARMUP_DIRECTORY: Final = "/run/slipway/warmup"
"""Where the operator mounts the ConfigMap with warm-up samples, in a folder of its name; the file's name is the key."""
TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT_BYTES: Final = 4096
"""The kubelet cuts a longer message. Source: Kubernetes, "Determine the Reason for Pod Failure"."""

ARTIFACT_DIRECTORY: Final = "/mnt/models"
"""Where a container that is not this runtime finds the artifact; read-only."""

STARTUP_PATH: Final = "/startupz"
READY_PATH: Final = "/readyz"
LIVE_PATH: Final = "/livez"
METRICS_PATH: Final = "/metrics"
STATUS_PATH: Final = "/statusz"
"""On the admin port: a `RuntimeStatus`."""

VERIFY_PATH: Final = "/slipway/verify"
"""On the inference port: POST makes the model predict for an input of the runtime's own making. The answer is a
`RuntimeStatus` with status 200, or the error that a client would get."""
REVISION_HEADER: Final = "X-Slipway-Revision"
"""On answers of `VERIFY_PATH`, refusals for want of an API key included: which revision's server this is."""
REVISION_VARIABLE: Final = "SLIPWAY_REVISION"
"""Where a pod is told its revision."""


WARMUP_SAMPLES_LIMIT: Final = 16
WARMUP_INPUTS_LIMIT: Final = 64
"""Of one sample."""
DIMENSIONS_LIMIT: Final = 16
DIMENSION_SIZE_LIMIT: Final = 1_000_000_000

_WORD: Final = r"^[A-Z][A-Za-z0-9]{0,62}$"


def artifact_file_name(uri: str) -> str:
    """Under which an artifact is delivered: the last part of its URI, as far as it is a plain file name."""
    last = unquote(urlsplit(uri).path).rpartition("/")[2]
    return re.sub(r"[^-._A-Za-z0-9]", "_", last).lstrip(".") or "artifact"


class Wire(BaseModel):
    """A model of the contract: camelCase in JSON, snake_case in Python, unknown keys refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
    )

    def to_json(self) -> str:
        """Stable text: equal values give equal bytes, because the operator hashes it."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"


class Format(StrEnum):
    """What kind of file the artifact is."""

    AUTO = "Auto"
    TORCH_SCRIPT = "TorchScript"
    PYTHON = "Python"
    """Code that is run: loaded only when it is asked for by name, never by `Auto`."""


class Datatype(StrEnum):
    """Element types of the Open Inference Protocol."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"


class TensorSpec(Wire):
    """Name, element type and shape of one input or output; -1 stands for a size that varies."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    datatype: Datatype
    shape: Annotated[list[Annotated[int, Field(ge=-1)]], Field(max_length=DIMENSIONS_LIMIT)]


class ArtifactConfig(Wire):
    """Where the artifact lies and what must hold before it is loaded."""

    uri: str
    digest: str | None = None
    format: Format = Format.AUTO
    stall_timeout_seconds: Annotated[int, Field(ge=1)] = 120


class WarmupSample(Wire):
    """One request that the runtime makes of itself before it reports ready; the values are generated."""

    inputs: list[TensorSpec]


class BatchingMode(StrEnum):
    """How requests share a batch."""

    AUTO = "Auto"
    """Sizes follow the latency target and the measured times; a lone request never waits."""
    STATIC = "Static"
    """Up to `maxBatchSize` rows, waited for at most `maxQueueDelayMilliseconds`."""
    DISABLED = "Disabled"
    """Every request runs alone."""


class Objective(StrEnum):
    """What batches are formed for, as long as the latency target holds."""

    LATENCY = "Latency"
    EFFICIENCY = "Efficiency"
    """Wait for fuller batches: less time of the device per request, where several models share one."""


class OnOverload(StrEnum):
    """What becomes of a request that cannot be answered within the target."""

    REJECT = "Reject"
    """429 with Retry-After, at once."""
    QUEUE = "Queue"
    """It waits until its timeout."""


class BatchingConfig(Wire):
    mode: BatchingMode = BatchingMode.AUTO
    objective: Objective = Objective.LATENCY
    max_batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Rows of one batch. Unset: found at warm-up."""
    max_queue_delay_milliseconds: Annotated[int, Field(ge=0)] | None = None
    max_queue_length: Annotated[int, Field(ge=1)] | None = None
    """Requests that wait. Unset: as many as can be answered in time."""
    allowed_batch_sizes: list[Annotated[int, Field(ge=1)]] = []
    """Ascending; a batch is padded to the next of them. Empty: every size."""


class SLAConfig(Wire):
    """Latency targets on the server, from a request's last byte to its answer. Empty: none."""

    p50_milliseconds: Annotated[int, Field(ge=1)] | None = None
    p95_milliseconds: Annotated[int, Field(ge=1)] | None = None
    p99_milliseconds: Annotated[int, Field(ge=1)] | None = None
    on_overload: OnOverload = OnOverload.REJECT


class EngineKind(StrEnum):
    """Where the model runs."""

    AUTO = "Auto"
    """In the gateway's process when the model is so small that a hand-over costs more than its work."""
    IN_PROCESS = "InProcess"
    WORKER = "Worker"
    """In processes of its own, one per GPU or slice of the CPUs."""


class EngineConfig(Wire):
    kind: EngineKind = EngineKind.AUTO
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Of each worker, for one operation. Unset: the CPUs divided among the workers."""


class Precision(StrEnum):
    ORIGINAL = "Original"
    BF16 = "BF16"
    """Half the bytes and less precise: only when asked for."""


class TuningConfig(Wire):
    """At load the fastest way to run the model on this hardware is looked for, among those with the same answers."""

    enabled: bool = True
    precision: Precision = Precision.ORIGINAL
    time_limit_seconds: Annotated[int, Field(ge=1, le=3600)] = 60


class LimitsConfig(Wire):
    """What one client may ask of the process. Each refusal has its own status and is counted."""

    max_connections: Annotated[int, Field(ge=1)] = 8192
    max_inflight_bytes: Annotated[int, Field(ge=1)] | None = None
    """Bodies and batches together. Unset: a quarter of the container's memory limit."""
    max_decompressed_bytes: Annotated[int, Field(ge=1)] | None = None
    """Unset: as `maxRequestBytes`."""
    max_header_bytes: Annotated[int, Field(ge=256)] = 32 * 1024
    max_header_count: Annotated[int, Field(ge=8)] = 128
    max_json_depth: Annotated[int, Field(ge=4, le=512)] = 64
    header_timeout_seconds: Annotated[int, Field(ge=1)] = 10
    """From a request's first byte to the end of its headers."""


class TLSConfig(Wire):
    """PEM files, read again when they change."""

    certificate_path: str
    key_path: str


class AuthConfig(Wire):
    api_keys_path: str
    """A file with one key per line, or a folder of such files (a mounted Secret); read again when it changes."""


class AccessLogConfig(Wire):
    """One JSON line per request."""

    enabled: bool = True
    max_lines_per_second: Annotated[int, Field(ge=0)] = 10
    """Lines of 2xx, and of clients' errors, beyond this are counted and left out; faults of the server are always
    written."""


class RuntimeConfig(Wire):
    """All that a runtime is told. The file is JSON; command-line flags and nothing else override it."""

    name: str
    """The model's name in URLs (`/v2/models/{name}`)."""
    artifact: ArtifactConfig
    warmup_samples: list[WarmupSample] = []
    warmup_samples_path: str | None = None
    """A file with the samples instead, as JSON; read at the start."""
    root_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)*$")] = ""
    """A path prefix that the Ingress leaves on requests; the runtime strips it."""
    request_timeout_seconds: Annotated[int, Field(ge=1)] = 30
    max_request_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    """Predictions that are accepted and not yet answered. Unset: no bound beside the queue's."""
    drain_delay_seconds: Annotated[int, Field(ge=0)] = 5
    """After SIGTERM: how long the runtime goes on accepting while endpoints forget the pod."""
    drain_limit_seconds: Annotated[int, Field(ge=0)] = 30
    """After SIGTERM: how long at most, where connections still come in after the delay: somebody has not forgotten."""
    batching: BatchingConfig = BatchingConfig()
    sla: SLAConfig = SLAConfig()
    engine: EngineConfig = EngineConfig()
    tuning: TuningConfig = TuningConfig()
    limits: LimitsConfig = LimitsConfig()
    access_log: AccessLogConfig = AccessLogConfig()
    triton_metrics: bool = False
    """Metrics under Triton's names as well."""
    tls: TLSConfig | None = None
    auth: AuthConfig | None = None
    grpc_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Unset: no gRPC. 0: a free port."""

    def to_json(self) -> str:
        """Only what was said: a setting that a later version adds must not look like a change to every model."""
        return self.model_dump_json(by_alias=True, exclude_none=True, exclude_unset=True, indent=2) + "\n"


class Stage(StrEnum):
    """How far the runtime had come."""

    CONFIG = "Config"
    FETCH = "Fetch"
    VERIFY = "Verify"
    LOAD = "Load"
    WARM_UP = "WarmUp"
    SERVE = "Serve"


class FailureReason(StrEnum):
    """Why the runtime ended. The operator shows the word unchanged, as a condition's reason."""

    INVALID_CONFIG = "InvalidConfig"
    """The configuration file or a flag cannot be read or contradicts itself. The message names the place."""
    UNSUPPORTED_SCHEME = "UnsupportedScheme"
    """No fetcher knows the scheme of `spec.artifact.uri`. Use one that the message lists."""
    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    """The store has no such bucket, key or path (404). Check `spec.artifact.uri`."""
    ARTIFACT_UNAUTHENTICATED = "ArtifactUnauthenticated"
    """The store does not know the credentials (401). Check the keys and values of the Secret."""
    ARTIFACT_FORBIDDEN = "ArtifactForbidden"
    """The store knows the credentials and refuses them this artifact (403). Grant them read access."""
    CREDENTIALS_MISSING = "CredentialsMissing"
    """The store asks for credentials and none were given. Set `spec.artifact.credentials.secretRef.name`."""
    ARTIFACT_UNREACHABLE = "ArtifactUnreachable"
    """The store did not answer: no such host, connection refused, or a server error after all attempts."""
    ARTIFACT_STALLED = "ArtifactStalled"
    """The download received nothing for `spec.artifact.stallTimeoutSeconds`."""
    NO_SPACE_LEFT = "NoSpaceLeft"
    """The artifact does not fit on the volume. Raise the ephemeral-storage limit."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The bytes do not hash to `spec.artifact.digest`. Someone replaced the file, or the digest is of another."""
    UNSUPPORTED_FORMAT = "UnsupportedFormat"
    """The file is of no format that this runtime loads. The message says what it looks like."""
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    """The format is right and torch cannot load the file. The message holds torch's own words."""
    SIGNATURE_MISSING = "SignatureMissing"
    """The artifact does not say which inputs it takes. Describe them in `spec.runtime.warmup`."""
    WARM_UP_FAILED = "WarmUpFailed"
    """The model raised an error on its warm-up prediction. Check names, datatypes and shapes of the inputs."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The device or the machine had no memory left for the model. Give it more, or use a smaller model."""
    WORKER_CRASHED = "WorkerCrashed"
    """The process that runs the model ended again and again. The message has its signal or exit code."""
    PORT_IN_USE = "PortInUse"
    """Another process listens on the port already."""
    INTERNAL_ERROR = "InternalError"
    """A fault of the runtime. Its log has the traceback."""


class RuntimeStatus(Wire):
    """How far a runtime has come, and what it serves. A reader ignores what a newer runtime adds."""

    model_config = ConfigDict(extra="ignore")

    revision: str = ""
    stage: Stage
    fetched_bytes: Annotated[int, Field(ge=0)] = 0
    artifact_bytes: Annotated[int, Field(ge=0)] | None = None
    """Unset until the store has told the size."""
    digest: str | None = None
    resolved_uri: str | None = None
    """Where the artifact came from, with the version that the store named; nothing secret."""
    format: Format | Annotated[str, Field(pattern=_WORD)] | None = None
    loader: str | None = None
    """Which loader opened it, in one word."""
    device: str | None = None
    """Where the model runs: `cpu` or `cuda`."""


class TerminationMessage(Wire):
    """The runtime's last word, written to `TERMINATION_MESSAGE_PATH` before it exits with a failure.

    Runtime images are older or newer than the operator: one that knows more stages, reasons or fields is still read.
    """

    model_config = ConfigDict(extra="ignore")

    stage: Stage | Annotated[str, Field(pattern=_WORD)]
    reason: FailureReason | Annotated[str, Field(pattern=_WORD)]
    message: str
    fetched_bytes: Annotated[int, Field(ge=0)] | None = None
    """What had been received, when the artifact was not whole."""
    artifact_bytes: Annotated[int, Field(ge=0)] | None = None

    def encode(self) -> bytes:
        """At most `TERMINATION_MESSAGE_LIMIT_BYTES` of JSON; a longer message is cut, never the JSON."""
        whole = self._encode(self.message)
        if len(whole) <= TERMINATION_MESSAGE_LIMIT_BYTES:
            return whole
        # A character takes one to six bytes of JSON, so the longest prefix that fits is searched, not computed.
        length = bisect_left(
            range(len(self.message)),
            True,
            key=lambda n: len(self._encode(self.message[:n] + "…")) > TERMINATION_MESSAGE_LIMIT_BYTES,
        )
        return self._encode(self.message[: length - 1] + "…")

    def _encode(self, message: str) -> bytes:
        return self.model_copy(update={"message": message}).model_dump_json(by_alias=True, exclude_none=True).encode()

    @classmethod
    def decode(cls, text: str) -> TerminationMessage | None:
        """None when the text is no message of ours, such as the last log lines of another program."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None
