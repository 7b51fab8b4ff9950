"""What a container of the pod is given: environment variables, CPU, memory and GPUs."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from slipway_operator.api.fields import ObjectName, Quantity, ResourceList
from slipway_operator.api.schema import ApiModel, Rule, map_atomic, rules


class LocalObjectReference(ApiModel):
    """An object in the namespace of the ModelDeployment."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    name: ObjectName
    """Its name."""


class SecretReference(ApiModel):
    """A Secret in the namespace of the ModelDeployment."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    name: ObjectName
    """Name of the Secret."""


class KeySelector(ApiModel):
    """One key of a Secret or ConfigMap in the namespace of the ModelDeployment."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    "self.matches('^[-._a-zA-Z0-9]+$')",
                    "got '{self}', expected a key of the object's data: letters, digits, -, _ and '.'. Print the keys"
                    " with: kubectl describe",
                )
            ),
        ),
    ]
    """The key in it."""
    optional: bool = False
    """True: start without the variable when the object or the key is missing."""


_POD_FIELDS: Final = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)


class FieldSelector(ApiModel):
    """A field of the pod."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    field_path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    f"self in {list(_POD_FIELDS)} ||"
                    r""" self.matches("^metadata[.](labels|annotations)\\['[-A-Za-z0-9_./]+'\\]$")""",
                    f"got '{{self}}', expected one of {', '.join(_POD_FIELDS)}, metadata.labels['KEY'] and"
                    " metadata.annotations['KEY']. Correct it.",
                )
            ),
        ),
    ]
    """For example `metadata.name` or `status.podIP`."""


class EnvVarSource(ApiModel):
    """Where a variable's value comes from: exactly one of the three."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].exists_one(given, given)",
                "expected exactly one of secretKeyRef, configMapKeyRef and fieldRef. Remove the others or add one.",
            )
        )
    )

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""
    field_ref: FieldSelector | None = None
    """A field of the pod."""


class EnvVar(ApiModel):
    """One environment variable of the runtime."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!(has(self.value) && has(self.valueFrom))",
                "variable '{self.name}' has both value and valueFrom, expected one. Remove one of the two.",
            )
        )
    )

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    "self.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$')",
                    "got '{self}', expected letters, digits, -, _ and '.', not beginning with a digit. Rename the"
                    " variable.",
                )
            ),
        ),
    ]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """Its value as it stands. Numbers and true or false must be quoted."""
    value_from: EnvVarSource | None = None
    """Its value from elsewhere."""


class EnvironmentSource(ApiModel):
    """A Secret or ConfigMap in the namespace of the ModelDeployment."""

    model_config = ConfigDict(json_schema_extra=map_atomic())

    name: ObjectName
    """Its name."""
    optional: bool = False
    """True: start without the variables when it is missing."""


class EnvFromSource(ApiModel):
    """A variable for each key of one object: exactly one of the two."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.secretRef) != has(self.configMapRef)",
                "expected exactly one of secretRef and configMapRef. Remove the other or add one.",
            )
        )
    )

    secret_ref: EnvironmentSource | None = None
    """A Secret. The operator never reads it."""
    config_map_ref: EnvironmentSource | None = None
    """A ConfigMap."""
    prefix: (
        Annotated[
            str,
            Field(
                max_length=128,
                json_schema_extra=rules(
                    Rule(
                        "self.matches('^([-._a-zA-Z][-._a-zA-Z0-9]*)?$')",
                        "got '{self}', expected letters, digits, -, _ and '.', not beginning with a digit. Correct it.",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """Put before each name."""


class Gpu(ApiModel):
    """How many GPUs each pod gets, and of which kind."""

    count: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs per pod."""
    resource_name: Annotated[
        str,
        Field(
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    "!self.startsWith('requests.') &&"
                    r" self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",
                    "got '{self}', expected DOMAIN/NAME such as nvidia.com/gpu, amd.com/gpu or nvidia.com/mig-1g.5gb."
                    " Look at the allocatable resources of your nodes: kubectl describe nodes",
                )
            ),
        ),
    ] = "nvidia.com/gpu"
    """The extended resource that counts them, for example `nvidia.com/mig-1g.5gb` for a slice."""


_EXCEEDING = (
    "self.requests.filter(name, name in self.limits &&"
    " quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) > 0)"
)
_EXCEEDING_TEXT = (
    _EXCEEDING + '.map(name, name + " \'" + string(self.requests[name]) + "\', expected at most the limit \'" +'
    ' string(self.limits[name]) + "\'")[0]'
)


_BROKEN: Final = "self.limits.filter(name, name.contains('/') && !string(self.limits[name]).matches('^[0-9]+$'))"
_UNLIMITED: Final = (
    "self.requests.filter(name, (name.contains('/') || name.startsWith('hugepages-')) &&"
    " !(has(self.gpu) && name == self.gpu.resourceName) &&"
    " !(has(self.limits) && name in self.limits && string(self.limits[name]) == string(self.requests[name])))"
)


class Resources(ApiModel):
    """What each pod asks of its node."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.gpu) || !has(self.limits) || !(self.gpu.resourceName in self.limits)",
                "lists '{self.gpu.resourceName}', which gpu.count sets already. Remove it from limits.",
                field_path=".limits",
            ),
            Rule(
                "!has(self.gpu) || !has(self.requests) || !(self.gpu.resourceName in self.requests)",
                "lists '{self.gpu.resourceName}', which gpu.count sets already. Remove it from requests.",
                field_path=".requests",
            ),
            Rule(
                "!has(self.sharedMemory) || !has(self.limits) || !('memory' in self.limits) ||"
                " quantity(string(self.sharedMemory)).compareTo(quantity(string(self.limits['memory']))) <= 0",
                "got '{string(self.sharedMemory)}', expected at most the limit of memory, of which it is a part. Lower"
                " it, or raise the limit.",
                field_path=".sharedMemory",
            ),
            Rule(
                f"!has(self.limits) || {_BROKEN}.size() == 0",
                f'got {{{_BROKEN}.map(name, name + " \'" + string(self.limits[name]) + "\'")[0]}}, expected a'
                " whole number, because devices are not divided. Write one; slices of GPUs have names of their own.",
                field_path=".limits",
            ),
            Rule(
                f"!has(self.requests) || {_UNLIMITED}.size() == 0",
                f"lists '{{{_UNLIMITED}[0]}}', expected the same amount in spec.resources.limits, because Kubernetes"
                " gives out no more of it than there is. Write it there too, or there alone.",
                field_path=".requests",
            ),
            Rule(
                "!has(self.limits) || !self.limits.exists(name, name.startsWith('hugepages-')) ||"
                " ['cpu', 'memory'].exists(name, name in self.limits || (has(self.requests) && name in self.requests))",
                "lists huge pages, expected cpu or memory beside them, without which Kubernetes gives none. Write one"
                " too.",
                field_path=".limits",
            ),
            Rule(
                f"!has(self.requests) || !has(self.limits) || {_EXCEEDING}.size() == 0",
                f"got {{{_EXCEEDING_TEXT}}}. Lower the request or raise the limit.",
                field_path=".requests",
            ),
        )
    )

    gpu: Gpu | None = None
    """GPUs per pod."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm, which data loaders and libraries that use several GPUs talk through. Its bytes count as memory
    of the container. When unset 64Mi, and with several GPUs as much as the memory limit allows."""
    requests: ResourceList = {}
    """Resources set aside for each pod, as in a container."""
    limits: ResourceList = {}
    """Resources each pod may use at most, as in a container."""
