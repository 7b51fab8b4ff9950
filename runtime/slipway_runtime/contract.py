"""What the operator and the runtime must agree on: the config file, the ports, the termination message.

Free of heavy imports (pydantic and the standard library only), because the operator's image holds no torch.
The operator writes a `RuntimeConfig` into a ConfigMap and the runtime reads it; the runtime writes a
`TerminationMessage` for the kubelet and the operator reads it from the pod's status.
"""

from __future__ import annotations

from bisect import bisect_left
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

INFERENCE_PORT: Final = 8080
"""Users' traffic: the inference protocols and Swagger."""
ADMIN_PORT: Final = 8081
"""Probes and metrics, apart from users' traffic so that load never delays a probe."""

CONFIG_DIRECTORY: Final = "/etc/slipway"
CONFIG_PATH: Final = f"{CONFIG_DIRECTORY}/config.json"
CACHE_DIRECTORY: Final = "/var/cache/slipway"
"""Where a fetched artifact is placed; writable in a container whose root file system is read-only."""
TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT_BYTES: Final = 4096
"""The kubelet cuts a longer message. Source: Kubernetes, "Determine the Reason for Pod Failure"."""

STARTUP_PATH: Final = "/startupz"
READY_PATH: Final = "/readyz"
LIVE_PATH: Final = "/livez"
METRICS_PATH: Final = "/metrics"


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
    BYTES = "BYTES"


class TensorSpec(Wire):
    """Name, element type and shape of one input or output; -1 stands for a size that varies."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    datatype: Datatype
    shape: Annotated[list[Annotated[int, Field(ge=-1)]], Field(max_length=16)]


class ArtifactConfig(Wire):
    """Where the artifact lies and what must hold before it is loaded."""

    uri: str
    digest: str | None = None
    format: Format = Format.AUTO
    stall_timeout_seconds: Annotated[int, Field(ge=1)] = 120


class WarmupSample(Wire):
    """One request that the runtime makes of itself before it reports ready; the values are generated."""

    inputs: list[TensorSpec]


class RuntimeConfig(Wire):
    """All that a runtime is told. The file is JSON; command-line flags and nothing else override it."""

    name: str
    """The model's name in URLs (`/v2/models/{name}`)."""
    artifact: ArtifactConfig
    warmup_samples: list[WarmupSample] = []
    root_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)*$")] = ""
    """A path prefix that the Ingress leaves on requests; the runtime strips it."""
    request_timeout_seconds: Annotated[int, Field(ge=1)] = 30
    max_request_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    drain_delay_seconds: Annotated[int, Field(ge=0)] = 5
    """After SIGTERM: how long the runtime goes on accepting while endpoints forget the pod."""


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
    """The artifact does not say which inputs it takes. Describe them in `spec.runtime.warmup.samples`."""
    WARM_UP_FAILED = "WarmUpFailed"
    """The model raised an error on its warm-up prediction. Check names, datatypes and shapes of the inputs."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The device or the machine had no memory left for the model. Give it more, or use a smaller model."""
    PORT_IN_USE = "PortInUse"
    """Another process listens on the port already."""
    INTERNAL_ERROR = "InternalError"
    """A fault of the runtime. Its log has the traceback."""


class TerminationMessage(Wire):
    """The runtime's last word, written to `TERMINATION_MESSAGE_PATH` before it exits with a failure."""

    stage: Stage
    reason: FailureReason
    message: str

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
        return self.model_copy(update={"message": message}).model_dump_json(by_alias=True).encode()

    @classmethod
    def decode(cls, text: str) -> TerminationMessage | None:
        """None when the text is no message of ours, such as the last log lines of another program."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None
