"""The server that a pod runs: the project's own runtime, or any container that speaks HTTP."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from slipway_operator.api.container import EnvFromSource, EnvVar, LocalObjectReference
from slipway_operator.api.fields import ImageReference, ObjectName
from slipway_operator.api.schema import ApiModel, Rule, list_atomic, list_map, map_atomic, rules
from slipway_operator.api.serving import Execution, Tuning
from slipway_runtime.contract import (
    DIMENSION_SIZE_LIMIT,
    DIMENSIONS_LIMIT,
    WARMUP_INPUTS_LIMIT,
    WARMUP_SAMPLES_LIMIT,
    Datatype,
)

Argument = Annotated[str, Field(max_length=4096)]

RoutePath = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=rules(
            Rule(
                r"self.matches('^/[^\\s#]*$')",
                "got '{self}', expected a path that begins with /, such as /healthz. Correct it.",
            )
        ),
    ),
]


class CustomPrediction(ApiModel):
    """One request that a server of engine Custom answers with a prediction. The operator sends it as a POST through the
    Service. It stands in the object for everyone to read: put no secret into it."""

    path: RoutePath
    """Where it is sent, such as /predict."""
    body: Annotated[str, Field(max_length=32768)] = ""
    """What is sent, as it stands."""
    content_type: Annotated[
        str,
        Field(
            max_length=255,
            json_schema_extra=rules(
                Rule(
                    "self.matches('^[-.+_A-Za-z0-9]+/[-.+_A-Za-z0-9]+( *; *[-_A-Za-z0-9]+=[-_.A-Za-z0-9]+)*$')",
                    "got '{self}', expected a media type such as application/json or text/plain; charset=utf-8."
                    " Correct it.",
                )
            ),
        ),
    ] = "application/json"
    """Media type of the body."""


class CustomContainer(ApiModel):
    """The contract with a server of engine Custom."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    """Port for HTTP, told in the variable PORT. Users other than root may open ports from 1024."""
    command: Annotated[list[Argument], Field(max_length=64, json_schema_extra=list_atomic())] = []
    """Program to run in place of the image's entry point. `args` are its arguments."""
    readiness_path: RoutePath = "/healthz"
    """Answers 200 to 399 when a prediction would be answered, and only then."""
    liveness_path: RoutePath | None = None
    """Answers 200 to 399 while a restart would not help. When unset, the port must take connections."""
    metrics_path: RoutePath | None = None
    """Where metrics for Prometheus are. Pods are then annotated with prometheus.io/scrape, port and path."""
    prediction: CustomPrediction | None = None
    """What one prediction looks like. `Ready` then rests on an answer of 200 to 299 to it, through the Service; without
    it on the readiness path alone. A change of it restarts nothing."""
    writable_root_filesystem: bool = False
    """True for a server that writes elsewhere than to /tmp and to volumes."""


_SLIPWAY_ONLY: Final = {
    "warmup": "the server warms itself up before its readiness path answers",
    "execution": "the server arranges its own processes",
    "tuning": "the server runs the model in its own way",
}
_OWN_FLAG: Final = "arg.matches('^--(config|host|port|admin-port|grpc-port|fetch-to)(=.*)?$')"


class WarmupInput(ApiModel):
    """Shape of one generated input."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the input; clients use it too."""
    datatype: Datatype = Datatype.FP32
    """Element type, in the Open Inference Protocol's words."""
    shape: Annotated[
        list[
            Annotated[
                int,
                Field(
                    ge=-1,
                    le=DIMENSION_SIZE_LIMIT,
                    json_schema_extra=rules(
                        Rule("self != 0", "got 0, expected -1 or at least 1. Write -1 for a size that varies.")
                    ),
                ),
            ]
        ],
        Field(min_length=1, max_length=DIMENSIONS_LIMIT, json_schema_extra=list_atomic()),
    ]
    """Sizes with the batch dimension first; -1 stands for a size that varies, such as the batch."""


class WarmupSample(ApiModel):
    """One request that the runtime makes of itself."""

    inputs: Annotated[
        list[WarmupInput], Field(min_length=1, max_length=WARMUP_INPUTS_LIMIT, json_schema_extra=list_map("name"))
    ]
    """The inputs; their values are generated."""


class WarmupConfigMap(ApiModel):
    """One key of a ConfigMap in the namespace of the ModelDeployment. The operator never reads it."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    name: ObjectName
    """Name of the ConfigMap."""
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    r"self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",
                    "got '{self}', expected a key as ConfigMaps have them: letters, digits, -, _ and '.', not beginning"
                    " with two dots. Print the keys with: kubectl describe configmap",
                )
            ),
        ),
    ] = "samples.json"
    """The key in it. Its value is what `samples` would be, as JSON."""


class Warmup(ApiModel):
    """The prediction that a pod must answer before it is ready. The requests are given here, or in a ConfigMap."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.samples) != has(self.configMapRef)",
                "got {(has(self.samples) ? 'both' : 'none')}, expected exactly one of samples and configMapRef. Remove"
                " the other or add one.",
            )
        )
    )

    samples: (
        Annotated[
            list[WarmupSample],
            Field(min_length=1, max_length=WARMUP_SAMPLES_LIMIT, json_schema_extra=list_atomic()),
        ]
        | None
    ) = None
    """Requests to make. Needed when the artifact does not say itself which inputs it takes."""
    config_map_ref: WarmupConfigMap | None = None
    """A ConfigMap that holds the requests, where several models share them or the manifest is to stay short. A pod
    reads it when it starts; a changed ConfigMap starts no rollout, another name does."""


class Runtime(ApiModel):
    """The server and what it is told."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.engine != 'Custom' || has(self.image)",
                "got none, expected the image of the server, which engine Custom runs. Set it, or remove engine.",
                field_path=".image",
                reason="FieldValueRequired",
            ),
            Rule(
                "self.engine == 'Custom' || !has(self.container)",
                "is set, expected none where engine is Slipway, whose ports and probes are its own. Remove it, or set"
                " engine to Custom.",
                field_path=".container",
            ),
            *(
                Rule(
                    f"self.engine != 'Custom' || !has(self.{field})",
                    f"is set, expected none where engine is Custom: {why}. Remove it, or set engine to Slipway.",
                    field_path=f".{field}",
                )
                for field, why in _SLIPWAY_ONLY.items()
            ),
            Rule(
                f"self.engine == 'Custom' || !has(self.args) || !self.args.exists(arg, {_OWN_FLAG})",
                f"lists '{{self.args.filter(arg, {_OWN_FLAG})[0]}}', expected none that the operator sets. Remove it.",
                field_path=".args",
            ),
        )
    )

    engine: Literal["Slipway", "Custom"] = "Slipway"
    """Slipway: the runtime of this project serves the artifact. Custom: any container that speaks HTTP; it finds the
    artifact as a file."""
    image: ImageReference | None = None
    """Image to run. The installation's own runtime image when unset."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When to pull the image. Kubernetes' default applies when unset."""
    image_pull_secrets: Annotated[
        list[LocalObjectReference], Field(max_length=16, json_schema_extra=list_map("name"))
    ] = []
    """Secrets for pulling the image."""
    args: Annotated[list[Argument], Field(max_length=64, json_schema_extra=list_atomic())] = []
    """Further arguments of the server."""
    container: CustomContainer | None = None
    """What a server of engine Custom is like."""
    env: Annotated[list[EnvVar], Field(max_length=128, json_schema_extra=list_map("name"))] = []
    """Further environment variables."""
    env_from: Annotated[list[EnvFromSource], Field(max_length=32, json_schema_extra=list_atomic())] = []
    """Environment variables from all keys of a Secret or ConfigMap; `env` wins over them."""
    warmup: Warmup | None = None
    """The prediction a pod makes before it is ready."""
    execution: Execution | None = None
    """Processes and threads that run the model."""
    tuning: Tuning | None = None
    """The search for the fastest way to run the model."""
